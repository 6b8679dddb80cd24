"""What is wrong with a scenario file: located problems, all of them at once, readable in a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from backupchaos.errors import UsageProblem
from backupchaos.model.words import escape

SHOWN_AT_MOST = 20
_LINE_WIDTH = 100


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in one file. Line and column count from 1 in characters; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    source: str = field(default="", repr=False, compare=False)
    """The source line, unescaped."""
    width: int = field(default=1, repr=False, compare=False)
    """How many characters the caret underlines."""

    def __str__(self) -> str:
        where = escape(self.file) + (f":{self.line}:{self.column}" if self.line else "")
        lines = [f"{where}: {self.code} {self.message}"]
        if self.line and self.source.strip():
            lines += _snippet(self)
        if self.hint:
            lines.append(f"      {self.hint}")
        return "\n".join(lines)


class ScenarioErrors(UsageProblem):
    """A scenario file cannot be used; ``problems`` has every reason, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: (p.file, p.line, p.column, p.code, p.message))
        super().__init__(_render(self.problems))

    def __reduce__(self) -> tuple[type[ScenarioErrors], tuple[list[Problem]]]:
        return type(self), (self.problems,)


def _render(problems: Sequence[Problem]) -> str:
    parts = [str(problem) for problem in problems[:SHOWN_AT_MOST]]
    rest = len(problems) - SHOWN_AT_MOST
    if rest > 0:
        parts.append(f"... and {rest} more {'problem' if rest == 1 else 'problems'} in this file")
    return "\n".join(parts)


def _cells(text: str) -> int:
    """How many terminal cells printable text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _snippet(problem: Problem) -> list[str]:
    """The source line and a caret under the place; long lines are cut to a window around it."""
    source, at = problem.source, problem.column - 1
    start = max(0, at - _LINE_WIDTH // 2) if len(source) > _LINE_WIDTH else 0
    window = source[start : start + _LINE_WIDTH]
    before, marked = window[: at - start], window[at - start : at - start + max(1, problem.width)]
    left = "…" if start else ""
    right = "…" if start + _LINE_WIDTH < len(source) else ""
    number = f"{problem.line:>5} | "
    pad = " " * _cells(left + escape(before))
    underline = "^" + "~" * max(0, _cells(escape(marked)) - 1)
    return [f"{number}{left}{escape(window)}{right}", f"{'':>5} | {pad}{underline}"]
