"""The schedule is a value: it is stepped with made-up facts, and nothing sleeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos.engine.facts import Facts, Feed
from backupchaos.engine.schedule import Action, Schedule, Status
from backupchaos.model.faults import FaultSpec
from backupchaos.model.faults.network import NetworkDown
from backupchaos.model.faults.processes import ProcessKill
from backupchaos.model.faults.storage import DiskFull
from backupchaos.model.triggers import Trigger


def down(when: Trigger, **fields: object) -> FaultSpec:
    return NetworkDown(place="repository", when=when, **fields)  # type: ignore[arg-type]


def test_start_fires_before_the_job_exists() -> None:
    schedule = Schedule({"a": down(Trigger(start=True))}, 100)
    assert schedule.step(Facts()) == [Action("apply", "a")]
    assert schedule.step(Facts()) == []


@pytest.mark.parametrize(
    ("trigger", "before", "after"),
    [
        (Trigger(at=0.5), Facts(started=True, bytes=499), Facts(started=True, bytes=500)),
        (Trigger(bytes=10), Facts(started=True, bytes=9), Facts(started=True, bytes=10)),
        (Trigger(after=2.0), Facts(started=True, now=1.99), Facts(started=True, now=2.0)),
        (Trigger(attempt=3), Facts(started=True, attempts=2), Facts(started=True, attempts=3)),
        (
            Trigger(log="b+"),
            Facts(started=True, lines=Feed(["a"])),
            Facts(started=True, lines=Feed(["a", "abb"])),
        ),
        (
            Trigger(state="RETRYING"),
            Facts(started=True, states=Feed(["RUNNING"])),
            Facts(started=True, states=Feed(["RUNNING", "RETRYING"])),
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Trigger) else "",
)
def test_each_trigger_waits_for_its_fact(trigger: Trigger, before: Facts, after: Facts) -> None:
    schedule = Schedule({"a": down(trigger)}, 1000)
    assert schedule.step(before) == []
    assert schedule.step(after) == [Action("apply", "a")]


def test_only_start_fires_before_the_process_runs() -> None:
    schedule = Schedule({"a": down(Trigger(after=0.0)), "b": down(Trigger(bytes=1))}, 1000)
    assert schedule.step(Facts(bytes=5)) == []


def test_a_duration_counts_from_the_moment_of_the_start() -> None:
    schedule = Schedule({"a": down(Trigger(after=1.0), for_=5.0)}, 1)
    schedule.step(Facts(started=True, now=1.5))
    assert schedule.next_time() == 6.5
    assert schedule.step(Facts(started=True, now=6.4)) == []
    assert schedule.step(Facts(started=True, now=6.5)) == [Action("undo", "a")]
    assert schedule.status("a") is Status.OVER


def test_until_ends_a_fault() -> None:
    schedule = Schedule({"a": down(Trigger(start=True), until=Trigger(attempt=2))}, 1)
    schedule.step(Facts())
    assert schedule.step(Facts(started=True, attempts=1)) == []
    assert schedule.step(Facts(started=True, attempts=2)) == [Action("undo", "a")]


def test_an_instant_fault_has_no_end() -> None:
    schedule = Schedule({"k": ProcessKill(place="target", when=Trigger(bytes=1))}, 1)
    assert schedule.step(Facts(started=True, bytes=1)) == [Action("apply", "k")]
    assert schedule.step(Facts(started=True, ended=True)) == []


def test_the_end_of_the_job_ends_every_fault_and_starts_none() -> None:
    schedule = Schedule({"a": down(Trigger(start=True)), "b": down(Trigger(after=9.0))}, 1)
    schedule.step(Facts())
    assert schedule.step(Facts(started=True, ended=True, now=99)) == [Action("undo", "a")]
    assert schedule.status("b") is Status.WAITING


def test_the_next_threshold_is_the_smallest_not_yet_reached() -> None:
    full = DiskFull(place="repository", when=Trigger(at=0.5))
    schedule = Schedule({"a": full, "b": down(Trigger(bytes=900), until=Trigger(bytes=950))}, 1000)
    assert schedule.threshold(Facts()) == 500
    schedule.step(Facts(started=True, bytes=500))
    assert schedule.threshold(Facts(bytes=500)) == 900
    schedule.step(Facts(started=True, bytes=900))
    assert schedule.threshold(Facts(bytes=900)) == 950


def test_bytes_are_those_of_the_link_that_the_fault_names() -> None:
    tier = NetworkDown(place="catalog", when=Trigger(bytes=100), until=Trigger(bytes=150))
    schedule = Schedule({"a": tier, "b": down(Trigger(bytes=300))}, 1000)
    assert (schedule.threshold(Facts()), schedule.threshold(Facts(), "catalog")) == (300, 100)
    assert schedule.threshold(Facts(), "auth") is None
    assert schedule.step(Facts(started=True, bytes=299, tiers={"catalog": 99, "auth": 500})) == []
    seen = Facts(started=True, bytes=299, tiers={"catalog": 100})
    assert schedule.step(seen) == [Action("apply", "a")]
    assert schedule.threshold(seen, "catalog") == 150
    assert schedule.step(Facts(started=True, bytes=300, tiers={"catalog": 149})) == [Action("apply", "b")]


def test_a_share_is_of_what_goes_to_the_repository_whatever_the_fault_acts_on() -> None:
    schedule = Schedule({"a": NetworkDown(place="catalog", when=Trigger(at=0.5))}, 1000)
    assert (schedule.threshold(Facts()), schedule.threshold(Facts(), "catalog")) == (500, None)
    assert schedule.step(Facts(started=True, tiers={"catalog": 5000})) == []
    assert schedule.step(Facts(started=True, bytes=500)) == [Action("apply", "a")]
    assert schedule.by_bytes()
    only_tier = Schedule({"a": NetworkDown(place="catalog", when=Trigger(bytes=5))}, 1000)
    assert not only_tier.by_bytes()


moments = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2000)), min_size=1, max_size=30)


@given(
    starts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    lasts=st.integers(1, 20),
    steps=moments,
)
def test_every_fault_is_applied_at_most_once_and_undone_after_it(
    starts: list[int], lasts: int, steps: list[tuple[int, int]]
) -> None:
    """Whatever the facts: apply before undo, each at most once, and nothing in force at the end."""
    faults = {f"f{i}": down(Trigger(after=start / 4), for_=lasts / 4) for i, start in enumerate(starts)}
    schedule = Schedule(faults, 1000)
    seen: list[Action] = []
    now = 0
    for wait, count in steps:
        now += wait
        seen += schedule.step(Facts(started=True, now=now / 4, bytes=count))
    seen += schedule.step(Facts(started=True, ended=True, now=now / 4))
    for name in faults:
        mine = [action.what for action in seen if action.name == name]
        assert mine in ([], ["apply", "undo"])
    assert schedule.active() == []


@pytest.mark.parametrize("names", ["abc", "cba", "bca"])
def test_what_ends_together_ends_newest_first(names: str) -> None:
    """Whatever their order in the file, and even if none of the clock's moments lies between their starts."""
    starts = {"a": Trigger(start=True), "b": Trigger(bytes=10), "c": Trigger(bytes=20)}
    until = Trigger(attempt=2)
    schedule = Schedule({name: down(starts[name], until=until) for name in names}, 1000)
    for count in (0, 10, 20):
        schedule.step(Facts(started=True, bytes=count))
    assert schedule.active() == ["a", "b", "c"]
    ends = schedule.step(Facts(started=True, bytes=20, attempts=2))
    assert ends == [Action("undo", name) for name in "cba"]


def test_what_starts_in_one_step_ends_the_other_way_round() -> None:
    schedule = Schedule({name: down(Trigger(start=True), for_=1.0) for name in "ab"}, 1000)
    assert schedule.step(Facts()) == [Action("apply", "a"), Action("apply", "b")]
    assert schedule.step(Facts(started=True, now=1.0)) == [Action("undo", "b"), Action("undo", "a")]


def test_a_fault_that_came_again_is_the_newest() -> None:
    again = {"for_": 1.0, "every": 2.0}
    schedule = Schedule({"a": down(Trigger(start=True), **again), "b": down(Trigger(bytes=1))}, 1000)
    schedule.step(Facts(started=True, bytes=1))
    schedule.step(Facts(started=True, bytes=1, now=1.0))
    assert schedule.step(Facts(started=True, bytes=1, now=2.0)) == [Action("apply", "a")]
    assert schedule.step(Facts(ended=True)) == [Action("undo", "a"), Action("undo", "b")]


# -- words and states: from when on ------------------------------------------------------------------------

AT_A, TO_B = Trigger(log="^a"), Trigger(log="^b")


def test_what_is_said_after_the_start_ends_it_however_late_it_is_asked_for() -> None:
    facts = Facts(started=True, lines=Feed(["b0", "a"]))
    schedule = Schedule({"x": down(AT_A, until=TO_B)}, 1)
    assert schedule.step(facts) == [Action("apply", "x")]
    assert schedule.step(facts) == []
    facts.lines.append("b1")  # while it was being applied
    assert schedule.step(facts) == [Action("undo", "x")]


def test_what_follows_the_line_that_starts_it_ends_it_even_in_one_breath() -> None:
    facts = Facts(started=True, lines=Feed(["a", "b"]))
    schedule = Schedule({"x": down(AT_A, until=TO_B)}, 1)
    assert [schedule.step(facts), schedule.step(facts)] == [[Action("apply", "x")], [Action("undo", "x")]]


@pytest.mark.parametrize("when", [Trigger(start=True), Trigger(bytes=5), Trigger(state="RETRYING")])
def test_words_and_states_of_before_the_start_end_nothing(when: Trigger) -> None:
    for until in (TO_B, Trigger(state="RUNNING")):
        facts = Facts(started=True, bytes=9, lines=Feed(["b"]), states=Feed(["RUNNING", "RETRYING"]))
        schedule = Schedule({"x": down(when, until=until)}, 1)
        assert schedule.step(facts) == [Action("apply", "x")]
        assert schedule.step(facts) == []
        facts.states.append("RUNNING")
        facts.lines.append("b")
        assert schedule.step(facts) == [Action("undo", "x")]


def test_it_comes_at_each_of_the_words_but_not_at_those_of_its_own_time() -> None:
    schedule = Schedule({"x": down(AT_A, for_=1.0, times=2)}, 1)
    facts, seen = Facts(started=True), list[str]()
    for now, line in enumerate(("a", "a", "c", "a", "c", "a", "a")):
        facts.now = now * 0.6
        facts.lines.append(line)
        seen.append(" ".join(action.what for action in schedule.step(facts)))
    assert seen == ["apply", "", "undo", "apply", "", "undo", ""]


def test_what_nobody_waits_for_is_forgotten() -> None:
    facts = Facts(started=True, lines=Feed(str(n) for n in range(1000)), states=Feed(["RUNNING"]))
    Schedule({"x": down(AT_A), "y": down(Trigger(start=True), until=Trigger(bytes=5))}, 1).step(facts)
    assert (list(facts.lines.since(0)), facts.lines.end) == ([], 1000)
    assert list(facts.states.since(0)) == []


def test_every_count_of_the_repository_is_known_beforehand() -> None:
    tier = NetworkDown(place="catalog", when=Trigger(bytes=100), until=Trigger(at=0.25))
    schedule = Schedule({"a": tier, "b": down(Trigger(bytes=300), until=Trigger(at=0.5))}, 1000)
    assert schedule.thresholds() == {250, 300, 500}
