"""The tool's other commands under the fault: an honest tool passes, and each kind of failure is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.worlds import FAST, scenario

from backupchaos.commands import Command
from backupchaos.engine import under_fault
from backupchaos.engine.run import Run
from backupchaos.errors import MissingCapability
from backupchaos.results import CheckResult, Verdict
from backupchaos.targets.base import Workspace
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]

FULL = {"full": {"disk.full": "repository", "when": {"at": 0.5}}}
LOCK = {"lock": {"repository.stale_lock": "repository"}}


def story(faults: Mapping[str, Any], tools: Mapping[str, str], **fields: Any) -> Any:
    fields = {"repository": "local", **fields}
    expect = {"under_fault": dict(tools), "check": "any"}
    return scenario("under_fault", faults=dict(faults), expect=expect, **fields)


def rows(run: Run) -> dict[str, CheckResult]:
    return {
        row.id.removeprefix("under_fault."): row for row in run.checks if row.id.startswith("under_fault.")
    }


class Planted(ReferenceTarget):
    """The honest job with other commands in place of its own; ``{restore}`` is filled in."""

    def __init__(self, *, misbehave: tuple[str, ...] = (), **planted: str) -> None:
        super().__init__(misbehave=misbehave, extra_env=FAST, name="planted")
        self._planted = planted

    def _shell(self, name: str, work: Workspace, honest: Command) -> Command:
        code = self._planted.get(name)
        if code is None:
            return honest
        return Command(("sh", "-c", code.replace("{restore}", work.restore)))

    def snapshots(self, work: Workspace) -> Command:
        return self._shell("list", work, super().snapshots(work))

    def check(self, work: Workspace) -> Command:
        return self._shell("check", work, super().check(work))

    def prune(self, work: Workspace) -> Command:
        return self._shell("prune", work, super().prune(work))

    def unlock(self, work: Workspace) -> Command:
        return self._shell("unlock", work, super().unlock(work))

    def restore(self, work: Workspace, snapshot: str) -> Command:
        return self._shell("restore", work, super().restore(work, snapshot))


class Broken(Planted):
    """The planted commands come only while the fault lasts; before and after it the honest ones do the work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **planted: str) -> None:
        super().__init__()
        tried = under_fault.try_tools

        def planting(phases: Any) -> None:
            self._planted = planted
            try:
                tried(phases)
            finally:
                self._planted = {}

        monkeypatch.setattr("backupchaos.engine.phases.try_tools", planting)


def test_an_honest_tool_helps_on_a_full_disk(run_here: Callable[..., Run]) -> None:
    tools = dict.fromkeys(("list", "restore", "check", "unlock", "prune"), "works")
    run = run_here(story(FULL, tools), ReferenceTarget(extra_env=FAST))
    assert run.verdict is Verdict.PASS, run.result.headline
    assert [(tool, row.observed) for tool, row in rows(run).items()] == [(tool, "works") for tool in tools]
    assert [e["tool"] for e in run.events if e.kind == "under_fault"] == list(tools)
    tried = [e.seq for e in run.events if e.kind == "under_fault"]
    status = {e["status"]: e.seq for e in run.events if e.kind == "fault"}
    ended = next(e.seq for e in run.events if e.kind == "job.end" and e["job"] == "fault")
    assert status["applied"] < ended < min(tried)
    assert max(tried) < status["undoing"]


FAILURES = [
    ("list", "exit 3", "exit 3: it printed nothing"),
    ("list", """echo '{"snapshots": []}'""", r"exit 0, but \S+ is not listed"),
    ("list", "echo none", "exit 0, but not understood: the list of snapshots is not JSON: 'none'"),
    ("list", "exec sleep 100", "it hung: ended by the harness after 1s"),
    ("check", "echo sorry >&2; exit 1", "exit 1: sorry"),
    ("check", "kill -SEGV $$", "exit -11: it printed nothing"),
    ("prune", "exec sleep 100", "it hung: ended by the harness after 1s"),
    ("restore", "exit 0", r"exit 0, but: .*missing.*"),
    ("restore", "mkdir {restore}/extra", r"exit 0, but: .*"),
    ("restore", "exit 9", "exit 9"),
    ("restore", "exec sleep 100", "it hung: ended by the harness after 1s"),
]


@pytest.mark.parametrize(("tool", "code", "told"), FAILURES)
def test_what_fails_hangs_or_lies_is_told(
    tool: str, code: str, told: str, run_here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_fault, "TIMEOUT", 1.0)
    run = run_here(story(FULL, {tool: "works"}), Broken(monkeypatch, **{tool: code}))
    row = rows(run)[tool]
    assert run.verdict is Verdict.FAIL
    assert row.verdict is Verdict.FAIL
    assert re.fullmatch(told, row.observed, re.DOTALL), row.observed
    assert [other.id for other in run.checks if other.verdict is Verdict.FAIL] == [row.id]


def test_a_failure_can_be_what_is_expected(
    run_here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Broken(monkeypatch, check="exit 1")
    run = run_here(story(FULL, {"check": "fails", "prune": "any"}), target)
    assert run.verdict is Verdict.PASS, run.result.headline
    assert list(rows(run)) == ["check"]


def test_an_unlock_that_leaves_the_lock_is_no_unlock(run_here: Callable[..., Run]) -> None:
    told = {}
    for name, planted in (("honest", {}), ("lying", {"unlock": "true"})):
        target = Planted(misbehave=("leave_lock",), **planted)
        waive = {"clean": "the dead job's", "recoverable": "nobody has unlocked"}
        run = run_here(story(LOCK, {"restore": "works", "unlock": "works"}, waive=waive), target)
        told[name] = rows(run)["unlock"].observed
        assert rows(run)["restore"].observed == "works"
    assert told == {"honest": "works", "lying": "exit 0, but repo/locks.leftover still lies there"}


def test_a_mirror_is_restored_in_either_version(run_here: Callable[..., Run], tmp_path: Path) -> None:
    from backupchaos_targets.command import CommandTarget

    file = tmp_path / "mirror.yaml"
    file.write_text(
        "target: mirror\n"
        "backup: {shell: 'cp -r {source}/. {repository}/ && rm -rf {repository}/odd'}\n"
        "restore: {shell: 'cp -r {repository}/. {restore}/'}\n"
        "promises: {aspects: [content], features: []}\n"
    )
    tools = {"restore": "works"}
    late = {"full": {"disk.full": "repository", "when": {"exit": True}}}
    run = run_here(story(late, tools), CommandTarget.from_yaml(file))
    assert rows(run)["restore"].observed == "works"


def test_a_command_that_the_target_lacks_is_not_covered(run_here: Callable[..., Run]) -> None:
    class Few(ReferenceTarget):
        def prune(self, work: Workspace) -> Any:
            return None

    with pytest.raises(MissingCapability, match="prune: target few has no command for it"):
        run_here(story(FULL, {"prune": "works"}), Few(name="few"))
    run = run_here(story(FULL, {"prune": "any", "list": "works"}), Few(name="few", extra_env=FAST))
    assert run.verdict is Verdict.PASS, run.result.headline


def test_what_the_tools_do_over_the_link_is_not_the_jobs_doing(run_here: Callable[..., Run]) -> None:
    faults = {"cut": {"network.down": "repository", "when": {"at": 0.5}}}
    fields = {"repository": "sftp", "envelope": "must_fail_loudly"}
    impatient = {**FAST, "BACKUPCHAOS_REFERENCE_RETRIES": "2"}
    tools = {"list": "fails", "check": "fails"}
    run = run_here(story(faults, tools, **fields), ReferenceTarget(extra_env=impatient))
    assert run.verdict is Verdict.PASS, run.result.headline
    ended = next(e for e in run.events if e.kind == "job.end" and e["job"] == "fault")
    later = [e for e in run.events if e.seq > ended.seq and e.kind in {"retry", "state", "log"}]
    assert [e.kind for e in later if e["job"] == "fault" and e.get("source") != "job"] == []
