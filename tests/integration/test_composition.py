"""Several faults at once, on the same place: what came last goes first, whatever their order in the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backupchaos.engine.run import Run
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
FIRST = {"first": {"disk.full": "repository", "headroom": 2**20, "when": {"at": 0.05}}}
THEN = {"then": {"disk.full": "repository", "when": {"at": 0.1}}}


@pytest.mark.parametrize(
    "faults", [{**FIRST, **THEN}, {**THEN, **FIRST}], ids=["as they come", "turned round"]
)
def test_two_faults_of_one_volume_leave_it_as_it_was(
    faults: dict[str, Any], run_here: Callable[..., Run]
) -> None:
    scenario = Scenario.model_validate(
        {
            "scenario": "both",
            "title": "Twice full",
            "repository": "local",
            "source": {"files": 40, "size": 2 * 2**20, "new": 2**20},
            "faults": faults,
            "expect": {"outcome": "failure"},
        },
        strict=False,
    )
    run = run_here(scenario, ReferenceTarget())
    rows = [f"{c.verdict} {c.id}: {c.observed}" for c in run.checks]
    assert run.verdict is Verdict.PASS, "\n".join([run.result.headline, *rows])
    undone = [e["name"] for e in run.history if e.kind == "fault" and e["status"] == "undone"]
    assert undone == ["then", "first"]


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
