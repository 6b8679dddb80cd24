"""Colour and columns of the command line's own output."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_LEAST = 20
"""Columns below which a wrapped text is harder to read than one that runs over the edge."""


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


class Unheard(Exception):
    """Standard output takes nothing, as on a full disk; the text is the system's reason."""


def say(text: str = "") -> None:
    """One line on standard output; what the stream cannot encode is replaced. Raises ``Unheard``."""
    encoding = sys.stdout.encoding or "utf-8"
    with _heard():
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def flush() -> None:
    """What was said so far goes out now. Raises ``Unheard``."""
    with _heard():
        sys.stdout.flush()


@contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # a reader that went away has heard enough
        raise
    except OSError as error:
        raise Unheard(error.strerror or str(error)) from error


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines; the last column is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def wrapped(rows: Sequence[Sequence[str]], *, beside: int) -> list[str]:
    """As ``columns``, but on a terminal the last column goes on below itself instead of running over the edge.

    ``beside`` is how many columns the caller puts in front of each line. Nothing is ever cut off; where no terminal
    is written to, or too narrow a one, the lines are whole.
    """
    lines = columns(rows)
    room = _room()
    if not room or not rows:
        return lines
    start = sum(max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0]) - 1))
    if room - beside - start < _LEAST:
        return lines
    below = "\n" + " " * (beside + start)
    width = room - beside - start
    return [
        (line[:start] + below.join(textwrap.wrap(row[-1], width, break_on_hyphens=False))).rstrip()
        for row, line in zip(rows, lines, strict=True)
    ]


def _room() -> int:
    """Columns of the terminal that standard output is; 0 if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
