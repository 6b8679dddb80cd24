"""The built-in scenarios with real tools: the verdicts that ``docs/results.md`` explains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import backupchaos_scenarios as library
from backupchaos.engine.run import Run
from backupchaos.errors import MissingCapability
from backupchaos.results import Verdict
from backupchaos.targets.registry import resolve_target
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
RESULTS = Path(__file__).resolve().parents[2] / "docs/results.md"


NOT_THE_REFERENCE_JOBS = {
    "cache_corrupt",
    "cache_lost",
    "disk_full_temp",
    "helper_killed",
    "permission_cache",
    "permission_temp",
    "restore_with_stale_lock",
    "service_throttled",
    "stale_lock",
    "stale_lock_other_host",
    "unlock_on_full_disk",
}
"""It keeps no cache, no temporary files and no lock, starts no helpers and speaks no HTTP."""

HURRIED = {
    "dns_failure_persistent",
    "dns_silent",
    "network_blackhole_persistent",
    "network_half_open",
    "network_loss_persistent",
    "service_killed_for_good",
}
"""Most of their time is the reference job's own patience; less of it tells the same story."""
PATIENCE = {"BACKUPCHAOS_REFERENCE_RETRY_BASE": "0.05s", "BACKUPCHAOS_REFERENCE_TIMEOUT": "2s"}


def rows(run: Run) -> str:
    return "\n".join([run.result.headline, *(f"{c.verdict} {c.id}: {c.observed}" for c in run.checks)])


NAMES = [
    pytest.param(name, marks=pytest.mark.needs("redis") if library.load(name).services else ())
    for name in library.names()
]


@pytest.mark.parametrize("name", NAMES)
def test_the_honest_job_passes_every_scenario(name: str, run_of_many: Callable[..., Run]) -> None:
    scenario = library.load(name)
    if scenario.source.path == "/usr/share/doc" and not Path(scenario.source.path).is_dir():
        pytest.skip("not for this machine: there is no /usr/share/doc")
    try:
        run = run_of_many(scenario, ReferenceTarget(extra_env=PATIENCE if name in HURRIED else {}))
    except MissingCapability as missing:
        if name not in NOT_THE_REFERENCE_JOBS:
            raise
        pytest.skip(f"not for this machine: not for the reference job: {missing}")
    assert name not in NOT_THE_REFERENCE_JOBS
    assert run.verdict is Verdict.PASS, rows(run)


EXPLAINED = [
    pytest.param("rclone", "normal", Verdict.PASS, "none", marks=pytest.mark.needs("rclone")),
    pytest.param("rclone", "network_loss", Verdict.PASS, "none", marks=pytest.mark.needs("rclone")),
    pytest.param(
        "rclone", "repository_corrupted", Verdict.FAIL, "data_loss", marks=pytest.mark.needs("rclone")
    ),
    pytest.param("borg", "normal", Verdict.PASS, "none", marks=pytest.mark.needs("borg")),
    pytest.param("borg", "disk_full", Verdict.PASS, "none", marks=pytest.mark.needs("borg")),
    pytest.param("borg", "permission_denied", Verdict.PASS, "none", marks=pytest.mark.needs("borg")),
    pytest.param("restic", "normal", Verdict.PASS, "none", marks=pytest.mark.needs("restic")),
    pytest.param("restic", "disk_full", Verdict.PASS, "none", marks=pytest.mark.needs("restic")),
    pytest.param("restic", "file_locked", Verdict.PASS, "none", marks=pytest.mark.needs("restic")),
    pytest.param("restic", "repository_corrupted", Verdict.PASS, "none", marks=pytest.mark.needs("restic")),
]


@pytest.mark.parametrize(("target", "scenario", "verdict", "severity"), EXPLAINED)
def test_other_tools_get_the_verdict_that_is_explained(
    target: str, scenario: str, verdict: Verdict, severity: str, run_of_many: Callable[..., Run]
) -> None:
    run = run_of_many(library.load(scenario), resolve_target(target))
    assert run.verdict is verdict, rows(run)
    assert run.result.severity == severity


def test_a_tool_without_a_link_is_not_covered(run_of_many: Callable[..., Run]) -> None:
    class Local(type(resolve_target("borg"))):  # type: ignore[misc]
        def available(self) -> None:
            """Whether borg is installed does not matter here."""

    with pytest.raises(MissingCapability, match="speaks only local"):
        run_of_many(library.load("network_loss"), Local())


def test_the_page_of_results_names_every_quick_scenario() -> None:
    page = RESULTS.read_text("utf-8")
    table = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert set(library.tags()["quick"]) <= table
