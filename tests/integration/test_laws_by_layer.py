"""Check the checker once more: for every layer of faults and every law, a planted lie that its row must report.

Where a cell is empty, the table says why it cannot be filled.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from backupchaos.engine.run import Run
from backupchaos.model.expectations import Law
from backupchaos.model.faults import KINDS
from backupchaos.results import Verdict
from backupchaos_targets.reference import ReferenceTarget


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worlds = _load("worlds")
pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]


class Lie(NamedTuple):
    """A misbehaviour, the world in which it shows, and the row that must fail."""

    misbehaviour: str
    world: str
    row: str


FAILING = {
    "network": "gone",
    "storage": "full",
    "files": "locked",
    "permissions": "denied",
    "process": "piped",
    "repository": "shut",
    "service": "served",
}
"""Layer -> a world in which the honest job fails loudly, so that one lie about failures serves for all of them."""
ON_FAILURE = {
    "honest": ("claim_success_on_failure", "honest"),
    "loud": ("no_error_log", "loud"),
    "bounded": ("hang_on_failure", "bounded"),
    "recoverable": ("leave_lock", "recoverable"),
}
SURVIVING = {
    "clock": "wrong_clock",
    "environment": "moved",
}
"""Layer -> a world that the honest job survives."""

LIES: dict[tuple[str, str], Lie] = {
    **{
        (layer, law): Lie(name, world, row)
        for layer, world in FAILING.items()
        for law, (name, row) in ON_FAILURE.items()
    },
    ("network", "no_collateral"): Lie("corrupt_previous_snapshot", "cut", "no_collateral"),
    ("network", "clean"): Lie("leave_child_process", "cut", "clean"),
    ("network", "as_declared"): Lie("never_retry", "cut", "outcome"),
    ("storage", "no_collateral"): Lie("delete_old_snapshots_on_failure", "full", "no_collateral"),
    ("storage", "clean"): Lie("leave_temp_files", "full", "clean"),
    ("storage", "as_declared"): Lie("illegal_transition", "full", "transitions"),
    ("files", "no_collateral"): Lie("delete_old_snapshots_on_failure", "locked", "no_collateral"),
    ("files", "clean"): Lie("leave_child_process", "locked", "clean"),
    ("files", "as_declared"): Lie("never_retry", "locked", "retries"),
    ("permissions", "no_collateral"): Lie("delete_old_snapshots_on_failure", "denied", "no_collateral"),
    ("permissions", "clean"): Lie("leave_child_process", "denied", "clean"),
    ("permissions", "as_declared"): Lie("retry_permission_errors", "denied", "retries"),
    ("process", "no_collateral"): Lie("delete_old_snapshots_on_failure", "piped", "no_collateral"),
    ("process", "clean"): Lie("leave_temp_files", "killed", "clean"),
    ("process", "as_declared"): Lie("ignores_term", "terminated", "outcome"),
    ("repository", "recoverable"): Lie("leave_lock", "stale", "recoverable"),
    ("repository", "no_collateral"): Lie("restore_succeeds_on_damage", "rotten", "no_collateral"),
    ("repository", "clean"): Lie("leave_temp_files", "rotten", "clean"),
    ("repository", "as_declared"): Lie("check_always_ok", "rotten", "check"),
    ("service", "no_collateral"): Lie("corrupt_previous_snapshot", "served_again", "no_collateral"),
    ("service", "clean"): Lie("leave_child_process", "served_again", "clean"),
    ("service", "as_declared"): Lie("never_retry", "served_again", "outcome"),
    ("clock", "honest"): Lie("stale_content", "wrong_clock", "honest"),
    ("clock", "no_collateral"): Lie("corrupt_previous_snapshot", "wrong_clock", "no_collateral"),
    ("clock", "clean"): Lie("leave_temp_files", "wrong_clock", "clean"),
    ("clock", "as_declared"): Lie("no_trace_id", "wrong_clock", "log.fields"),
    ("environment", "honest"): Lie("stale_content", "moved", "honest"),
    ("environment", "no_collateral"): Lie("corrupt_previous_snapshot", "moved", "no_collateral"),
    ("environment", "clean"): Lie("leave_child_process", "moved", "clean"),
    ("environment", "as_declared"): Lie("no_status_code", "moved", "log.fields"),
    ("power", "honest"): Lie("no_fsync", "power_after_success", "honest"),
    ("power", "no_collateral"): Lie("corrupt_previous_snapshot", "power_after_success", "no_collateral"),
    ("power", "recoverable"): Lie("leave_lock", "power_in_the_middle", "recoverable"),
    ("power", "clean"): Lie("leave_temp_files", "power_after_success", "clean"),
    ("power", "as_declared"): Lie("no_trace_id", "power_after_success", "log.fields"),
}
SURVIVED = (
    "the honest job of this layer's worlds succeeds, or dies without a word: there is no failure to lie about"
)
EMPTY: dict[tuple[str, str], str] = {
    **{(layer, law): SURVIVED for layer in SURVIVING for law in ("loud", "bounded", "recoverable")},
    ("power", "loud"): "a machine without power says nothing",
    ("power", "bounded"): "a machine without power ends at once",
}
LAYERS = sorted({spec.layer for spec in KINDS.values()})


def test_every_cell_is_filled_or_explained() -> None:
    wanted = {(layer, law) for layer in LAYERS for law in get_args(Law)}
    assert wanted == set(LIES) | set(EMPTY)
    assert not set(LIES) & set(EMPTY)


@pytest.mark.parametrize(("layer", "law"), sorted(LIES))
def test_the_lie_is_found(layer: str, law: str, run_of_many: Callable[..., Run]) -> None:
    lie = LIES[layer, law]
    world = worlds.WORLDS[lie.world]
    assert layer in {spec.layer for spec in world.faults.values()}
    run = run_of_many(world, ReferenceTarget(misbehave=(lie.misbehaviour,), extra_env=worlds.FAST))
    rows = [f"{c.verdict} {c.id}: {c.expected} | {c.observed}" for c in run.checks]
    assert run.verdict is Verdict.FAIL, "\n".join([run.result.headline, *rows])
    assert lie.row in {check.id for check in run.checks if check.verdict is Verdict.FAIL}, "\n".join(rows)
