"""The law *as declared*: the rows of the scenario's expectations table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from backupchaos.checks.announced import retries_are_real
from backupchaos.checks.case import Case
from backupchaos.checks.gaps import backoff, grouped
from backupchaos.checks.heard import since_the_faults, unusual
from backupchaos.checks.rows import AS_DECLARED, row
from backupchaos.durations import format_duration, measured
from backupchaos.model.expectations import TRANSITIONS, LogExpectation
from backupchaos.model.patterns import matches
from backupchaos.model.scenario import Scenario
from backupchaos.results import CheckResult, Evidence, Retry
from backupchaos.trees.spelling import spellings
from backupchaos.units import format_range

LEVELS = {"info": 0, "warning": 1, "error": 2}


def allowed_outcomes(scenario: Scenario) -> tuple[str, ...]:
    """What the job may claim: declared, or what the envelope implies."""
    if scenario.expect.outcome is not None:
        return scenario.expect.outcome
    return {
        "must_survive": ("success",),
        "must_fail_loudly": ("failure", "partial"),
        "either": ("success", "partial", "failure"),
    }[scenario.envelope]


def normalise(states: Sequence[str]) -> list[str]:
    """Collapse repeats: a state twice in a row, and a repeated RUNNING RETRYING, count once."""
    result: list[str] = []
    for state in states:
        if result and result[-1] == state:
            continue
        result.append(state)
        while (
            len(result) >= 4 and result[-4:-2] == result[-2:] and set(result[-2:]) == {"RUNNING", "RETRYING"}
        ):
            del result[-2:]
    return result


def outcome(case: Case) -> list[CheckResult]:
    """What the job claims, by its exit code."""
    job, allowed = case.job(), allowed_outcomes(case.scenario)
    expected = " or ".join(allowed)
    if job is None:
        return [row("outcome", "outcome", expected, "the job never ended", None, law=AS_DECLARED)]
    ended = " (ended by the harness)" if job.timed_out or job.hung else ""
    observed = f"{job.outcome}, exit {job.returncode}{ended}"
    return [
        row("outcome", "outcome", expected, observed, job.outcome in allowed and not ended, law=AS_DECLARED)
    ]


def states(case: Case) -> list[CheckResult]:
    """The declared states, and for a job that keeps its own: only legal transitions."""
    rows: list[CheckResult] = []
    changes = case.states()
    seen = [change.state for change in changes]
    evidence = [Evidence(f"{c.state} ({c.source})", t=c.t) for c in changes[:40]]
    if case.scenario.expect.states is not None:
        want = list(case.scenario.expect.states)
        got = normalise(seen)
        rows.append(
            row(
                "states",
                "job states",
                " ".join(want),
                " ".join(got) or "none seen",
                got == normalise(want) if seen else None,
                law=AS_DECLARED,
                evidence=evidence,
            )
        )
    if case.profile.states == "own" and seen:
        illegal = [
            f"{before} -> {after}"
            for before, after in pairwise(["nothing", *seen])
            if not _legal(before, after)
        ]
        rows.append(
            row(
                "transitions",
                "state transitions",
                "only legal ones",
                "; ".join(illegal) or f"{len(seen)} legal",
                not illegal,
                law=AS_DECLARED,
                evidence=evidence,
            )
        )
        rows += _claim_agrees(case)
    return rows


def _legal(before: str, after: str) -> bool:
    """A job begins PENDING; one that retries may announce the next retry at once."""
    if before == "nothing":
        return after == "PENDING"
    return before == after == "RETRYING" or after in TRANSITIONS.get(before, ())  # type: ignore[call-overload]


def _claim_agrees(case: Case) -> list[CheckResult]:
    """Exit code and recorded final state must not contradict each other."""
    job, state = case.job(), case.claimed_state
    if job is None or job.returncode is None or job.returncode < 0:
        return []
    want = {"success": "SUCCESS"}.get(job.outcome, "FAILED")
    return [
        row(
            "final_state",
            "final state agrees with the exit code",
            want,
            f"{state}, exit {job.returncode}",
            state == want,
            law=AS_DECLARED,
        )
    ]


def retries(case: Case) -> list[CheckResult]:
    """How often it tried again, whether it really did, and the shape of the gaps."""
    rows: list[CheckResult] = []
    expect = case.scenario.expect
    seen = case.retries()
    if expect.retries is not None:
        low, high = expect.retries
        counts = {source: len(case.retries(source)) for source in ("log", "link", "syscall")}
        shown = ", ".join(f"{count} by {source}" for source, count in counts.items() if count)
        if case.scenario.services and seen:
            shown += f"; {_by_link(seen)}"
        holds = low <= len(seen) and (high is None or len(seen) <= high)
        rows.append(
            row(
                "retries",
                "retries",
                format_range(expect.retries),
                f"{len(seen)}" + (f" ({shown})" if shown else ""),
                holds,
                law=AS_DECLARED,
                evidence=[Evidence(f"retry by {_where(r)}: {r.cause}"[:200], t=r.t) for r in seen[:20]],
            )
        )
    rows += retries_are_real(case, seen)
    if expect.backoff is not None:
        rows.append(backoff(case, seen, AS_DECLARED))
    return rows


def _where(retry: Retry) -> str:
    return f"{retry.source} on {retry.link}" if retry.link else retry.source


def _by_link(seen: Sequence[Retry]) -> str:
    return ", ".join(f"{link or 'no link named'} {len(mine)}" for link, mine in grouped(seen).items())


def duration(case: Case) -> list[CheckResult]:
    """The job's wall time."""
    limit, job = case.scenario.expect.within, case.job()
    if limit is None:
        return []
    took = None if job is None else job.ended - job.started
    return [
        row(
            "within",
            "duration",
            f"at most {format_duration(limit)}",
            "never ended" if took is None else measured(took),
            None if took is None else took <= limit,
            law=AS_DECLARED,
        )
    ]


def log(case: Case) -> list[CheckResult]:
    """Declared log records, and the fields every record of this target promises."""
    rows: list[CheckResult] = []
    names = [name for path in case.faulted_paths() for name in spellings(path)]
    rows += [_record(case, n, want, names) for n, want in enumerate(case.scenario.expect.log, 1)]
    if case.profile.log_fields:
        rows.append(_log_fields(case))
    return rows


def _record(case: Case, number: int, want: LogExpectation, names: list[str]) -> CheckResult:
    """A warning or an error is meant to be about a fault: one from before it, or from the control job too, is not."""
    found = [
        event
        for event in case.logs()
        if LEVELS.get(event["level"], 0) >= LEVELS[want.level] and matches(want.matches, event["text"], names)
    ]
    timely = since_the_faults(case, found, case.scenario.faults) if LEVELS[want.level] else found
    hits = unusual(case, timely) if LEVELS[want.level] else found
    observed = f"{len(hits)} records" + (f", first: {hits[0]['text'][:120]!r}" if hits else "")
    if early := len(found) - len(timely):
        observed += f"; {early} from before the fault"
    if usual := len(timely) - len(hits):
        observed += f"; {usual} that the control job wrote as well"
    unsure = not hits and bool(timely)
    return row(
        f"log.{number}",
        "log record",
        f"{want.level}: /{want.matches}/",
        observed,
        None if unsure else bool(hits),
        law=AS_DECLARED,
        reason="the control job writes such records without any fault" if unsure else "",
        evidence=[Evidence(e["text"][:300], (e.seq,), e.t) for e in (hits or found)[:5]],
    )


def _log_fields(case: Case) -> CheckResult:
    records = [event for event in case.logs() if event["stream"] == "stderr"]
    bad: list[str] = []
    if not records:
        bad.append("no records at all")
    for name in case.profile.log_fields:
        lacking = [e for e in records if e.get(name) in (None, "")]
        if lacking:
            bad.append(f"{len(lacking)} of {len(records)} records lack {name}")
    traces = {e.get("trace_id") for e in records if e.get("trace_id")}
    if "trace_id" in case.profile.log_fields and len(traces) > 1:
        bad.append(f"{len(traces)} trace ids in one job")
    return row(
        "log.fields",
        "log records carry " + ", ".join(case.profile.log_fields),
        "all of them, one trace id",
        "; ".join(bad) or f"{len(records)} records",
        not bad,
        law=AS_DECLARED,
    )


def tool_check(case: Case) -> list[CheckResult]:
    """What the tool's own check of the repository says afterwards."""
    want = case.scenario.expect.check
    event = next(iter(case.of("check.tool")), None)
    if event is None and want == "fails":
        reason = "the tool has no check of its own, or none was declared"
        return [
            row("check", "the tool's own check", "it fails", reason, None, law=AS_DECLARED, reason=reason)
        ]
    if want == "any" or event is None:
        return []
    passed = event["returncode"] == 0
    observed = f"exit {event['returncode']}" + (f": {event['words']}" if event.get("words") else "")
    title, holds = "the tool's own check", passed is (want == "passes")
    if passed and not holds and _whole(case):
        # A job that still has the data may store again what was damaged: then there is nothing to find.
        holds, observed = True, "exit 0, and everything restores: the damage was repaired, or nobody needs it"
    expected = "it passes" if want == "passes" else "it fails, unless everything restores"
    return [row("check", title, expected, observed, holds, law=AS_DECLARED)]


def _whole(case: Case) -> bool:
    """Every restore was made and is equal, the one of the older snapshot among them."""
    if case.profile.history and case.restore("older") is None:
        return False
    found = [case.restore(which) for which in ("newest", "unclaimed", "mirror", "older", "recovered")]
    made = [restore for restore in found if restore is not None]
    return bool(made) and all(restore.equal for restore in made)


def silence(case: Case) -> list[CheckResult]:
    """The longest time without output and without progress."""
    limit, job = case.scenario.expect.silent, case.job()
    if limit is None:
        return []
    longest = None if job is None else job.silent_for
    return [
        row(
            "silent",
            "longest silence",
            f"at most {format_duration(limit)}",
            "not measured" if longest is None else measured(longest),
            None if longest is None else longest <= limit,
            law=AS_DECLARED,
        )
    ]


def under_fault(case: Case) -> list[CheckResult]:
    """What the tool's other commands did while the fault was in force."""
    seen = {event["tool"]: event for event in case.of("under_fault")}
    rows = []
    for tool, want in case.scenario.expect.under_fault.items():
        event = seen.get(tool)
        if want == "any":
            continue
        works = None if event is None else event["works"]
        observed = "not tried" if event is None else event["words"] or ("works" if works else "fails")
        reason = "" if works is not None else observed
        holds = None if works is None else works is (want == "works")
        title = f"{tool} while the fault lasts"
        rows.append(
            row(f"under_fault.{tool}", title, f"it {want}", observed, holds, law=AS_DECLARED, reason=reason)
        )
    return rows


TABLE = (outcome, states, retries, duration, silence, log, tool_check, under_fault)
