"""Which fault struck last, from what the faults told of their blows; and what is then asked of a failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.checks.cases import Story

from backupchaos.checks.loud import loud
from backupchaos.history import Event
from backupchaos.results import CheckResult, Verdict

RESET, DAMAGE, LATE = "reset by peer", "checksum", "timed out"
Told = tuple[str, float, str]


def judged(
    *faults: tuple[str, str, str, list[tuple[float, float]]],
    log: list[Told],
    end: float = 2.0,
    outcome: str = "failure",
    failed: float | None = None,
    place: str = "repository",
    timed_out: bool = False,
) -> CheckResult:
    """Faults are (name, pattern, how, spans); the log is (level, moment, text)."""
    story = Story(faults={"other": {"disk.io_error": place}}).fails()
    case = story.case()
    kept = [e for e in case.events if e.kind not in {"cause", "log", "state", "job.start", "job.end"}]
    rows: list[tuple[float, str, dict[str, Any]]] = [(0.0, "job.start", {"job": "fault"})]
    for name, pattern, how, spans in faults:
        rows.append((0.0, "cause", {"name": name, "pattern": pattern}))
        rows.append((9.0, "blows", {"name": name, "how": how, "spans": spans}))
    for level, t, text in log:
        rows.append((t, "log", {"job": "fault", "level": level, "text": text}))
    if failed is not None:
        rows.append((failed, "state", {"job": "fault", "state": "FAILED", "source": "job"}))
    code = 3 if outcome == "partial" else 1
    ended = {"job": "fault", "returncode": code, "outcome": outcome, "timed_out": timed_out}
    rows.append((end, "job.end", ended))
    made = [Event(900 + n, t, kind, data) for n, (t, kind, data) in enumerate(rows)]
    (row,) = loud(replace(case, events=[*kept, *made]))
    return row


def blow(name: str, pattern: str, *moments: float) -> tuple[str, str, str, list[tuple[float, float]]]:
    return name, pattern, "refusal", [(t, t) for t in moments]


CUT, ROT = blow("cut", RESET, 0.5), blow("rot", DAMAGE, 1.5)
GAVE_UP = ("error", 1.9, "gave up")
OF_CUT = ("warning", 0.6, "reset by peer, retry 1")


def test_who_tells_only_of_the_first_is_not_seen_to_be_loud() -> None:
    row = judged(CUT, ROT, log=[OF_CUT, GAVE_UP])
    assert row.verdict is Verdict.UNVERIFIED
    assert "nothing is said of what struck last (rot), only of others" in row.observed


@pytest.mark.parametrize(
    "log", [[("error", 1.6, "checksum")], [OF_CUT, ("warning", 1.6, "checksum"), GAVE_UP]]
)
def test_who_tells_of_the_last_is_loud(log: list[Told]) -> None:
    assert judged(CUT, ROT, log=log).verdict is Verdict.PASS


def test_who_tells_of_nothing_is_silent() -> None:
    assert judged(CUT, ROT, log=[GAVE_UP]).verdict is Verdict.FAIL


def test_words_of_before_are_not_about_what_came_later() -> None:
    gone = blow("gone", RESET, 1.5)
    assert judged(CUT, gone, log=[OF_CUT, GAVE_UP]).verdict is Verdict.UNVERIFIED
    assert judged(CUT, gone, log=[OF_CUT, ("error", 1.45, "reset by peer")]).verdict is Verdict.PASS


def test_what_struck_at_once_cannot_be_told_apart() -> None:
    assert judged(CUT, blow("rot", DAMAGE, 0.55), log=[("error", 0.6, RESET)]).verdict is Verdict.PASS


def test_a_fault_that_struck_before_and_after_is_the_last() -> None:
    assert (
        judged(blow("cut", RESET, 0.5, 1.8), ROT, log=[("error", 1.6, DAMAGE)]).verdict is Verdict.UNVERIFIED
    )


def test_what_strikes_a_job_that_has_failed_did_not_end_it() -> None:
    log = [OF_CUT, ("error", 1.0, "reset by peer for good")]
    assert judged(CUT, ROT, log=log, failed=1.0).verdict is Verdict.PASS
    assert judged(CUT, ROT, log=log, failed=1.45).verdict is Verdict.UNVERIFIED, "it takes time to count"
    assert judged(CUT, ROT, log=log, failed=-50.0).verdict is Verdict.UNVERIFIED, "by a wrong clock"


class TestSilence:
    DEAD = ("dead", LATE, "silence", [(0.2, 0.2), (1.0, 1.9)])

    def test_it_strikes_when_it_falls(self) -> None:
        assert judged(CUT, self.DEAD, log=[OF_CUT, GAVE_UP]).verdict is Verdict.UNVERIFIED
        assert judged(CUT, self.DEAD, log=[("error", 1.9, "timed out")]).verdict is Verdict.PASS

    @pytest.mark.parametrize("text", [DAMAGE, "timed out"])
    def test_who_is_struck_meanwhile_may_tell_of_either(self, text: str) -> None:
        assert judged(ROT, self.DEAD, log=[("error", 1.9, text)]).verdict is Verdict.PASS

    def test_a_job_that_is_ended_at_its_deadline_must_tell_of_it_too(self) -> None:
        stopped = ("error", 1.95, "stopped by SIGTERM")
        assert judged(CUT, self.DEAD, log=[OF_CUT, stopped], timed_out=True).verdict is Verdict.UNVERIFIED
        words = [OF_CUT, ("warning", 1.5, LATE), stopped]
        assert judged(CUT, self.DEAD, log=words, timed_out=True).verdict is Verdict.PASS
        assert judged(CUT, self.DEAD, log=[stopped], timed_out=True).verdict is Verdict.FAIL


class TestBurden:
    def test_it_is_nobodys_end_as_long_as_something_strikes(self) -> None:
        slow = ("slow", LATE, "burden", [(0.0, 2.0)])
        assert judged(ROT, slow, log=[("error", 1.6, DAMAGE)]).verdict is Verdict.PASS
        only = judged(ROT, slow, log=[("warning", 1.6, "timed out"), GAVE_UP])
        assert only.verdict is Verdict.UNVERIFIED

    def test_one_that_began_after_the_last_blow_counts(self) -> None:
        slow = ("slow", LATE, "burden", [(0.9, 2.0)])
        assert judged(CUT, slow, log=[OF_CUT, GAVE_UP]).verdict is Verdict.UNVERIFIED
        assert judged(CUT, slow, log=[OF_CUT, ("error", 1.9, "timed out")]).verdict is Verdict.PASS

    def test_but_not_one_that_began_when_nobody_could_give_up_waiting(self) -> None:
        slow = ("slow", LATE, "burden", [(1.7, 2.0)])
        assert judged(ROT, slow, log=[("error", 1.6, DAMAGE)]).verdict is Verdict.PASS

    def test_who_lived_long_after_the_last_blow_may_have_waited_too_long(self) -> None:
        slow = ("slow", LATE, "burden", [(0.0, 8.0)])
        row = judged(CUT, slow, log=[OF_CUT, ("error", 7.9, "gave up")], end=8.0)
        assert row.verdict is Verdict.UNVERIFIED
        assert "nobody knows whether it was slow that ended it" in row.observed
        assert judged(CUT, slow, log=[OF_CUT, ("error", 7.9, LATE)], end=8.0).verdict is Verdict.PASS


class TestUntimed:
    def test_who_says_nothing_of_it_is_not_seen_to_be_loud(self) -> None:
        denied = ("denied", "permission", "untimed", [(0.2, 2.0)])
        row = judged(CUT, denied, log=[("error", 0.6, RESET)])
        assert row.verdict is Verdict.UNVERIFIED
        assert "nobody knows whether it was denied that ended it, and nothing is said of that" in row.observed
        both = [("error", 0.6, RESET), ("error", 1.6, "permission denied")]
        assert judged(CUT, denied, log=both).verdict is Verdict.PASS

    def test_one_that_was_over_before_the_last_blow_is_no_riddle(self) -> None:
        denied = ("denied", "permission", "untimed", [(0.2, 0.3)])
        assert judged(CUT, denied, log=[("error", 0.6, RESET)]).verdict is Verdict.PASS

    def test_alone_it_must_be_told(self) -> None:
        faults = ("denied", "permission", "untimed", [(0.2, 2.0)]), blow("cut", RESET)
        assert judged(*faults, log=[("error", 0.6, RESET)]).verdict is Verdict.UNVERIFIED
        assert judged(*faults, log=[("error", 0.6, "permission")]).verdict is Verdict.PASS


def test_a_partial_result_is_explained_by_what_leaves_files_out() -> None:
    faults = blow("other", DAMAGE, 0.5), blow("cut", RESET, 1.5)
    of_files, of_link = ("error", 0.6, DAMAGE), ("warning", 1.6, RESET)
    assert judged(*faults, log=[of_files], outcome="partial", place="source").verdict is Verdict.PASS
    lie = judged(*faults, log=[of_link], outcome="partial", place="source")
    assert lie.verdict is Verdict.UNVERIFIED
    assert judged(*faults, log=[of_files], outcome="partial").verdict is Verdict.UNVERIFIED


def test_a_slow_source_leaves_no_file_out() -> None:
    slow = ("other", LATE, "burden", [(0.0, 2.0)])
    row = judged(slow, CUT, log=[("error", 0.6, RESET)], outcome="partial", place="source")
    assert row.verdict is Verdict.PASS


def test_blows_after_the_end_are_somebody_elses() -> None:
    assert judged(CUT, blow("rot", DAMAGE, 5.0), log=[("error", 0.6, RESET)]).verdict is Verdict.PASS
