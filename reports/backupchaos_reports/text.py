"""Text from tools under test is hostile: make it visible, short and free of secrets.

Every output of this package passes its strings through ``visible`` before it escapes them
for its own format. What comes out is printable, single-direction, and valid XML 1.0.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeVar, cast
from urllib.parse import quote

REDACTED = "[redacted]"
SHORTEST_SECRET = 4
"""Shorter secrets are not redacted: replacing every "1" would destroy the report and hide nothing."""

# C0 and C1 drive terminals, bidirectional controls reorder what is read, zero-width ones hide what is there.
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_BREAKS = re.compile("[\t\n]")
T = TypeVar("T")


def _token(match: re.Match[str]) -> str:
    """A control picture for C0 and DEL, else the code point in angle brackets."""
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xDC80 <= code <= 0xDCFF:
        return f"⟨byte {code - 0xDC00:02X}⟩"  # surrogateescape: an undecodable byte of a file name
    return f"⟨U+{code:04X}⟩"


def visible(text: object, limit: int | None = None, *, lines: bool = False) -> str:
    """``text`` with every control, bidirectional, invisible or lone surrogate character as a token.

    ``limit`` caps the length in characters (see ``capped``). Tab and newline are kept with
    ``lines``, else shown as ``␉`` and ``␊``.
    """
    words = text if isinstance(text, str) else str(text)
    if limit is not None:
        words = capped(words, limit)
    if words.isprintable():  # the usual case, and much faster
        return words
    words = _SUSPECT.sub(_token, words)
    return words if lines else _BREAKS.sub(_token, words)


def capped(text: str, limit: int) -> str:
    """Head and tail of a text longer than ``limit`` characters, with the count of what is left out.

    Below 100 there is no room for that: only the head is kept, with an ellipsis.
    """
    if len(text) <= limit:
        return text
    if limit < 100:
        return text[: limit - 1] + "…"
    tail = limit // 4
    return f"{text[: limit - tail]}…[{len(text) - limit:,} characters left out]…{text[len(text) - tail :]}"


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` without the secrets, also where they are URL-quoted or in Base64.

    Longer secrets go first, so that one that contains another leaves no rest. Secrets of fewer
    than ``SHORTEST_SECRET`` characters are ignored.
    """
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            raw = secret.encode("utf-8", "surrogateescape")
            forms |= {secret, quote(raw, safe=""), quote(raw), base64.b64encode(raw).decode().rstrip("=")}
    for form in sorted(forms, key=lambda form: (-len(form), form)):
        text = text.replace(form, REDACTED)
    return text


def redacted(value: T, secrets: Iterable[str]) -> T:
    """A copy of a value (dataclasses, mappings, tuples, lists, strings) with all its text redacted."""
    known = tuple(secrets)
    return cast(T, _walk(value, known)) if known else value


def _walk(value: object, secrets: tuple[str, ...]) -> object:
    if isinstance(value, str):
        clean = redact(str(value), secrets)
        return value if clean == value else clean  # an enum stays an enum
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return dataclasses.replace(value, **{f.name: _walk(getattr(value, f.name), secrets) for f in fields})
    if isinstance(value, Mapping):
        return {_walk(key, secrets): _walk(item, secrets) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_walk(item, secrets) for item in value)
    return value


def columns(text: str) -> int:
    """Terminal columns that ``text`` takes; wide East Asian characters and emoji count two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if character < "\u0300":
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
