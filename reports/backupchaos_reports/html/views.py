"""What the templates show: plain values prepared from results; no markup but the figure's."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backupchaos.errors import UsageProblem
from backupchaos.history import Event
from backupchaos.results import RunResult, Verdict
from backupchaos_reports import words
from backupchaos_reports.html import timerows
from backupchaos_reports.html.figure import draw
from backupchaos_reports.html.marks import number
from backupchaos_reports.html.timeline import fold
from backupchaos_reports.runs import StoredRun
from backupchaos_reports.text import capped, visible

LINE = 2000
LOG_HEAD, LOG_TAIL = 200, 500
FULL, LEAN = 1.0, 0.15
"""How much of long tables a run shows: all that is useful, or the little that a packed run needs."""


def slug(text: str) -> str:
    """The part of an anchor that a name gives; only characters that need no quoting anywhere."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower())[:60].strip("-") or "x"


def anchors(results: Sequence[RunResult]) -> list[str]:
    """``tool--scenario--seed`` for each result; the second of the same name gets ``--2``."""
    seen: Counter[str] = Counter()
    names = []
    for result in results:
        name = f"{slug(result.target)}--{slug(result.scenario)}--{slug(str(result.seed))}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}--{seen[name]}")
    return names


def digest(results: Sequence[RunResult]) -> str:
    """SHA-256 over all results, in the order given."""
    total = hashlib.sha256()
    for result in results:
        total.update(json.dumps(result.to_json(), sort_keys=True, default=str).encode())
    return total.hexdigest()


@dataclass(frozen=True)
class RunView:
    """One run as ``run.html.j2`` shows it."""

    id: str
    r: RunResult
    severity: str
    because: str
    advice: str
    svg: str
    notices: list[str]
    rows: list[timerows.Row]
    rows_total: int
    log: list[str]
    checks: list[Any]
    limits: str = words.LIMITS


def run_view(run: StoredRun, anchor: str, detail: float = FULL) -> RunView:
    """Read the history once and prepare everything."""
    result = run.result
    notices: list[str] = []
    events: list[Event] = []
    try:
        events = [event for event in run.events if number(event.t) is not None]
    except UsageProblem as problem:
        notices.append(f"The history could not be read: {problem}")
    line = fold(result, events)
    if line is not None:
        notices += [visible(notice, 300) for notice in line.notices]
    rows, total = timerows.rows(events, int(240 * detail))
    return RunView(
        id=anchor,
        r=result,
        severity=words.SEVERITY.get(result.severity, "") if result.verdict is Verdict.FAIL else "",
        because=words.because(result),
        advice=words.advice(result),
        svg=draw(result, line, anchor) if line is not None else "",
        notices=notices,
        rows=rows,
        rows_total=total,
        log=_log(run.log_head_tail, detail),
        checks=words.sorted_checks(result.checks),
    )


def _log(text: str | None, detail: float) -> list[str]:
    """The first and last lines, each of bounded length, with a notice in between."""
    if text is None:
        return []
    head, tail = int(LOG_HEAD * detail), int(LOG_TAIL * detail)
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) > head + tail:
        left = len(lines) - head - tail
        lines = [*lines[:head], f"… {left:,} lines left out here …", *lines[len(lines) - tail :]]
    return [visible(capped(line, LINE)) for line in lines]


@dataclass(frozen=True)
class Cell:
    """Where a scenario meets a target in the matrix: the worst run of them."""

    id: str
    r: RunResult
    passed: int
    total: int


@dataclass(frozen=True)
class Matrix:
    """Rows are scenarios, so that long names stay readable; columns are targets."""

    targets: list[str]
    rows: list[tuple[str, str, list[Cell | None]]]
    totals: list[str]


def matrix(results: Sequence[RunResult], names: Sequence[str]) -> Matrix:
    """The worst run per scenario and target, with ``passed of run`` per target."""
    cells: dict[tuple[str, str], list[tuple[RunResult, str]]] = {}
    titles: dict[str, str] = {}
    for result, name in zip(results, names, strict=True):
        cells.setdefault((result.scenario, result.target), []).append((result, name))
        titles.setdefault(result.scenario, result.title)
    targets = sorted({result.target for result in results})
    rows = []
    for scenario in sorted(titles):
        row: list[Cell | None] = []
        for target in targets:
            found = cells.get((scenario, target))
            row.append(_cell(found) if found else None)
        rows.append((scenario, titles[scenario], row))
    totals = []
    for index in range(len(targets)):
        column = [row[index] for _, _, row in rows]
        good = sum(cell is not None and cell.r.verdict is Verdict.PASS for cell in column)
        totals.append(f"{good} of {len(rows)}")
    return Matrix(targets, rows, totals)


def _cell(found: Sequence[tuple[RunResult, str]]) -> Cell:
    worst, name = min(found, key=lambda pair: words.run_rank(pair[0]))
    passed = sum(result.verdict is Verdict.PASS for result, _ in found)
    return Cell(name, worst, passed, len(found))


def bar(results: Sequence[RunResult]) -> list[tuple[str, int, float, float]]:
    """Segments of the bar under the verdict: (verdict, count, x, width) on a scale of 1000."""
    counts = Counter(result.verdict for result in results)
    segments = []
    x = 0.0
    for verdict in words.ORDER:
        if counts[verdict]:
            width = 1000 * counts[verdict] / len(results)
            segments.append((verdict.value, counts[verdict], round(x, 1), round(width, 1)))
            x += width
    return segments
