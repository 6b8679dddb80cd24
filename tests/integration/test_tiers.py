"""A tool of a few lines of shell that keeps a catalog: what is asked of it, and what nobody can know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backupchaos.engine.run import Run
from backupchaos.errors import MissingCapability
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.registry import resolve_target
from backupchaos_targets.command import CommandTarget
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp", "redis"), pytest.mark.slow]

TARGET = """\
target: shelf
uses: {catalog: redis}
backup: ./shelf {source} {repository} '{catalog.host}' '{catalog.port}'
restore: cp -a {repository}/data/. {restore}
"""
TELL = """\
set -e
tell() { echo "$1" | REDISCLI_AUTH="$BACKUPCHAOS_CATALOG_PASSWORD" redis-cli -h "$3" -p "$4" -x RPUSH jobs | grep -q '^[0-9]'; }
"""
HONEST = TELL + 'rm -rf "$2/data"; cp -a "$1" "$2/data"; tell "$$ SUCCESS" - "$3" "$4"\n'
CARELESS = TELL + 'rm -rf "$2/data"; cp -a "$1" "$2/data"; tell "$$ SUCCESS" - "$3" "$4" || true\n'
RECORDED = (
    "recorded: {catalog: {shell: 'REDISCLI_AUTH={catalog.password} "
    "redis-cli -h {catalog.host} -p {catalog.port} --raw LRANGE jobs 0 -1 | grep .'}}\n"
)
SMALL = {"files": 5, "size": 64 * 1024, "new": 32 * 1024, "change": 0.4, "names": "portable"}


def shelf(tmp_path: Path, script: str, more: str = "") -> CommandTarget:
    (tmp_path / "shelf").write_text(f"#!/bin/sh\n{script}")
    (tmp_path / "shelf").chmod(0o755)
    (tmp_path / "target.yaml").write_text(TARGET + more)
    return CommandTarget.from_yaml(tmp_path / "target.yaml")


def story(**fields: object) -> Scenario:
    base = {"scenario": "shelf", "title": "A shelf with a catalog", "source": SMALL}
    return Scenario.model_validate({**base, "repository": "local", **fields}, strict=False)


AWAY = {"services": {"catalog": "any"}, "faults": {"away": {"network.down": "catalog"}}}


def rows(run: Run) -> dict[str, tuple[Verdict, str]]:
    return {check.id: (check.verdict, check.observed) for check in run.checks}


def test_a_tool_that_is_asked_for_what_it_told(tmp_path: Path, run_here: Callable[..., Run]) -> None:
    late = {"services": {"catalog": "any"}, "faults": {"late": {"network.latency": "catalog", "delay": 0.02}}}
    run = run_here(story(**late), shelf(tmp_path, HONEST, RECORDED))
    assert run.verdict is Verdict.PASS, rows(run)
    assert rows(run)["honest.tier.catalog"] == (Verdict.PASS, "SUCCESS")


def test_a_tool_that_forgets_to_tell_is_found_out(tmp_path: Path, run_here: Callable[..., Run]) -> None:
    run = run_here(story(**AWAY), shelf(tmp_path, CARELESS, RECORDED))
    assert run.outcome == "success"
    assert (run.verdict, run.result.severity) == (Verdict.FAIL, "misleading")
    assert rows(run)["honest.tier.catalog"] == (Verdict.FAIL, "nothing of this job")


def test_where_nobody_can_ask_a_silent_catalog_is_no_green(
    tmp_path: Path, run_here: Callable[..., Run]
) -> None:
    run = run_here(story(**AWAY), shelf(tmp_path, CARELESS))
    assert run.verdict is Verdict.UNVERIFIED
    assert "the catalog never answered it" in rows(run)["honest.tier.catalog"][1]


def test_a_control_job_that_does_not_tell_is_invalid(tmp_path: Path, run_here: Callable[..., Run]) -> None:
    mute = '# tells nobody\nrm -rf "$2/data"; cp -a "$1" "$2/data"\n'
    run = run_here(story(**AWAY), shelf(tmp_path, mute, RECORDED.replace(" | grep .", "")))
    assert run.verdict is Verdict.INVALID
    assert "the job says that it succeeded, but catalog knows nothing of it" in run.result.headline


def test_what_it_cannot_do_without_is_there_in_any_scenario(
    tmp_path: Path, run_here: Callable[..., Run]
) -> None:
    plain = story()
    without = run_here(plain, shelf(tmp_path, HONEST))
    assert without.verdict is Verdict.FAIL, "a job without its catalog fails"
    run = run_here(plain, shelf(tmp_path, HONEST, f"needs: catalog\n{RECORDED}"))
    assert run.verdict is Verdict.PASS, rows(run)
    assert run.result.environment["services"] == "catalog: redis (redis-server)"


def test_a_target_without_that_service_is_not_covered(run_here: Callable[..., Run]) -> None:
    class Local(type(resolve_target("borg"))):  # type: ignore[misc]
        def available(self) -> None:
            """Whether borg is installed does not matter here."""

    with pytest.raises(MissingCapability, match="services: target borg uses no service catalog"):
        run_here(story(**AWAY), Local())
    with pytest.raises(MissingCapability, match="speaks redis with its catalog, not mariadb"):
        run_here(story(services={"catalog": "mariadb"}), ReferenceTarget())
