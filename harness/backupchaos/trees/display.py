"""File names made safe to print: names come from tools under test and may be hostile."""

from __future__ import annotations

import os
import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
# Cc and Cf hold the controls and the bidi marks, Zl/Zp break lines, Cs/Co/Cn have no agreed look.
_UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})


def _escape(char: str, marks: bool) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    category = unicodedata.category(char)
    odd_space = category == "Zs" and char != " "
    if category in _UNSAFE or odd_space or (marks and category == "Mn"):
        if code < 0x80:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return char


def display_path(path: bytes | str) -> str:
    r"""Return ``path`` as one printable line; different paths always give different text.

    Bytes that are not UTF-8 become ``\xNN``; control, bidi and other invisible characters become
    ``\xNN`` (ASCII) or ``\uNNNN``; a backslash is doubled. Combining marks are written out where the
    name is not in NFC, because NFC and NFD spellings of one name would look the same. The empty
    path is the root and reads ``.``.
    """
    raw = os.fsencode(path) if isinstance(path, str) else path
    if not raw:
        return "."
    text = raw.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    marks = not unicodedata.is_normalized("NFC", text)
    return "".join(_escape(char, marks) for char in text)
