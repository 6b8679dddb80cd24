"""Several faults at once, on the same place: what came last goes first, and every one is undone whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.unchecked import unchecked

from backupchaos.engine.run import Run
from backupchaos.environments.base import Place, Usage
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import HarnessBroken
from backupchaos.faults.storage import Full
from backupchaos.faults.storage_calls import LostFsync, Slow
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
FIRST = {"first": {"disk.full": "repository", "headroom": 2**20, "when": {"at": 0.05}}}
THEN = {"then": {"disk.full": "repository", "when": {"at": 0.1}}}


SAME_END = {
    "first": {"disk.full": "repository", "headroom": 8 * 2**20, "for": 0.15},
    "then": {"disk.full": "repository", "headroom": 4 * 2**20, "for": 0.15},
}
SLOW = {"slow": {"disk.slow": "source", "delay": 0.02}}


def both(faults: dict[str, Any], **more: Any) -> Scenario:
    fields = {
        "scenario": "both",
        "title": "Several faults at once",
        "repository": "local",
        "source": {"files": 40, "size": 2 * 2**20, "new": 2**20},
    }
    return unchecked(fields, faults, **more)


def undone(run: Run) -> list[str]:
    return [e["name"] for e in run.history if e.kind == "fault" and e["status"] == "undone"]


def passed(run: Run) -> None:
    rows = [f"{c.verdict} {c.id}: {c.observed}" for c in run.checks]
    assert run.verdict is Verdict.PASS, "\n".join([run.result.headline, *rows])


@pytest.mark.parametrize(
    "faults", [{**FIRST, **THEN}, {**THEN, **FIRST}], ids=["as they come", "turned round"]
)
def test_two_faults_of_one_volume_leave_it_as_it_was(
    faults: dict[str, Any], run_here: Callable[..., Run]
) -> None:
    run = run_here(both(faults, expect={"outcome": "failure"}), ReferenceTarget())
    passed(run)
    assert undone(run) == ["then", "first"]


def test_faults_that_end_together_leave_the_volume_as_it_was(run_here: Callable[..., Run]) -> None:
    run = run_here(both({**SAME_END, **SLOW}, expect={"outcome": "success"}), ReferenceTarget())
    assert undone(run)[:2] == ["then", "first"]
    sizes = [e["total"] for e in run.history if e.kind == "volume"]
    assert len(set(sizes)) > 1, "it was another size meanwhile"
    assert sizes[-1] == max(sizes)


OTHERS = {
    "full": {"disk.full": "repository", "headroom": 64 * 2**20, "for": 1.0},
    "inodes": {"disk.inodes": "repository", "left": 5000, "when": {"after": 0.1}},
    "locked": {"permission.denied": "source"},
    "slow": {"disk.slow": "source", "delay": 0.2},
}


def test_windows_of_different_families_may_overlap_as_they_like(run_here: Callable[..., Run]) -> None:
    """Whether each one bit is not the question here, but that each finds at its end what it must."""
    run = run_here(both(OTHERS, expect={"outcome": ["failure", "partial"]}), ReferenceTarget())
    told = [(e["name"], e["status"]) for e in run.history if e.kind == "fault"]
    assert not [pair for pair in told if pair[1] == "failed"]
    assert undone(run) == ["full", "inodes", "slow", "locked"], run.result.headline
    assert told.index(("inodes", "applied")) < told.index(("full", "undoing")), "they overlapped"


WATCHED = {
    "one": {"disk.slow": "repository", "delay": 0.001},
    "two": {"disk.lost_fsync": "repository"},
    "three": {"disk.full": "repository"},
}


def test_an_undo_that_raises_anything_leaves_the_others_to_be_undone(
    run_here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: LostFsync) -> None:
        raise KeyError("up")

    monkeypatch.setattr(LostFsync, "undo", broken)
    run = run_here(both(WATCHED), ReferenceTarget())
    assert undone(run) == ["three", "one"]
    assert run.verdict is Verdict.INVALID
    assert "fault two could not be undone: a defect of the harness, KeyError: 'up'" in run.result.headline


@pytest.mark.parametrize("then", ["fails", "works"])
def test_a_fault_that_cannot_be_applied_is_told_first_and_the_others_are_undone(
    then: str, run_here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it is undone, itself too, and the one after it, due in the same step, was never begun."""
    real, broke = LocalSandbox.usage, list[str]()

    def usage(self: LocalSandbox, place: Place) -> Usage:
        if broke:
            raise HarnessBroken("nobody knows the size")
        return real(self, place)

    def apply(self: Full) -> str:
        broke.append(self.name)
        try:
            return whole(self)
        finally:
            broke.clear()

    def broken(self: Slow) -> None:
        raise AttributeError("_before")

    whole = Full.apply
    monkeypatch.setattr(Full, "apply", apply)
    monkeypatch.setattr(LocalSandbox, "usage", usage)
    if then == "fails":
        monkeypatch.setattr(Slow, "undo", broken)
    order = ("one", "three", "two")
    run = run_here(both({name: WATCHED[name] for name in order}), ReferenceTarget())
    assert run.verdict is Verdict.INVALID
    first = "fault three could not be applied: nobody knows the size"
    second = "; then fault one could not be undone: a defect of the harness, AttributeError: _before"
    assert first + (second if then == "fails" else "") in run.result.headline
    assert undone(run) == (["three"] if then == "fails" else ["three", "one"])
    assert "two" not in [e["name"] for e in run.history if e.kind == "fault"]


def test_a_control_with_fewer_rights_is_restored_too(run_here: Callable[..., Run]) -> None:
    """What root had stored whole says nothing of a job that may not read everything."""
    known: dict[str, bool] = {}
    plain = {"scenario": "plain", "title": "A plain run", "repository": "local"}
    source = {"source": {"files": 30, "size": 2**20, "new": 2**19}}
    denied = {
        "faults": {"denied": {"permission.denied": "source"}},
        "expect": {"outcome": ["failure", "partial"]},
    }
    restored = []
    for fields in ({}, {}, denied):
        scenario = Scenario.model_validate({**plain, **source, **fields}, strict=False)
        run = run_here(scenario, ReferenceTarget(), control_cache=known)
        assert run.verdict is Verdict.PASS, run.result.headline
        restored.append(any(e.kind == "restore" and e["which"] == "control" for e in run.history))
    assert restored == [True, False, True]


def test_the_work_between_two_troubles_is_no_pause_of_a_job_that_makes_none(
    run_here: Callable[..., Run],
) -> None:
    faults = {
        "away": {"network.down": "repository", "when": {"at": 0.2}, "for": 0.1},
        "cut": {"network.cut_after": "repository", "size": 64 * 1024, "connections": 1, "when": {"at": 0.8}},
        "slow": {"network.slow": "repository", "rate": 2**20},
    }
    fields = {"scenario": "twice", "title": "Two troubles", "repository": "sftp", "faults": faults}
    source = {"files": 40, "size": 2 * 2**20, "new": 2 * 2**20}
    scenario = Scenario.model_validate(
        {**fields, "source": source, "expect": {"backoff": "growing"}}, strict=False
    )
    env = {"BACKUPCHAOS_REFERENCE_RETRIES": "100000", "BACKUPCHAOS_REFERENCE_TIMEOUT": "2s"}
    run = run_here(scenario, ReferenceTarget(misbehave=("retry_without_backoff",), extra_env=env))
    row = next(check for check in run.checks if check.id == "backoff")
    assert row.verdict is Verdict.FAIL, row.observed
