"""``backupchaos doctor`` on the real machine: what it says of a fault, it has done."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import backupchaos_scenarios
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults import registry
from backupchaos.faults.base import Fault
from backupchaos.model.faults import KINDS
from backupchaos.targets.registry import resolve_target
from backupchaos_cli import catalogue
from backupchaos_cli.catalogue import Tried, every_fault

CLI = (sys.executable, "-m", "backupchaos_cli.main")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """(the whole document, the exit code)."""
    place = tmp_path_factory.mktemp("doctor")
    done = subprocess.run(
        [*CLI, "doctor", "--json"], cwd=place, capture_output=True, text=True, timeout=300, check=False
    )
    assert list(place.iterdir()) == []
    return json.loads(done.stdout), done.returncode


@pytest.mark.slow
def test_it_tries_what_there_is(told: tuple[dict[str, Any], int]) -> None:
    found, code = told
    groups = {one["group"] for one in found["findings"]}
    assert groups == {"machine", "sandboxes", "sandbox", "links", "services", "targets", "docker"}
    reference = next(one for one in found["findings"] if one["name"] == "reference")
    assert reference["good"]
    assert code == (0 if any(one["runnable"] for one in found["scenarios"].values()) else 2)
    assert all(one["runnable"] or one["reason"] for one in found["scenarios"].values())
    assert set(found["scenarios"]) == set(backupchaos_scenarios.names())


@pytest.mark.slow
def test_it_names_the_facts_of_the_machine(told: tuple[dict[str, Any], int]) -> None:
    facts = {one["name"]: one for one in told[0]["findings"] if one["group"] == "machine"}
    assert Path("/proc/sys/kernel/osrelease").read_text().strip() in facts["kernel"]["detail"]
    words = ("user", "seccomp", "user namespaces", "cgroups", "loop devices", "netem", "device mapper")
    assert all(facts[name]["detail"] for name in words)


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp")
def test_every_kind_has_a_line_and_those_that_need_no_job_are_usable(
    told: tuple[dict[str, Any], int],
) -> None:
    faults = {one["kind"]: one for one in told[0]["faults"]}
    assert list(faults) == list(KINDS)
    assert all(one["mechanism"] for one in faults.values() if one["usable"])
    assert all(one["detail"] for one in faults.values())
    here = ("network.down", "disk.full", "file.locked", "permission.denied", "process.pause", "process.fds")
    assert {kind: faults[kind]["usable"] for kind in here} == dict.fromkeys(here, True), faults


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp")
def test_every_mechanism_of_a_kind_is_told_in_the_order_of_preference(
    told: tuple[dict[str, Any], int],
) -> None:
    faults = {one["kind"]: one for one in told[0]["faults"]}
    assert all(one["ways"] for one in faults.values())
    for kind, made in registry.mechanisms().items():
        assert [way["name"] for way in faults[kind]["ways"]] == list(made.ways or ("",)), kind
    for one in faults.values():
        usable = [way for way in one["ways"] if way["usable"]]
        assert one["usable"] is bool(usable)
        assert not usable or one["mechanism"] == usable[0]["mechanism"]
        assert all(way["detail"] for way in one["ways"])
    order = [one["name"] for one in told[0]["findings"] if one["group"] == "sandboxes"]
    assert order == ["root", "userns", "plain"]


# -- the trials -------------------------------------------------------------------------------------------


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[Fault[Any]]]]:
    """Three kinds only; what is put into the dictionary stands for their mechanisms."""
    kinds = {kind: KINDS[kind] for kind in ("disk.full", "file.locked", "process.pids")}
    made = dict(registry.mechanisms())
    for module in ("backupchaos_cli.catalogue", "backupchaos_cli.faultworlds"):
        monkeypatch.setattr(f"{module}.KINDS", kinds)
    monkeypatch.setattr(catalogue, "mechanisms", lambda: made)
    monkeypatch.setattr(registry, "mechanisms", lambda: made)
    yield made


def tried(mechanism: str | None = None) -> Mapping[str, Tried]:
    found = every_fault(LocalEnvironment(mechanism), resolve_target("reference"))
    return {one.kind: one for one in found}


@pytest.mark.needs("namespaces", "seccomp")
def test_a_fault_that_is_not_in_force_is_not_usable(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(only["disk.full"], "apply", lambda self: "nothing was done")
    monkeypatch.setattr(only["disk.full"], "undo", lambda self: None)
    found = tried()
    assert not found["disk.full"].usable
    assert "bytes free" in found["disk.full"].detail
    assert found["file.locked"].usable, "one failure must not spoil the others"


@pytest.mark.needs("namespaces", "seccomp")
def test_a_fault_that_does_not_go_away_is_not_usable(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(only["disk.full"], "undo", lambda self: None)
    found = tried()
    assert not found["disk.full"].usable
    assert found["file.locked"].usable


@pytest.mark.needs("namespaces", "seccomp")
@pytest.mark.parametrize("step", ["available", "prepare", "apply"])
def test_a_capability_that_is_missing_is_told_with_its_reason(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def missing(self: Any) -> str:
        raise MissingCapability("magic", "no magic here", "learn some")

    monkeypatch.setattr(only["disk.full"], step, missing)
    found = tried()
    assert (found["disk.full"].usable, found["disk.full"].detail) == (False, "no magic here; learn some")
    assert found["file.locked"].usable


@pytest.mark.needs("namespaces", "seccomp")
def test_the_first_problem_is_told_and_undoing_is_tried(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = []

    def broken(self: Any) -> str:
        raise HarnessBroken("first problem")

    def undo(self: Any) -> None:
        undone.append(self.name)
        raise HarnessBroken("second problem")

    monkeypatch.setattr(only["disk.full"], "verify", broken)
    monkeypatch.setattr(only["disk.full"], "undo", undo)
    found = tried()
    assert found["disk.full"].detail == "tried, and failed: first problem"
    assert undone == ["disk_full"]


@pytest.mark.needs("namespaces", "seccomp")
def test_a_kind_without_a_mechanism_is_no_crash(only: dict[str, type[Fault[Any]]]) -> None:
    del only["disk.full"]
    found = tried()
    assert not found["disk.full"].usable
    assert "no mechanism" in found["disk.full"].detail


def test_in_a_plain_sandbox_the_reason_is_what_plain_lacks(only: dict[str, type[Fault[Any]]]) -> None:
    found = tried("plain")
    assert not found["disk.full"].usable
    assert "has no size of its own" in found["disk.full"].detail


@pytest.mark.needs("namespaces", "seccomp")
def test_what_would_follow_is_tried_too(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without control groups the supervisor does it, and the reason is told."""

    def none(self: Any, controller: str) -> Any:
        raise MissingCapability(f"cgroup {controller}", "no control groups here")

    monkeypatch.setattr(LocalSandbox, "control_group", none)
    group, supervisor = tried()["process.pids"].ways
    assert (group.name, group.usable, group.detail) == ("a control group", False, "no control groups here")
    assert (supervisor.usable, supervisor.mechanism) == (
        True,
        "seccomp user notification on clone, fork and vfork",
    )
    assert tried()["process.pids"].mechanism == supervisor.mechanism


@pytest.mark.needs("namespaces", "seccomp")
def test_a_second_mechanism_that_does_not_work_is_told_beside_the_first(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rules(self: Any) -> Any:
        raise (
            HarnessBroken("no rule can be had")
            if self.way == "the system call supervisor"
            else MissingCapability("x", "no group")
        )

    monkeypatch.setattr(only["process.pids"], "rules", rules)
    found = tried()["process.pids"]
    assert [(way.usable, way.detail) for way in found.ways] == [
        (False, "no group"),
        (False, "tried, and failed: no rule can be had"),
    ]
    assert found.detail == "no group; tried, and failed: no rule can be had"


@pytest.mark.needs("namespaces", "seccomp", "root")
def test_where_the_scenario_says_which_way_each_is_tried(
    only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"permission.denied": KINDS["permission.denied"]}
    for module in ("backupchaos_cli.catalogue", "backupchaos_cli.faultworlds"):
        monkeypatch.setattr(f"{module}.KINDS", kinds)
    root, user = tried("root")["permission.denied"].ways
    assert (root.name, root.usable) == ("root", True)
    assert "CAP_DAC_OVERRIDE" in root.mechanism
    assert (user.name, user.usable) == ("user", True)
    assert "as the ordinary user" in user.mechanism


@pytest.fixture
def down_only(only: dict[str, type[Fault[Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {kind: KINDS[kind] for kind in ("network.down", "dns.slow")}
    for module in ("backupchaos_cli.catalogue", "backupchaos_cli.faultworlds"):
        monkeypatch.setattr(f"{module}.KINDS", kinds)


@pytest.mark.needs("namespaces", "seccomp")
@pytest.mark.usefixtures("down_only")
def test_a_network_that_cannot_be_taken_away_is_told_beside_the_other_ways() -> None:
    found = tried()
    refused, reset, unreachable = found["network.down"].ways
    assert (refused.name, refused.usable, reset.name, reset.usable) == ("refused", True, "reset", True)
    assert (unreachable.name, unreachable.usable) == ("unreachable", False)
    assert "has no network that could be taken away; use --backup-env=docker" in unreachable.detail
    assert found["network.down"].chosen_by == "mode"
    assert found["dns.slow"].usable


@pytest.mark.needs("namespaces", "seccomp")
@pytest.mark.usefixtures("down_only")
def test_a_network_that_can_be_taken_away_is_taken_in_a_world_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pulled: list[bool] = []
    box: Any = LocalSandbox
    monkeypatch.setattr(box, "unplugging", "somebody pulls the cable", raising=False)
    monkeypatch.setattr(
        box, "outlet", lambda self: self.__dict__.setdefault("out", "127.0.0.2"), raising=False
    )
    monkeypatch.setattr(box, "unplug", lambda self, away: pulled.append(away), raising=False)
    monkeypatch.setattr(box, "plugged", lambda self: pulled[-1:] != [True], raising=False)
    monkeypatch.setattr(box, "front", lambda self: (self.__dict__.get("out", "127.0.0.1"),) * 2)
    found = tried()
    assert found["network.down"].ways[2].usable, found["network.down"]
    assert found["network.down"].ways[2].mechanism == "somebody pulls the cable"
    assert pulled == [True, False]
    assert found["dns.slow"].usable, "servers have names again in the next world"
