"""Words that every output shares: what a verdict, a severity or an outcome is called, and what to try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from backupchaos.results import CheckResult, RestoreResult, RunResult, Verdict
from backupchaos_reports.text import visible

ORDER = (Verdict.FAIL, Verdict.UNVERIFIED, Verdict.INVALID, Verdict.PASS, Verdict.SKIPPED)
SEVERITY = {
    "data_loss": "silent data loss",
    "damage": "older snapshots damaged",
    "wedged": "does not recover",
    "misleading": "misleads a restore",
    "hang": "does not end",
    "silent": "failed silently",
    "expectation": "not as declared",
    "none": "",
}
_SEVERITIES = tuple(SEVERITY)
"""The worst first."""
TRY = {
    "data_loss": "do not trust this tool's success after such a fault: verify every backup by a restore, "
    "and look at what this restore lacks.",
    "damage": "keep a second repository; look at which older snapshots differ and what the job rewrote.",
    "misleading": "look at what a restore of the newest state brings besides, or in place of, the last good one.",
    "wedged": "look at what the fault left behind (locks, partial files) and how the next job reacts to it.",
    "hang": "give the job a time-out of its own; until then let a watchdog end it and alert.",
    "silent": "alert on missing successes instead of on errors; the job's own messages are not enough.",
    "expectation": "compare the declared behaviour with the observed column; correct whichever is wrong.",
    "none": "look at the rows that do not hold in the table below.",
}
LIMITS = (
    "A lab run on synthetic data: evidence about this tool's behaviour under exactly these faults, in exactly "
    "these versions. It does not prove that a production backup restores, that other faults are survived, or "
    "that the tool behaves the same on other file systems, sizes or loads."
)


def verdict_rank(verdict: Verdict) -> int:
    """Position in the order in which people need to see verdicts: the worst first."""
    return ORDER.index(verdict)


def run_rank(result: RunResult) -> tuple[int, int, str, str, int]:
    """Sort key of runs: verdict, then severity, then name."""
    severity = _SEVERITIES.index(result.severity) if result.severity in SEVERITY else 0
    return verdict_rank(result.verdict), severity, result.scenario, result.target, result.seed


def sorted_checks(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """Failures first, then what could not be judged, then what holds; stable within."""
    return sorted(checks, key=lambda check: verdict_rank(check.verdict))


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``3 runs``, ``1,204 runs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def tally(results: Sequence[RunResult]) -> str:
    """``8 pass, 2 fail (1 silent data loss), 1 skipped``: every verdict that occurs."""
    counts = Counter(result.verdict for result in results)
    parts = []
    for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNVERIFIED, Verdict.INVALID, Verdict.SKIPPED):
        if counts[verdict]:
            parts.append(f"{counts[verdict]:,} {verdict.value}{_severe(results, verdict)}")
    return ", ".join(parts) or "nothing was run"


def _severe(results: Sequence[RunResult], verdict: Verdict) -> str:
    """The severities that must never drown in a count."""
    failed = Counter(result.severity for result in results if result.verdict is verdict)
    named = [f"{failed[name]} {SEVERITY[name]}" for name in _SEVERITIES[:3] if failed[name]]
    return f" ({', '.join(named)})" if named else ""


def advice(result: RunResult) -> str:
    """What to try next, in one sentence."""
    if result.verdict is Verdict.FAIL:
        return TRY.get(result.severity, TRY["none"])
    if result.verdict is Verdict.INVALID:
        return "this run says nothing about the tool: correct the set-up (see the reason) and run it again."
    if result.verdict is Verdict.UNVERIFIED:
        return "give the check what it lacks (see its reason); until then this is not a pass."
    if result.verdict is Verdict.SKIPPED:
        return "provide what is missing here, or require it so that the run fails instead of being skipped."
    return ""


def headline(result: RunResult) -> str:
    """The headline without what every output says beside it: target, scenario and verdict."""
    text = visible(result.headline, 600).strip()
    said = visible(f"{result.target} × {result.scenario}: {result.verdict.value.upper()} — ", 600)
    return text.removeprefix(said) or "no headline was recorded"


def because(result: RunResult) -> str:
    """The explanation, or what can be said without one: failed checks and the proof of the faults."""
    if result.explanation:
        return visible(result.explanation, 1200)
    parts = [f"{f.description}: {f.proof[0].text}" for f in result.faults if f.proof]
    parts += [c.reason for c in sorted_checks(result.checks) if c.reason and c.verdict is not Verdict.PASS]
    return visible("; ".join(parts[:4]), 1200)


WHICH = {
    "control": "control (job 1, before the fault)",
    "newest": "newest snapshot (job 2, under the fault)",
    "older": "older snapshot (job 1, after the fault)",
    "recovered": "recovered (job 3)",
}


def restore_words(restore: RestoreResult) -> str:
    """``3 missing, 0 different, 0 extra of 512``, or why there was no restore."""
    if not restore.performed:
        return f"not restored: {visible(restore.reason, 200) or 'no reason given'}"
    counts = f"{restore.missing} missing, {restore.different} different, {restore.extra} extra of {restore.expected}"
    said = f": {visible(restore.words, 300)}" if restore.words else ""
    code = "" if restore.returncode == 0 else f" (restore exit {restore.returncode}{said})"
    return ("equal: " if restore.equal else "") + counts + code


def worst_restore(result: RunResult) -> RestoreResult | None:
    """The restore that says most about the verdict: one that differs, before one that could not be judged."""
    judged = [r for r in result.restores if r.equal is False] or [
        r for r in result.restores if r.equal is None
    ]
    return judged[0] if judged else (result.restores[-1] if result.restores else None)


def final_state(result: RunResult) -> str:
    """The last state the job entered, or ``unknown``."""
    return visible(result.states[-1].state, 60) if result.states else "unknown"


def covered(result: RunResult) -> bool:
    """The run says something about the target."""
    return result.verdict not in {Verdict.SKIPPED, Verdict.INVALID}


def verdict_sentence(results: Sequence[RunResult]) -> str:
    """The one sentence that must be right even if nothing else is read."""
    if not results:
        return "Nothing was run"
    counts = Counter(result.verdict for result in results)
    total = plural(len(results), "run")
    failed, judged = counts[Verdict.FAIL], len(results) - counts[Verdict.SKIPPED]
    if failed:
        lost = sum(r.severity == "data_loss" for r in results if r.verdict is Verdict.FAIL)
        tail = f", {lost} of them lost data while claiming success" if lost else ""
        if lost == failed:
            tail = " and lost data while claiming success"
        if len(results) == 1:
            return f"The run failed{tail}"
        return f"{failed:,} of {total} failed{tail}"
    open_ = counts[Verdict.UNVERIFIED] + counts[Verdict.INVALID]
    if open_:
        return f"Nothing is shown to fail, but {open_:,} of {total} could not be judged"
    if not judged:
        return f"Nothing was tested: {total} skipped"
    if counts[Verdict.SKIPPED]:
        return f"All {judged:,} runs that could be made pass; {counts[Verdict.SKIPPED]:,} of {total} skipped"
    return "The run passes" if judged == 1 else f"All {total} pass"
