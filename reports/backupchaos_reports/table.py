"""The expectations table and the one-paragraph failure for a terminal.

Colour is used only when the caller asks; it decides about NO_COLOR, FORCE_COLOR and terminals.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from backupchaos.results import SYMBOL, CheckResult, RunResult, Verdict
from backupchaos_reports import words
from backupchaos_reports.text import columns, visible

NARROWEST = 60
HEADINGS = ("expectation", "expected", "observed", "verdict")
_GAP = "  "
_CELL = 600
_COLOURS = {
    Verdict.PASS: "32",
    Verdict.FAIL: "1;31",
    Verdict.UNVERIFIED: "33",
    Verdict.INVALID: "35",
    Verdict.SKIPPED: "2",
}


def terminal_width(default: int = 100) -> int:
    """COLUMNS of the environment, else the default; never under ``NARROWEST``."""
    asked = os.environ.get("COLUMNS", "")
    return max(NARROWEST, int(asked) if asked.isascii() and asked.isdigit() else default)


def paint(text: str, verdict: Verdict, colour: bool) -> str:
    """``text`` in the verdict's colour, if colours are wanted."""
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if colour else text


def badge(verdict: Verdict) -> str:
    """Symbol and word: never colour alone."""
    return f"{SYMBOL[verdict]} {verdict.value}"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` terminal columns; words longer than a line are broken."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if columns(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _broken(word, width)
        lines.extend(full)
    return [*lines, line] if line or not lines else lines


def _broken(word: str, width: int) -> Iterator[str]:
    """Pieces of a word that each fit, at least one character each."""
    piece = ""
    for character in word:
        if piece and columns(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


def observed_text(check: CheckResult) -> str:
    """What was seen, with the reason where the row does not hold; never empty."""
    seen = visible(check.observed, _CELL) or "nothing was recorded"
    if check.verdict is Verdict.PASS or not check.reason:
        return seen
    return f"{seen} ({visible(check.reason, _CELL)})"


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Column widths: what each needs, the widest shrunk until all fit."""
    needs = [max(columns(row[i]) for row in rows) for i in range(len(HEADINGS))]
    least = [min(need, 10) for need in needs[:-1]]
    room = width - needs[-1] - len(_GAP) * (len(HEADINGS) - 1)
    wide = needs[:-1]
    while sum(wide) > room:
        excess = [w - low for w, low in zip(wide, least, strict=True)]
        widest = max(range(len(wide)), key=lambda i: (excess[i] > 0, wide[i]))
        if excess[widest] <= 0:
            break
        wide[widest] -= 1
    return [*wide, needs[-1]]


def expectations_table(
    checks: Sequence[CheckResult], *, width: int | None = None, colour: bool = False
) -> str:
    """The table: expectation, expected, observed, verdict; failed rows first, wrapped to ``width``."""
    width = max(NARROWEST, width or terminal_width())
    ordered = words.sorted_checks(checks)
    if not ordered:
        return "no expectation was evaluated"
    rows = [
        (
            visible(c.title or c.id, _CELL),
            visible(c.expected, _CELL) or "-",
            observed_text(c),
            badge(c.verdict),
        )
        for c in ordered
    ]
    widths = _widths([HEADINGS, *rows], width)
    lines = [_GAP.join(_pad(h, w) for h, w in zip(HEADINGS, widths, strict=True)).rstrip()]
    lines.append(_GAP.join("─" * w for w in widths))
    for check, row in zip(ordered, rows, strict=True):
        lines += _row(row, widths, check.verdict, colour)
    return "\n".join(lines)


def _row(row: Sequence[str], widths: Sequence[int], verdict: Verdict, colour: bool) -> Iterator[str]:
    cells = [wrap(cell, w) for cell, w in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        parts = [_pad(c[number] if number < len(c) else "", w) for c, w in zip(cells, widths, strict=True)]
        if number == 0:
            parts[-1] = paint(parts[-1].rstrip(), verdict, colour)
        yield _GAP.join(parts).rstrip()


def _pad(text: str, width: int) -> str:
    return text + " " * max(0, width - columns(text))


def _paragraph(label: str, text: str, width: int) -> list[str]:
    """``   = label: text`` with a hanging indent."""
    head = f"   = {label}: "
    lines = wrap(visible(text, 1500), width - len(head))
    return [head + lines[0], *(" " * len(head) + line for line in lines[1:])] if text else []


def title(result: RunResult) -> str:
    """``restic 0.18.1 × disk_full (seed 7)``."""
    target = f"{result.target} {result.target_version}".strip()
    return f"{visible(target, 120)} × {visible(result.scenario, 120)} (seed {result.seed})"


def failure_text(
    result: RunResult, *, width: int | None = None, colour: bool = False, report: str | None = None
) -> str:
    """Why the run is not a pass: one paragraph, the table, then where to look and how to repeat it.

    ``report`` is the path or link of the HTML report, with its ``#anchor`` if there is one.
    """
    width = max(NARROWEST, width or terminal_width())
    word = result.verdict.value.upper()
    severity = words.SEVERITY.get(result.severity, "")
    kind = f" [{severity}]" if severity and result.verdict is Verdict.FAIL else ""
    head = wrap(f"{word}{kind} {title(result)}: {words.headline(result)}", width)
    head[0] = paint(head[0], result.verdict, colour)
    lines = head
    if result.scenario_file:
        lines.append(f"  --> {visible(result.scenario_file, 300)}")
    lines += _paragraph("because", words.because(result), width)
    restore = words.worst_restore(result)
    if restore is not None:
        which = words.WHICH.get(restore.which, restore.which)
        snapshot = f", snapshot {restore.snapshot}" if restore.snapshot else ""
        lines += _paragraph("restore", f"{which}{snapshot}: {words.restore_words(restore)}", width)
        if restore.differences:
            more = len(restore.differences) - 3
            first = "; ".join(visible(line, 200) for line in restore.differences[:3])
            lines += _paragraph("first", first + (f"; and {more:,} more" if more > 0 else ""), width)
    for law, reason in result.waived.items():
        lines += _paragraph("waived", f"{law}: {reason}", width)
    lines += _paragraph("try", words.advice(result), width)
    if result.checks:
        table = expectations_table(result.checks, width=width - 3, colour=colour)
        lines += ["", *("   " + line for line in table.split("\n")), ""]
    lines += [f"   {label:<9} {text}" for label, text in _pointers(result, report) if text]
    return "\n".join(lines)


def _pointers(result: RunResult, report: str | None) -> list[tuple[str, str]]:
    """Not wrapped, so that paths and commands can be copied in one piece."""
    proofs = [e for c in words.sorted_checks(result.checks) if c.verdict is Verdict.FAIL for e in c.evidence]
    seqs = sorted({number for proof in proofs for number in proof.seq})[:12]
    where = visible(result.history, 300) + (f" seq {', '.join(map(str, seqs))}" if seqs else "")
    return [
        ("evidence", f"{where}   {visible(result.log, 300)}"),
        ("report", visible(report or "", 500)),
        ("replay", visible(result.reproduce, 1000)),
    ]


def summary(
    results: Sequence[RunResult], *, report: str | None = None, width: int | None = None
) -> list[str]:
    """Counts by verdict, what is not covered and why, and where the report is: one line each."""
    width = max(NARROWEST, width or terminal_width())
    lines = wrap(f"{words.plural(len(results), 'run')}: {words.tally(results)}", width)
    reasons: dict[str, list[str]] = {}
    for result in results:
        if not words.covered(result):
            reason = visible(words.headline(result), 300)
            key = f"{result.verdict.value}: {reason}"
            reasons.setdefault(key, []).append(
                f"{visible(result.target, 80)} × {visible(result.scenario, 80)}"
            )
    if reasons:
        missing = sum(map(len, reasons.values()))
        lines.append(f"not covered: {missing:,} of {words.plural(len(results), 'run')}")
    for key, names in sorted(reasons.items()):
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        first, *rest = wrap(f"{key} [{listed}]", width - 4)
        lines += ["  - " + first, *("    " + line for line in rest)]
    if report:
        lines.append(f"report: {visible(report, 500)}")
    return lines
