"""The laws: checked in every scenario, unless it waives one with a reason.

Each law is a function of the case to rows. ``as_declared`` is the expectations table itself
(``backupchaos.checks.table``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backupchaos.checks.case import Case
from backupchaos.checks.loud import loud
from backupchaos.checks.rows import row
from backupchaos.durations import format_duration, measured
from backupchaos.results import CheckResult, Evidence, RestoreResult

FEW = 6
"""Up to so many aspects are named: whoever promises little is told how little was compared."""


def describe_restore(restore: RestoreResult) -> str:
    """What a restore brought back, in a few words."""
    if not restore.performed:
        return restore.reason or "not performed"
    parts = [
        f"{count} {word}"
        for count, word in (
            (restore.different, "different"),
            (restore.missing, "missing"),
            (restore.extra, "extra"),
        )
        if count
    ]
    state = ", ".join(parts) + f" of {restore.expected}" if parts else f"all {restore.expected} equal"
    if not parts and 0 < len(restore.aspects) <= FEW:
        state += f" in {', '.join(restore.aspects)}"
    return state if restore.returncode == 0 else f"restore exits {restore.returncode}; {state}"


def _evidence(restore: RestoreResult) -> list[Evidence]:
    said = [Evidence(f"the restore said: {restore.words}")] if restore.words else []
    return said + [Evidence(difference) for difference in restore.differences[:10]]


def honest(case: Case) -> list[CheckResult]:
    """A claim of success is true: the restore of what was claimed equals the manifest."""
    title = "what it claims can be restored"
    job, restore = case.job(), case.restore("newest")
    if job is None:
        return [row("honest", title, "a true claim", "the job never ended", None, law="honest")]
    loud = case.scenario.expect.restore == "loud"
    expected = "equal to the source" + (", or a restore that fails loudly" if loud else "")
    if not case.claims_success and job.outcome != "partial":
        return [row("honest", title, expected, "it claims no success", True, law="honest"), *_listed(case)]
    if restore is None or not restore.performed:
        reason = restore.reason if restore else "no restore was made"
        missing = bool(restore and restore.reason.startswith("no new snapshot"))
        return [
            row("honest", title, expected, reason, False if missing else None, law="honest", reason=reason)
        ]
    observed = describe_restore(restore)
    holds = restore.equal or (loud and restore.returncode != 0)
    if job.outcome == "partial" and not case.claims_success:
        expected = "everything but the files it names"
    return [row("honest", title, expected, observed, bool(holds), law="honest", evidence=_evidence(restore))]


def _listed(case: Case) -> list[CheckResult]:
    """A snapshot that a failed job left in the list is what the next restore of the newest brings.

    It is judged as it was found: that a later job may complete it helps nobody who restores before.
    """
    restore = case.restore("unclaimed")
    if restore is None:
        return []
    loud = case.scenario.expect.restore == "loud"
    holds = restore.equal or (loud and restore.returncode != 0)
    return [
        row(
            "honest.listed",
            "the snapshot that the failed job left in the list",
            "none, or one that restores to the source",
            describe_restore(restore),
            bool(holds) if restore.performed else None,
            law="honest",
            evidence=_evidence(restore),
        )
    ]


def honest_afterwards(case: Case) -> list[CheckResult]:
    """The recovery job must not lie either, even where the scenario does not ask it to succeed."""
    job, restore = case.job("recovery"), case.restore("recovered")
    if job is None or job.outcome != "success" or restore is None or not restore.performed:
        return []
    if restore.returncode != 0 or restore.equal:
        return []
    return [
        row(
            "honest.recovered",
            "what the next job claims can be restored",
            "equal to the source, or a restore that fails",
            describe_restore(restore),
            False,
            law="honest",
            evidence=_evidence(restore),
        )
    ]


def no_collateral(case: Case) -> list[CheckResult]:
    """Every older snapshot still restores, bit for bit; a mirror holds no mixture of torn files."""
    older = case.restore("older")
    loud = case.scenario.expect.older == "loud"
    if not case.profile.history:
        mixed = case.restore("mirror")
        if mixed is None:
            return []
        return [
            row(
                "no_collateral",
                "the mirror is not torn",
                "each file in its old or its new version",
                describe_restore(mixed),
                mixed.equal if mixed.performed else None,
                law="no_collateral",
                reason="" if mixed.performed else mixed.reason,
                evidence=_evidence(mixed),
            )
        ]
    expected = "equal" + (", or a restore that fails loudly" if loud else "")
    title = "the older snapshot still restores"
    if older is None or not older.performed:
        lost = bool(older and older.reason.startswith("lost"))
        reason = older.reason if older else "no restore was made"
        return [
            row(
                "no_collateral",
                title,
                expected,
                reason,
                False if lost else None,
                law="no_collateral",
                reason=reason,
            )
        ]
    holds = older.equal or (loud and older.returncode != 0)
    return [
        row(
            "no_collateral",
            title,
            expected,
            describe_restore(older),
            bool(holds),
            law="no_collateral",
            evidence=_evidence(older),
        )
    ]


def source_untouched(case: Case) -> list[CheckResult]:
    """A backup only reads what it backs up."""
    moved = case.of("source.moved")
    if not moved:
        return []
    return [
        row(
            "source",
            "the source is left alone",
            "the same as before the job",
            f"changed by {moved[0]['after']}: {moved[0]['words'][:300]}",
            False,
            law="no_collateral",
            evidence=[Evidence(event["words"], (event.seq,), event.t) for event in moved],
        )
    ]


def bounded(case: Case) -> list[CheckResult]:
    """The job ends within its deadline; silence has a limit too."""
    job, scenario = case.job(), case.scenario
    title = "the job ends in time"
    expected = f"ends within {format_duration(scenario.deadline)}, never silent for {format_duration(scenario.silence)}"
    if job is None:
        return [row("bounded", title, expected, "the job never ended", None, law="bounded")]
    took = job.ended - job.started
    if job.hung:
        observed = f"no output and no progress for {measured(job.silent_for or 0)}; ended by the harness"
    elif job.timed_out:
        observed = f"still running after {measured(took)}; ended by the harness"
    else:
        observed = measured(took)
    return [row("bounded", title, expected, observed, not (job.hung or job.timed_out), law="bounded")]


def recoverable(case: Case) -> list[CheckResult]:
    """After the fault is gone the next job succeeds and restores, without manual help."""
    job, restore = case.job("recovery"), case.restore("recovered")
    title = "the next job works again"
    helped = " after an unlock" if case.scenario.recover.unlock else " without help"
    expected = f"success{helped}, restore equal"
    if job is None:
        return [row("recoverable", title, expected, "no recovery job was run", None, law="recoverable")]
    if job.outcome != "success":
        words = next((e["text"] for e in case.logs("recovery") if e["level"] == "error"), "no error record")
        observed = f"{job.outcome}, exit {job.returncode}: {words[:160]}"
        return [row("recoverable", title, expected, observed, False, law="recoverable")]
    if restore is None or not restore.performed:
        reason = restore.reason if restore else "no restore was made"
        return [row("recoverable", title, expected, reason, None, law="recoverable", reason=reason)]
    return [
        row(
            "recoverable",
            title,
            expected,
            f"success; {describe_restore(restore)}",
            bool(restore.equal),
            law="recoverable",
            evidence=_evidence(restore),
        )
    ]


def clean(case: Case) -> list[CheckResult]:
    """Nothing is left behind that was not there before: processes, locks, temporary files."""
    found: list[str] = []
    for event in case.of("residue"):
        found += [f"process {p}" for p in event.get("processes", ())]
        found += [f"on the server: {text}" for text in event.get("server", ())]
        found += [f"{f}" for f in event.get("files", ())]
    if not case.of("residue"):
        return [row("clean", "nothing is left behind", "nothing", "no scan was made", None, law="clean")]
    observed = "nothing" if not found else f"{len(found)}: " + "; ".join(found[:3])
    return [
        row(
            "clean",
            "nothing is left behind",
            "no process, lock or temporary file",
            observed,
            not found,
            law="clean",
            evidence=[Evidence(text) for text in found[:20]],
        )
    ]


LAWS: Sequence[Callable[[Case], list[CheckResult]]] = (
    honest,
    honest_afterwards,
    no_collateral,
    source_untouched,
    loud,
    bounded,
    recoverable,
    clean,
)
