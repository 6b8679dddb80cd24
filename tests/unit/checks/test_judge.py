"""Every check is shown a run that it must fail, and one that it must not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupchaos.checks import judge
from backupchaos.checks.gaps import growing
from backupchaos.checks.table import normalise
from backupchaos.history import Event
from backupchaos.results import CheckResult, Verdict


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = _load("cases")
Story, restored = cases.Story, cases.restored


def rows(story: Any) -> dict[str, CheckResult]:
    return {result.id: result for result in judge.evaluate(story.case())}


def verdicts(story: Any) -> dict[str, Verdict]:
    return {identity: result.verdict for identity, result in rows(story).items()}


def bad(story: Any) -> set[str]:
    return {identity for identity, verdict in verdicts(story).items() if verdict is not Verdict.PASS}


EXPECT = {
    "outcome": "success",
    "states": ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"],
    "retries": (1, 3),
    "log": [{"level": "warning", "matches": "retry"}],
    "within": 60.0,
}


def test_an_honest_run_passes() -> None:
    story = Story(expect=EXPECT, envelope="must_survive")
    assert bad(story) == set()
    assert judge.overall(judge.evaluate(story.case())) is Verdict.PASS


def test_an_honest_failure_passes() -> None:
    story = Story(expect={"outcome": "failure"}, envelope="must_fail_loudly").fails()
    assert bad(story) == set()


Spoil = Callable[[Any], object]
SPOILT: dict[str, tuple[Spoil, str, Verdict]] = {
    "a claim whose restore differs": (
        lambda s: s.restores.__setitem__(0, restored("newest", different=1)), "honest", Verdict.FAIL),
    "a claim whose restore exits 1": (
        lambda s: s.restores.__setitem__(0, replace(restored("newest"), returncode=1)), "honest", Verdict.FAIL),
    "a claim without a snapshot": (
        lambda s: s.restores.__setitem__(
            0, replace(restored("newest"), performed=False, reason="no new snapshot is listed")), "honest", Verdict.FAIL),
    "a claim that could not be restored by us": (
        lambda s: s.restores.pop(0), "honest", Verdict.UNVERIFIED),
    "an older snapshot that differs": (
        lambda s: s.restores.__setitem__(1, restored("older", missing=2)), "no_collateral", Verdict.FAIL),
    "an older snapshot that is gone": (
        lambda s: s.restores.__setitem__(
            1, replace(restored("older"), performed=False, reason="lost: no longer listed")), "no_collateral", Verdict.FAIL),
    "no look at the older snapshot": (
        lambda s: s.restores.pop(1), "no_collateral", Verdict.UNVERIFIED),
    "a recovery that fails": (
        lambda s: setattr(s, "recovery", ("failure", 1)), "recoverable", Verdict.FAIL),
    "a recovery whose restore differs": (
        lambda s: s.restores.__setitem__(2, restored("recovered", extra=1)), "recoverable", Verdict.FAIL),
    "a file left behind": (lambda s: s.residue.append("repository: x.tmp"), "clean", Verdict.FAIL),
    "a job past its deadline": (lambda s: setattr(s, "timed_out", True), "bounded", Verdict.FAIL),
    "a silent job": (lambda s: setattr(s, "hung", True), "bounded", Verdict.FAIL),
    "the wrong outcome": (lambda s: s.fails(), "outcome", Verdict.FAIL),
    "the wrong states": (
        lambda s: setattr(s, "states", ["PENDING", "RUNNING", "SUCCESS"]), "states", Verdict.FAIL),
    "no states": (lambda s: setattr(s, "states", []), "states", Verdict.UNVERIFIED),
    "an illegal transition": (
        lambda s: setattr(s, "states", ["PENDING", "SUCCESS"]), "transitions", Verdict.FAIL),
    "a state after the end": (
        lambda s: s.states.append("FAILED"), "transitions", Verdict.FAIL),
    "a state that contradicts the exit code": (
        lambda s: setattr(s, "states", ["PENDING", "RUNNING", "FAILED"]), "final_state", Verdict.FAIL),
    "no retry": (lambda s: s.retries.clear(), "retries", Verdict.FAIL),
    "too many retries": (
        lambda s: s.retries.extend(("log", 3.0 + n) for n in range(5)), "retries", Verdict.FAIL),
    "retries that never reach the link": (
        lambda s: setattr(s, "retries", [("log", 2.0), ("log", 3.0)]), "retries_real", Verdict.FAIL),
    "no such log record": (lambda s: s.log.pop(), "log.1", Verdict.FAIL),
    "a record without a trace id": (lambda s: setattr(s, "trace", None), "log.fields", Verdict.FAIL),
    "a check that finds damage": (lambda s: setattr(s, "check", 1), "check", Verdict.FAIL),
    "a fault without proof": (lambda s: s.proof.clear(), "bite.cut", Verdict.INVALID),
    "a fault that never started": (lambda s: setattr(s, "fault_status", ()), "bite.cut", Verdict.INVALID),
    "a fault that could not be undone": (
        lambda s: setattr(s, "fault_status", ("applied", "failed")), "bite.cut", Verdict.INVALID),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_each_flaw_is_seen(name: str) -> None:
    spoil, identity, verdict = SPOILT[name]
    story = Story(expect=EXPECT)
    spoil(story)
    assert verdicts(story)[identity] is verdict
    assert judge.overall(judge.evaluate(story.case())) is not Verdict.PASS


def test_connections_after_the_job_are_no_retries_of_it() -> None:
    story = Story()
    story.retries = [("log", 0.5 + n / 10) for n in range(4)] + [("link", 30.0 + n) for n in range(9)]
    assert verdicts(story)["retries_real"] is Verdict.FAIL


@pytest.mark.parametrize(("before", "verdict"), [(True, Verdict.PASS), (False, Verdict.FAIL)])
def test_a_refusal_that_was_counted_a_moment_after_the_end_is_the_jobs_if_it_was_known_by_then(
    before: bool, verdict: Verdict
) -> None:
    """Commands that are tried under the fault knock at the same link, a moment after the job."""
    story = Story()
    story.retries = [("log", 0.5)]
    kept = [event for event in story.case().events if event.kind != "link"]
    at = next(n for n, e in enumerate(kept) if e.kind == "job.end" and e["job"] == "fault")
    late = Event(0, kept[at].t + 0.02, "link", {"ev": "refused", "count": 1})
    kept.insert(at if before else at + 1, late)
    events = [replace(event, seq=number) for number, event in enumerate(kept)]
    found = judge.evaluate(replace(story.case(), events=events))
    (row,) = [row for row in found if row.id == "retries_real"]
    assert row.verdict is verdict, row.observed


@pytest.mark.parametrize(
    ("count", "verdict", "observed"),
    [(1, Verdict.FAIL, "1"), (9, Verdict.UNVERIFIED, "1"), (0, Verdict.FAIL, "1")],
)
def test_refusals_that_may_be_strangers_make_no_retry_real(
    count: int, verdict: Verdict, observed: str
) -> None:
    """The log claims five, and there was one new connection: strangers may have been the others, or the job."""
    story = Story()
    story.retries = [("log", 0.5 + n / 10) for n in range(5)]
    case = story.case()
    told = Event(900, 0.8, "link", {"ev": "refused", "count": count, "strangers": True})
    events = [replace(e, t=0.7) if e.kind == "link" else e for e in case.events]
    found = judge.evaluate(replace(case, events=[*events, *([told] if count else [])]))
    (row,) = [row for row in found if row.id == "retries_real"]
    assert row.verdict is verdict
    assert row.observed == observed + (f", and {count} refusals that may be strangers'" if count else "")


@pytest.mark.parametrize(("files", "verdict"), [(0, Verdict.FAIL), (2, Verdict.FAIL), (3, Verdict.PASS)])
def test_retries_at_a_file_are_not_looked_for_at_the_link(files: int, verdict: Verdict) -> None:
    """The log claims five, of which some were seen at a file, and there was one new connection."""
    story = Story()
    story.retries = [("log", 0.5 + n / 10) for n in range(5)] + [
        ("syscall", 0.55 + n / 10) for n in range(files)
    ]
    case = story.case()
    events = [replace(e, t=0.7) if e.kind == "link" else e for e in case.events]
    (row,) = [row for row in judge.evaluate(replace(case, events=events)) if row.id == "retries_real"]
    assert row.verdict is verdict, row.observed


@pytest.mark.parametrize(("opened", "verdict"), [(0.05, Verdict.FAIL), (0.2, Verdict.PASS)])
def test_the_connection_that_was_cut_is_no_retry_however_new_it_was(opened: float, verdict: Verdict) -> None:
    """The link goes down at 0.1 s, and at 0.5 s the log claims one retry."""
    story = Story()
    story.retries = [("log", 0.5)]
    case = story.case()
    events = [replace(e, t=opened) if e.kind == "link" else e for e in case.events]
    (row,) = [row for row in judge.evaluate(replace(case, events=events)) if row.id == "retries_real"]
    assert row.verdict is verdict


@pytest.mark.parametrize(
    ("name", "cause", "verdict"),
    [
        ("repository.backupchaos.test", "names", Verdict.PASS),
        ("repository.backupchaos.test", "", Verdict.FAIL),
        ("elsewhere.backupchaos.test", "names", Verdict.FAIL),
    ],
)
def test_who_asks_for_the_name_in_vain_has_tried(name: str, cause: str, verdict: Verdict) -> None:
    """While names are not resolved no attempt can reach the link; but each asks, for two sorts of address at once."""
    story = Story()
    story.retries = [("log", 0.5 + n / 2) for n in range(5)]
    case = story.case()
    more: list[Event] = []
    answer = {"ev": "name", "link": "", "name": name, "answer": "SERVFAIL", "cause": cause}
    for n in range(6):
        sort = {"type": "AAAA" if n % 2 else "A"}
        more.append(Event(900 + n, 0.6 + n // 2 * 0.3, "link", {**answer, **sort}))
    whole = replace(case, events=[*case.events, *more])
    (row,) = [row for row in judge.evaluate(whole) if row.id == "retries_real"]
    assert (row.verdict, row.observed) == (verdict, "4" if verdict is Verdict.PASS else "1")


@pytest.mark.parametrize(
    ("level", "said", "control", "verdict"),
    [
        ("warning", 1.0, [], Verdict.PASS),
        ("warning", 0.01, [], Verdict.FAIL),
        ("warning", 1.0, ["connection lost, retry 17"], Verdict.UNVERIFIED),
        ("warning", 0.01, ["connection lost, retry 17"], Verdict.FAIL),
        ("warning", 1.0, ["connection found"], Verdict.PASS),
        ("info", 0.01, ["connection lost, retry 17"], Verdict.PASS),
    ],
)
def test_a_warning_is_wanted_of_the_fault(
    level: str, said: float, control: list[str], verdict: Verdict
) -> None:
    """The fault comes at 0.1 s. Who warns of it at every start has told nothing."""
    story = Story(expect={"log": [{"level": level, "matches": "lost"}]})
    story.fault_status = ("applying", "applied", "undone")
    story.log = [("warning", "connection lost, retry 3")]
    case = story.case()
    events = [replace(e, t=said) if e.kind == "log" else e for e in case.events]
    more = [Event(900, 0.0, "log", {"job": "control", "level": "warning", "text": text}) for text in control]
    (row,) = [r for r in judge.evaluate(replace(case, events=[*more, *events])) if r.id == "log.1"]
    assert row.verdict is verdict, row.observed


def test_a_failure_without_an_error_record_is_silent() -> None:
    story = Story().fails()
    story.log = [("info", "connection lost")]
    assert verdicts(story)["loud"] is Verdict.FAIL


def test_an_error_record_that_names_another_cause_is_not_loud() -> None:
    story = Story().fails()
    story.log = [("error", "something happened")]
    assert verdicts(story)["loud"] is Verdict.FAIL


def test_a_killed_job_whose_own_state_says_success_claims_it() -> None:
    story = Story().fails(-9)
    story.states = ["PENDING", "RUNNING", "SUCCESS"]
    case = story.case()
    assert case.claims_success
    assert verdicts(story)["honest"] is Verdict.UNVERIFIED


def test_a_job_that_recorded_no_state_claims_none() -> None:
    story = Story(expect=EXPECT).fails()
    story.states, story.derived = [], ["PENDING", "RUNNING", "FAILED"]
    case = story.case()
    assert case.states() == [] and not case.claims_success
    assert verdicts(story)["states"] is not Verdict.PASS


def test_a_job_that_keeps_states_owes_them_when_it_succeeds() -> None:
    story = Story(expect=EXPECT)
    story.states = []
    story.derived = ["PENDING", "RUNNING", "SUCCESS"]
    assert story.case().states() == []
    assert verdicts(story)["states"] is not Verdict.PASS


def test_a_partial_job_owes_all_but_what_it_names() -> None:
    story = Story()
    story.returncode, story.outcome = 3, "partial"
    story.states = ["PENDING", "RUNNING", "FAILED"]
    story.log.append(("error", "connection lost"))
    assert bad(story) == set()
    story.restores[0] = restored("newest", missing=1)
    assert verdicts(story)["honest"] is Verdict.FAIL


def test_a_snapshot_left_by_a_failed_job_must_not_mislead() -> None:
    story = Story().fails()
    story.restores.append(restored("unclaimed", missing=3))
    assert verdicts(story)["honest.listed"] is Verdict.FAIL
    story.restores[-1] = replace(restored("unclaimed", missing=3), returncode=1)
    assert verdicts(story)["honest.listed"] is Verdict.FAIL
    story.restores[-1] = restored("unclaimed")
    assert verdicts(story)["honest.listed"] is Verdict.PASS


def test_loud_damage_is_accepted_where_the_scenario_says_so() -> None:
    story = Story(expect={"restore": "loud", "older": "loud", "check": "fails"})
    story.restores[0] = replace(restored("newest", missing=1), returncode=1)
    story.restores[1] = replace(restored("older", missing=1), returncode=1)
    story.check = 1
    assert bad(story) == set()
    story.restores[0] = restored("newest", different=1)
    story.check = 0
    assert {"honest", "check"} <= bad(story)


def test_damage_that_the_job_has_repaired_need_not_be_found() -> None:
    story = Story(expect={"restore": "loud", "older": "loud", "check": "fails"})
    story.check = 0
    assert bad(story) == set()
    story.restores[1] = replace(restored("older", missing=1), returncode=1)
    assert bad(story) == {"check"}


def test_a_recovery_job_must_not_lie_even_if_it_need_not_succeed() -> None:
    story = Story(waive={"recoverable": "the damage stays"})
    assert bad(story) == set()
    story.restores[2] = restored("recovered", different=1)
    assert verdicts(story)["honest.recovered"] is Verdict.FAIL
    story.restores[2] = replace(restored("recovered", missing=1), returncode=1)
    assert bad(story) == set()


def test_a_torn_mirror_is_collateral_damage() -> None:
    story = Story().fails()
    story.profile = replace(cases.PROFILE, history=False)
    story.restores = [restored("mirror"), restored("recovered")]
    assert bad(story) == set()
    story.restores[0] = restored("mirror", different=1)
    assert verdicts(story)["no_collateral"] is Verdict.FAIL


def test_a_waived_law_is_not_judged() -> None:
    story = Story(waive={"clean": "we know"})
    story.residue.append("x")
    assert "clean" not in rows(story)


def test_the_name_of_the_faulted_file_stands_for_path() -> None:
    story = Story(expect={"log": [{"level": "error", "matches": "{path}"}]})
    story.log.append(("error", "cannot open data/locked.db"))
    assert verdicts(story)["log.1"] is Verdict.PASS
    story.log[-1] = ("error", "cannot open data/other.db")
    assert verdicts(story)["log.1"] is Verdict.FAIL


def test_a_crashing_check_is_unverified_and_never_green(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> list[CheckResult]:
        raise RuntimeError("boom")

    monkeypatch.setattr(judge, "LAWS", (broken,))
    monkeypatch.setattr(judge, "TABLE", ())
    results = judge.evaluate(Story().case())
    assert results[-1].verdict is Verdict.UNVERIFIED
    assert "boom" in results[-1].observed
    assert judge.overall(results) is Verdict.UNVERIFIED


def test_no_rows_is_not_green() -> None:
    assert judge.overall([]) is Verdict.UNVERIFIED


def test_invalid_outranks_fail_outranks_unverified() -> None:
    def result(verdict: Verdict) -> CheckResult:
        return CheckResult("a", "a", "", "", verdict)

    every = [result(v) for v in (Verdict.PASS, Verdict.UNVERIFIED, Verdict.FAIL, Verdict.INVALID)]
    assert judge.overall(every) is Verdict.INVALID
    assert judge.overall(every[:3]) is Verdict.FAIL
    assert judge.overall(every[:2]) is Verdict.UNVERIFIED


def test_silent_data_loss_has_its_own_name() -> None:
    story = Story()
    story.restores[0] = restored("newest", missing=3)
    case = story.case()
    results = judge.evaluate(case)
    assert judge.severity(case, results) == "data_loss"
    headline, paragraph = judge.words(case, "tool", Verdict.FAIL, results)
    assert "SILENT DATA LOSS" in headline
    assert "3 missing of 5" in headline
    assert "1 connection cut" in paragraph


@pytest.mark.parametrize(
    ("gaps", "grows"),
    [
        ([0.25, 0.5, 1.0, 2.0], True),
        ([0.3, 0.28, 0.9, 2.1], True),
        ([1.0, 8.0, 8.0, 8.0], True),
        ([1.0, 1.0, 1.0], False),
        ([2.0, 1.0, 0.5], False),
        ([0.01, 0.01, 0.012], False),
        ([0.001, 0.002, 0.02, 0.01, 0.01], False),
        ([1.0, 9.0, 0.1, 9.0, 0.1, 9.0, 0.1, 2.0], False),
        ([1.0], False),
    ],
)
def test_growing_gaps(gaps: list[float], grows: bool) -> None:
    assert growing(gaps) is grows


def test_repeated_retries_count_once_in_the_states() -> None:
    states = ["PENDING", "RUNNING", "RETRYING", "RETRYING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"]
    assert normalise(states) == ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"]
    assert normalise(["RUNNING", "SUCCESS", "RUNNING", "SUCCESS"]) == ["RUNNING", "SUCCESS"] * 2


# -- a job that the fault killed ----------------------------------------------------------------

DEADLY: dict[str, dict[str, Any]] = {
    "process.kill": {"process.kill": "target"},
    "power.cut": {"power.cut": "repository"},
    "power.lying_disk": {"power.lying_disk": "repository"},
    "process.oom": {"process.oom": "target"},
}


def killed(fault: dict[str, Any], returncode: int = -9) -> Any:
    """The job is gone without a last word."""
    when = {} if "process.oom" in fault else {"when": {"at": 0.5}}
    story = Story(faults={"cut": {**fault, **when}}).fails(returncode)
    story.log, story.states = [("info", "start")], ["PENDING", "RUNNING"]
    story.derived = ["PENDING", "RUNNING", "FAILED"]
    return story


@pytest.mark.parametrize("kind", DEADLY)
def test_who_was_killed_by_the_fault_cannot_log(kind: str) -> None:
    (found,) = (r for r in judge.evaluate(killed(DEADLY[kind]).case()) if r.id == "loud")
    assert found.verdict is Verdict.PASS
    assert found.observed == "exit -9: killed by the fault cut, cannot log"


@pytest.mark.parametrize("kind", DEADLY)
def test_who_outlived_a_deadly_fault_must_be_loud(kind: str) -> None:
    assert verdicts(killed(DEADLY[kind], returncode=1))["loud"] is Verdict.FAIL


@pytest.mark.parametrize("more", [{"signal": "TERM"}, {"who": "helper"}])
def test_who_could_have_spoken_must(more: dict[str, str]) -> None:
    assert verdicts(killed({**DEADLY["process.kill"], **more}))["loud"] is Verdict.FAIL


def test_who_was_killed_by_somebody_else_is_judged_as_ever() -> None:
    story = killed({"network.down": "repository"})
    assert verdicts(story)["loud"] is Verdict.FAIL
    toothless = killed(DEADLY["process.kill"])
    toothless.proof = []
    assert verdicts(toothless)["loud"] is Verdict.FAIL


@pytest.mark.parametrize("ended", ["hung", "timed_out"])
def test_the_harness_own_kill_at_a_deadline_excuses_nobody(ended: str) -> None:
    story = killed(DEADLY["process.oom"])
    setattr(story, ended, True)
    assert verdicts(story)["loud"] is Verdict.FAIL


def test_who_had_claimed_success_before_it_was_killed_is_not_excused() -> None:
    story = killed(DEADLY["process.kill"])
    story.states = ["PENDING", "RUNNING", "SUCCESS"]
    assert verdicts(story)["loud"] is Verdict.FAIL
