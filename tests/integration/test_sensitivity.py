"""Check the checker: every planted misbehaviour is reported, and nothing on the honest job."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backupchaos_scenarios as library
from backupchaos.engine.run import Run
from backupchaos.errors import MissingCapability
from backupchaos.results import Verdict
from backupchaos_reference.misbehaviour import CATALOGUE
from backupchaos_targets.reference import ReferenceTarget


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worlds = _load("worlds")
pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]

PLANTED = {
    "swallow_enospc": ("full", {"honest"}),
    "exit_zero_after_giving_up": ("gone", {"honest"}),
    "never_retry": ("cut", {"outcome"}),
    "retry_forever": ("gone", {"bounded"}),
    "retry_without_backoff": ("gone", {"backoff"}),
    "retry_decreasing_backoff": ("gone", {"backoff"}),
    "retry_permission_errors": ("denied", {"retries"}),
    "claims_retry_without_trying": ("gone", {"retries_real"}),
    "hang_on_dead_link": ("dead", {"bounded"}),
    "ignores_term": ("terminated", {"outcome"}),
    "skip_unreadable_silently": ("denied", {"honest"}),
    "truncate_last_file": ("normal", {"control"}),
    "drop_empty_directory": ("normal", {"control"}),
    "drop_mode": ("normal", {"control"}),
    "drop_mtime": ("normal", {"control"}),
    "drop_xattrs": ("normal", {"control"}),
    "drop_hard_links": ("normal", {"control"}),
    "fill_holes": ("normal", {"control"}),
    "drop_odd_names": ("normal", {"control"}),
    "stale_content": ("normal", {"honest"}),
    "corrupt_previous_snapshot": ("normal", {"no_collateral"}),
    "delete_old_snapshots_on_full_disk": ("full", {"no_collateral"}),
    "manifest_first": ("killed", {"honest.listed"}),
    "success_before_durable": ("killed_at_success", {"honest"}),
    "leave_temp_files": ("normal", {"clean"}),
    "leave_lock": ("denied", {"recoverable"}),
    "leave_child_process": ("normal", {"clean"}),
    "no_error_log": ("denied", {"loud"}),
    "no_trace_id": ("normal", {"log.fields"}),
    "no_status_code": ("normal", {"log.fields"}),
    "binary_log": ("normal", {"log.fields"}),
    "illegal_transition": ("normal", {"transitions"}),
    "wrong_exit_code_on_failure": ("denied", {"honest"}),
    "claim_success_on_failure": ("shut", {"honest"}),
    "delete_old_snapshots_on_failure": ("locked", {"no_collateral"}),
    "hang_on_failure": ("shut", {"bounded"}),
    "no_fsync": ("power_after_success", {"honest"}),
    "ignore_short_writes": ("short", {"honest"}),
    "recreate_missing_repository": ("unmounted", {"outcome"}),
    "stores_torn_file": ("replaced", {"honest"}),
    "pads_shrunk_file": ("truncated", {"honest"}),
    "late_metadata": ("replaced", {"honest"}),
    "read_error_is_end": ("unreadable_late", {"honest"}),
    "stops_at_vanished_file": ("vanished", {"honest"}),
    "waits_for_lock": ("locked_advisory", {"bounded"}),
    "hangs_on_fifo": ("fifo", {"bounded"}),
    "follows_link_loop": ("circle", {"honest"}),
    "ignores_catalog": ("uncatalogued", {"outcome", "honest.tier.catalog"}),
    "catalog_success_first": ("full_catalogued", {"honest", "honest.tier.catalog"}),
    "check_always_ok": ("rotten", {"check"}),
    "restore_succeeds_on_damage": ("rotten", {"no_collateral"}),
}
"""Misbehaviour -> (the world that brings it to light, ids of rows that must fail)."""
UNJUDGED = {"huge_log", "names_only_what_it_survived"}
"""Hard on the harness, but no broken promise: its own test is in test_hostile_targets. Of the other nobody can be sure:
test_last_blow."""


def failing(run: Run) -> set[str]:
    return {check.id for check in run.checks if check.verdict is Verdict.FAIL}


def explain(run: Run) -> str:
    rows = [f"{c.verdict} {c.id}: {c.expected} | {c.observed}" for c in run.checks]
    return json.dumps([run.result.headline, *rows], indent=1)


def test_every_misbehaviour_has_a_world() -> None:
    assert set(CATALOGUE) == set(PLANTED) | UNJUDGED


def _in(name: str, world: str) -> Any:
    return pytest.param(name, marks=pytest.mark.needs("redis") if world in worlds.NEEDS_REDIS else ())


@pytest.mark.parametrize("name", [_in(name, PLANTED[name][0]) for name in sorted(PLANTED)])
def test_a_planted_misbehaviour_is_reported(name: str, run_here: Callable[..., Run]) -> None:
    world, rows = PLANTED[name]
    run = run_here(worlds.WORLDS[world], ReferenceTarget(misbehave=(name,), extra_env=worlds.FAST))
    assert run.verdict is Verdict.FAIL, explain(run)
    assert rows <= failing(run), explain(run)


CUT = {
    "network.cut_after": {"size": 300_000},
    "network.flap": {"down": 30.0, "up": 0.5, "when": worlds.HALF},
    "network.reset": {"when": worlds.HALF},
    "service.kill": {"when": worlds.HALF},
    "service.restart": {"when": worlds.HALF},
}
"""Other ways to lose a connection, after which a retry is a new one."""


@pytest.mark.parametrize("kind", sorted(CUT))
def test_retries_that_are_only_claimed_are_found_however_the_link_broke(
    kind: str, run_here: Callable[..., Run]
) -> None:
    world = worlds.scenario(
        "cut_otherwise",
        repository="sftp",
        envelope="must_fail_loudly",
        faults={"fault": {kind: "repository", **CUT[kind]}},
        expect={"outcome": "failure", "retries": (1, 9)},
        deadline=25.0,
    )
    liar = ReferenceTarget(misbehave=("claims_retry_without_trying",), extra_env=worlds.FAST)
    run = run_here(world, liar)
    assert "retries_real" in failing(run), explain(run)


@pytest.mark.parametrize("world", [_in(world, world) for world in sorted(worlds.WORLDS)])
def test_the_honest_job_is_not_accused(world: str, run_of_many: Callable[..., Run]) -> None:
    honest = ReferenceTarget(extra_env=worlds.FAST)
    if world in worlds.NEEDS_A_LOCK:
        with pytest.raises(MissingCapability, match="leaves no lock"):
            run_of_many(worlds.WORLDS[world], honest)
        return
    run = run_of_many(worlds.WORLDS[world], honest)
    assert run.verdict is Verdict.PASS, explain(run)


COMPOSED = {
    "busy_uplink": ("corrupt_previous_snapshot", "no_collateral"),
    "disk_full_until_noticed": ("swallow_enospc", "honest"),
    "nas_readonly_at_second_attempt": ("claim_success_on_failure", "honest"),
    "radio_drops_whenever_it_runs": ("corrupt_previous_snapshot", "no_collateral"),
    "router_restarts": ("corrupt_previous_snapshot", "no_collateral"),
    "server_back_with_new_password": ("claim_success_on_failure", "honest"),
    "server_dies_renaming": ("never_retry", "outcome"),
    "slow_disk_and_lossy_link": ("leave_child_process", "clean"),
    "suspended_again_and_again": ("corrupt_previous_snapshot", "no_collateral"),
    "vpn_flaps_while_disk_fills": ("claim_success_on_failure", "honest"),
}
"""Built-in scenarios of several faults, or of one that comes again -> (misbehaviour, id of a row that must fail)."""


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_faults_that_come_together_hide_no_lie(name: str, run_here: Callable[..., Run]) -> None:
    lie, row = COMPOSED[name]
    run = run_here(library.load(name), ReferenceTarget(misbehave=(lie,), extra_env=worlds.FAST))
    assert run.verdict is Verdict.FAIL, explain(run)
    assert row in failing(run), explain(run)
