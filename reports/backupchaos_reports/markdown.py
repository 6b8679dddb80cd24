"""The summary page of a CI job, as GitHub-flavoured Markdown.

GitHub drops a step summary over 1 MiB without a word, so it is cut before, with a notice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from backupchaos.results import RunResult, Verdict
from backupchaos_reports import words
from backupchaos_reports.table import badge, observed_text, title
from backupchaos_reports.text import visible

LIMIT = 900 * 1024
"""Bytes of UTF-8."""
# As character references these mean themselves wherever they stand: no emphasis, table cell,
# HTML, link, mention, formula, emoji or automatic URL can be born from data.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#|~&@$^\"'!]|:(?=//|\w)|(?<=www)\.|^[-+.=\d]", re.IGNORECASE)
_CELL = 600


def escape(text: object, limit: int = _CELL) -> str:
    """``text`` as literal text on one line of Markdown, also inside a table cell."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", visible(text, limit))


def _code(text: str) -> str:
    """A fenced block that its content cannot close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}\n"


def step_summary(
    results: Sequence[RunResult],
    *,
    report: str | None = None,
    anchor: Callable[[RunResult], str] | None = None,
    limit: int = LIMIT,
) -> str:
    """The whole page: counts, what did not pass in full, a table of all runs; at most ``limit`` bytes.

    ``report`` is the address of the HTML report; ``anchor`` gives a run's fragment in it.
    """
    ordered = sorted(results, key=words.run_rank)
    blocks = [f"## backupchaos: {words.tally(results)}\n\n{words.plural(len(results), 'run')}.\n"]
    if report:
        blocks[0] += f"\nReport: {escape(report)}\n"
    blocks += [_run(r, _address(report, anchor, r)) for r in ordered if r.verdict is not Verdict.PASS]
    if ordered:
        blocks.append(
            "### All runs\n\n| verdict | target | scenario | seed | result |\n|---|---|---|--:|---|"
        )
    blocks += [_line(result) for result in ordered]
    blocks.append(f"\n{words.LIMITS}\n")
    return _cut(blocks, limit)


def _cut(blocks: Sequence[str], limit: int) -> str:
    """As many whole blocks as fit, then a notice that says how many were left out."""
    whole = "\n".join(blocks)
    if len(whole.encode()) <= limit:
        return whole
    notice = "\n\n**Cut here: {} of {} parts left out, to stay below the size limit of the summary.**\n"
    room = limit - len(notice) - 40
    kept: list[str] = []
    for block in blocks:
        room -= len(block.encode()) + 1
        if room < 0:
            break
        kept.append(block)
    return "\n".join(kept) + notice.format(len(blocks) - len(kept), len(blocks))


def _address(report: str | None, anchor: Callable[[RunResult], str] | None, result: RunResult) -> str | None:
    return f"{report}#{anchor(result)}" if report and anchor else None


def _line(result: RunResult) -> str:
    """One row of the table of all runs."""
    cells = [
        badge(result.verdict),
        escape(result.target, 120),
        escape(result.scenario, 120),
        str(result.seed),
    ]
    return f"| {' | '.join([*cells, escape(words.headline(result), 300)])} |"


def _run(result: RunResult, address: str | None) -> str:
    """One run that did not pass: paragraph, table, how to repeat it."""
    severity = words.SEVERITY.get(result.severity, "")
    kind = f" ({severity})" if severity and result.verdict is Verdict.FAIL else ""
    parts = [
        f"### {badge(result.verdict)}{kind}: {escape(title(result))}",
        f"**{escape(words.headline(result))}**",
    ]
    if reason := words.because(result):
        parts.append(f"Because: {escape(reason, 1500)}")
    restore = words.worst_restore(result)
    if restore is not None:
        which = words.WHICH.get(restore.which, restore.which)
        parts.append(f"Restore, {escape(which)}: {escape(words.restore_words(restore))}")
    parts += [f"Waived law {escape(law)}: {escape(reason)}" for law, reason in result.waived.items()]
    parts.append(f"Try: {escape(words.advice(result))}")
    if result.checks:
        parts.append(_table(result))
    if result.reproduce:
        parts.append(_code(visible(result.reproduce, 1000)))
    if address:
        parts.append(f"Details: {escape(address)}")
    return "\n\n".join(parts) + "\n"


def _table(result: RunResult) -> str:
    rows = ["| expectation | expected | observed | verdict |", "|---|---|---|---|"]
    for check in words.sorted_checks(result.checks):
        cells = (check.title or check.id, check.expected or "-", observed_text(check))
        rows.append(f"| {' | '.join(escape(cell) for cell in cells)} | {badge(check.verdict)} |")
    return "\n".join(rows)
