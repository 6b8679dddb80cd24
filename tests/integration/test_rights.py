"""A fault that takes root's file overrides takes them from jobs: what proves the jobs keeps them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.worlds import scenario

from backupchaos.commands import Completed
from backupchaos.engine.run import Run
from backupchaos.engine.world import World
from backupchaos.results import Verdict
from backupchaos.targets.registry import resolve_target
from backupchaos_targets.command import CommandTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
TAR = {
    "backup": {
        "shell": "f={repository}/$(ls {repository} | wc -l); tar -cf $f -C {source} . || (rm $f; exit 2)"
    },
    "snapshots": {"shell": "ls {repository} | sort -n"},
    "restore": {"shell": "tar -xpf {repository}/{snapshot} -C {restore}"},
    "check": {"shell": "for f in {repository}/*; do tar -tf $f; done"},
}
MODES = {"aspects": ["content", "type", "mode", "links"], "features": ["symlinks", "modes", "empty_dirs"]}
OVERRIDES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by their numbers in capabilities(7)."""


def denied(**fault: str) -> Any:
    faults = {"deny": {"permission.denied": "source", **fault}}
    expect = {"outcome": ["failure", "partial"]}
    return scenario("denied", repository="local", envelope="must_fail_loudly", faults=faults, expect=expect)


def tar(**more: Any) -> CommandTarget:
    """GNU tar as root leaves a directory of mode 0500 closed while it fills it, and counts on root's overrides."""
    target = CommandTarget.from_table("tar", {"promises": MODES, **TAR, **more}, EXAMPLES / "target.yaml")
    assert isinstance(target, CommandTarget)
    return target


@pytest.mark.parametrize("by", ["root", "user"])
def test_an_honest_tar_passes_when_a_file_is_denied(by: str, run_here: Callable[..., Run]) -> None:
    run = run_here(denied(by=by), tar())
    assert run.verdict is Verdict.PASS, run.result.headline
    restores = {event["which"]: event for event in run.events if event.kind == "restore"}
    assert set(restores) == {"control", "recovered", "older"}
    assert all(event["returncode"] == 0 for event in restores.values())


@pytest.mark.parametrize("by", ["root", "user"])
def test_the_example_of_the_documentation_passes_when_a_file_is_denied(
    by: str, run_here: Callable[..., Run], tmp_path: Path
) -> None:
    for name in ("backup.sh", "target.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path / name)
    run = run_here(denied(by=by), resolve_target("./target.yaml", tmp_path))
    assert run.verdict is Verdict.PASS, run.result.headline


@pytest.mark.needs("root")
def test_jobs_lose_the_overrides_and_what_proves_them_does_not(
    run_here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command says what it has; under the fault every one of them has what the job has."""
    tell = "grep CapEff /proc/self/status >&2; "
    target = tar(**{name: {"shell": tell + command["shell"]} for name, command in TAR.items()})
    had: dict[str, bool] = {}
    run_command = World.run

    def run(world: World, *arguments: Any, **more: Any) -> Completed:
        done = run_command(world, *arguments, **more)
        if told := re.search(r"CapEff:\s*(\w+)", done.stderr):
            had[more["what"]] = bool(int(told[1], 16) & OVERRIDES)
        return done

    monkeypatch.setattr(World, "run", run)
    story = denied()
    story.expect.under_fault.update({"list": "any", "check": "any", "restore": "any"})
    ended = run_here(story, target)
    jobs = {
        event["job"]: bool(int(told[1], 16) & OVERRIDES)
        for event in ended.events
        if event.kind == "log" and (told := re.search(r"CapEff:\s*(\w+)", event["text"]))
    }
    assert jobs == {"control": False, "fault": False, "recovery": False}
    under = {what: kept for what, kept in had.items() if "under" in what}
    assert under == {
        "list under the fault": False,
        "check under the fault": False,
        "restore under_fault": False,
    }
    later = {what for what, kept in had.items() if kept}
    assert later == had.keys() - under.keys()
    assert {"list control", "restore control", "restore recovered", "restore older", "check"} <= later
