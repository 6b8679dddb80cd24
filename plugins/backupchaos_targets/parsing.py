"""Careful reading of what tools print: nothing here raises, whatever the text is."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from backupchaos.targets.base import WARNS, LogRecord

LEVELS = {
    "trace": "info",
    "debug": "info",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "fatal": "error",
    "critical": "error",
    "alert": "error",
    "emergency": "error",
    "panic": "error",
}
"""The names of levels that tools use, and ours."""


def json_object(line: str) -> dict[str, Any] | None:
    """The JSON object that is the whole line, or None."""
    text = line.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def json_document(text: str, what: str) -> Any:
    """Parse output that must be one JSON document; raises ValueError that names ``what``."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is not JSON: {text.strip()[:200]!r}") from None


def text_of(value: Any) -> str | None:
    """A string, or None for anything else and for the empty one."""
    return value if isinstance(value, str) and value else None


def integer_of(value: Any) -> int | None:
    """An integer (no boolean), or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def seconds_of(value: Any) -> float | None:
    """A number that can be a pause, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e9 else None


def level_of(value: Any, default: str = "info") -> str:
    """Our level for a tool's own word."""
    return LEVELS.get(value.lower(), default) if isinstance(value, str) else default


WORDS_OF_ERRORS = frozenset(
    {"error", "fatal", "fail", "cannot", "denied", "no space", "unable", "limit exceeded", "killed"}
    | {"vanished", "removed before", "changed as we read", "shrank by"}
    | {os.strerror(number).lower() for number in errno.errorcode}
)
"""What a line of an error has in it: common words, or the system's own words for an error number."""


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """What finds one of the words anywhere in a text; about as fast for a hundred as for three.

    A tree of their letters, so that nearly every place in a text is done with at its first letter.
    """
    tree: dict[str, Any] = {}
    known = set(words)
    for word in known:
        if any(other != word and other in word for other in known):
            continue  # where it is, the shorter one is
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
    return re.compile(_branches(tree))


def _branches(node: Mapping[str, Any]) -> str:
    parts = [re.escape(letter) + _branches(below) for letter, below in sorted(node.items())]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})" if parts else ""


_ERRS = any_of(WORDS_OF_ERRORS)


def plain_level(line: str) -> str:
    """The level of a line without structure: its own first word says that it warns, or it is guessed from common words.

    Every line that a job prints passes here while it runs: what this takes is taken from the job.
    """
    if WARNS.match(line):
        return "warning"
    lower = line.lower()
    if _ERRS.search(lower):
        return "error"
    return "warning" if "warn" in lower else "info"


def plain_record(line: str) -> LogRecord:
    """A line without structure, with its level."""
    return LogRecord(plain_level(line), line)
