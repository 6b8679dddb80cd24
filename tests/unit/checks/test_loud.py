"""With several faults a failure must tell of the one that struck last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.checks.cases import Story

from backupchaos.checks.loud import loud
from backupchaos.history import Event
from backupchaos.results import CheckResult, Verdict

LOCK, FULL = ("lock", r"\bbusy\b"), ("full", "no space")


def judged(
    log: list[tuple[str, str]], *blows: tuple[str, str, float], causes: Any = (LOCK, FULL)
) -> CheckResult:
    story = Story().fails()
    story.log = log
    case = story.case()
    others = [event for event in case.events if event.kind != "cause"]
    more = [Event(800 + n, 0.1, "cause", {"name": name, "pattern": p}) for n, (name, p) in enumerate(causes)]
    for n, (rule, action, t) in enumerate(blows):
        more.append(Event(900 + n, t, "syscall", {"rule": rule, "action": action, "call": "write"}))
    (row,) = loud(replace(case, events=[*others, *more]))
    return row


BUSY = ("error", "data/x: device or resource busy")
SPACE = ("error", "no space left on device")
FIRST_LOCK = (("lock.open", "errno", 0.3), ("full.unfit", "observe", 0.6))


def test_who_tells_only_of_the_fault_that_he_survived_is_not_seen_to_be_loud() -> None:
    row = judged([BUSY], *FIRST_LOCK)
    assert row.verdict is Verdict.UNVERIFIED
    assert "nothing is said of what struck last (full)" in row.observed


@pytest.mark.parametrize(
    "log", [[BUSY, SPACE], [SPACE], [("error", "gave up"), ("warning", "no space left, again")]]
)
def test_who_tells_of_the_last_one_is_loud(log: list[tuple[str, str]]) -> None:
    assert judged(log, *FIRST_LOCK).verdict is Verdict.PASS


def test_who_tells_of_nothing_is_silent_whatever_struck() -> None:
    assert judged([("error", "gave up")], *FIRST_LOCK).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "blows",
    [
        (),  # nobody saw any
        (("full.unfit", "observe", 0.3), ("lock.open", "errno", 0.6)),
        (("lock.open", "errno", 0.6), ("full.unfit", "observe", 0.62)),  # who can tell them apart
        (("lock.open", "errno", 0.3), ("full.asked", "observe", 0.6)),  # a question is no blow
        (("lock.open", "errno", 0.3), ("other.open", "errno", 0.6)),
        (("lock.open", "errno", 0.3), ("full.unfit", "observe", 1e6)),  # what others met after the job
    ],
)
def test_without_a_later_blow_of_another_fault_any_cause_will_do(
    blows: tuple[tuple[str, str, float], ...],
) -> None:
    assert judged([BUSY], *blows).verdict is Verdict.PASS


def test_one_fault_needs_no_order() -> None:
    assert judged([BUSY], *FIRST_LOCK, causes=[LOCK]).verdict is Verdict.PASS


def test_a_sync_that_was_answered_and_not_made_is_no_blow() -> None:
    lost = ("lying", r"\bfsync\b")
    row = judged([BUSY], ("lock.open", "errno", 0.3), ("lying.lost", "errno", 0.6), causes=[LOCK, lost])
    assert row.verdict is Verdict.PASS


def test_the_error_that_ended_it_is_quoted_and_no_retry_before() -> None:
    log = [("warning", "retry 1: busy"), ("error", "no space left at last"), ("warning", "busy cleaning up")]
    assert "'no space left at last'" in judged(log, *FIRST_LOCK).observed


def told(*records: tuple[str, float, str], comes: float = 0.5) -> CheckResult:
    """One fault that comes at a moment; records are (job, moment, text)."""
    story = Story(faults={"full": {"disk.full": "repository"}}).fails()
    case = story.case()
    kept = [event for event in case.events if event.kind not in {"cause", "log", "fault"}]
    kept.append(Event(800, comes, "fault", {"name": "full", "status": "applying"}))
    kept.append(Event(801, 0.0, "cause", {"name": "full", "pattern": FULL[1]}))
    for number, (job, t, text) in enumerate(records, 900):
        kept.append(Event(number, t, "log", {"job": job, "level": "error", "text": text}))
    (row,) = loud(replace(case, events=kept))
    return row


EARLY, LATE = ("fault", 0.4, "error: no space, 7 of 9"), ("fault", 0.6, "error: no space, 7 of 9")


def test_what_is_said_before_the_fault_comes_names_no_cause() -> None:
    row = told(EARLY, ("fault", 0.9, "error: gave up"))
    assert row.verdict is Verdict.FAIL
    assert "none names the cause" in row.observed
    assert told(LATE).verdict is Verdict.PASS
    assert told(EARLY, LATE).verdict is Verdict.PASS


def test_what_the_control_job_says_as_well_names_no_cause() -> None:
    assert told(("control", 0.1, "error: no space, 5 of 6"), LATE).verdict is Verdict.FAIL
    assert told(("control", 0.1, "error: no room, 5 of 6"), LATE).verdict is Verdict.PASS


ANYTHING = "backup failed: check for space left (no space left?), permissions, the network connection and the password"


@pytest.mark.parametrize(
    "log",
    [
        [("error", ANYTHING)],
        [("error", f"maybe {words}") for words in (
            "no space left", "permission denied", "connection refused", "timed out", "out of memory", "too many open files",
            "read-only file system", "killed by a signal")],
    ],
    ids=["in one line", "line by line"],
)  # fmt: skip
def test_who_names_every_cause_has_named_none(log: list[tuple[str, str]]) -> None:
    row = judged(log, causes=(FULL,))
    assert row.verdict is Verdict.UNVERIFIED
    assert "so many causes" in row.observed


@pytest.mark.parametrize(
    "log",
    [
        [("error", ANYTHING), SPACE],
        [("error", "ssh: Permission denied (publickey,password). Connection closed"), SPACE],
    ],
)
def test_guesses_beside_the_cause_do_no_harm(log: list[tuple[str, str]]) -> None:
    assert judged(log, causes=(FULL,)).verdict is Verdict.PASS
