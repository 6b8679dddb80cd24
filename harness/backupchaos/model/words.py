"""Words for people: values made safe to print, nearest valid words, and the mistakes that validators raise."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_LONGEST_GUESS = 60


class Mistake(ValueError):
    """A value that its author must change.

    The text says what was expected; ``hint`` what to write instead; ``code`` is the greppable name of
    the kind of mistake; ``key`` is the key inside the mapping at fault to which the message belongs.
    """

    def __init__(self, text: str, *, code: str = "bad-value", hint: str = "", key: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint
        self.key = key


def escape(text: str) -> str:
    r"""``text`` as one printable line: control, bidi and other invisible characters become ``\x1b``, ``\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escape_char, text))


def _escape_char(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    category = unicodedata.category(char)
    if category in _UNSAFE or (category == "Zs" and char != " "):
        code = ord(char)
        if code < 0x100:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return char


def shorten(text: str, limit: int = 60) -> str:
    """At most ``limit`` characters, the cut marked by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(value: object) -> str:
    """A value from a file in the words of YAML, short and safe: ``'abc'``, ``30``, ``true``, ``a list``."""
    if isinstance(value, str):
        return f"'{escape(shorten(value))}'" if value else "an empty text"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return shorten(str(value), 30)
    return "a mapping" if isinstance(value, dict) else "a list"


def _plain(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The valid word that was most likely meant, or None if nothing is near."""
    if not word or len(word) > _LONGEST_GUESS:
        return None
    from difflib import get_close_matches

    plain = {_plain(valid): valid for valid in words}
    wanted = _plain(word)
    if wanted in plain:
        return plain[wanted]
    # 'full' for 'disk.full', 'network_loss' for 'network.down' is beyond us, 'bitflip' is not.
    parts = [key for key in plain if wanted in key.split(".") or key.replace(".", "_") == wanted]
    if len(parts) == 1:
        return plain[parts[0]]
    close = get_close_matches(wanted, plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def listed(words: Sequence[str], last: str = "or") -> str:
    """``a, b or c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def choices(word: object, words: Sequence[str], title: str = "Valid") -> str:
    """The hint of a message about an unknown word: the likely one, then all of them."""
    near = nearest(word, words) if isinstance(word, str) else None
    guess = f"Did you mean '{near}'? " if near else ""
    return f"{guess}{title}: {', '.join(words)}."
