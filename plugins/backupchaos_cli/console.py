"""Colour and columns of the command line's own output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def colour() -> bool:
    """NO_COLOR wins, then FORCE_COLOR, then whether standard output is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def dim(text: str) -> str:
    """Less important, where colours are shown."""
    return f"\x1b[2m{text}\x1b[0m" if colour() else text


def mark(good: bool) -> str:
    """✓ or ✗, coloured where colours are shown."""
    sign, code = ("✓", "32") if good else ("✗", "31")
    return f"\x1b[{code}m{sign}\x1b[0m" if colour() else sign


def say(text: str = "") -> None:
    """One line on standard output; what the stream cannot encode is replaced, never fatal."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines; the last column is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
