"""Plain scalars in the YAML 1.2 core schema: ``on``, ``1:30`` and dates are text."""

from __future__ import annotations

import re
from typing import Any

from backupchaos.model.words import shorten

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS_LIMIT = 18


def resolve(text: str) -> Any:
    """A plain scalar in the YAML 1.2 core schema; raises ValueError where readers disagree on a number."""
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        digits = text.lstrip("+-")
        if digits[0] == "0" and len(digits) > 1:
            raise ValueError(f"{shorten(text, 30)} is 8-based to some readers and 10-based to others")
        # An absurdly long number stays text: no field takes it, and its message quotes it.
        return int(text) if len(digits) <= _DIGITS_LIMIT else text
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) <= _DIGITS_LIMIT else text
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        return float(text)
    return text
