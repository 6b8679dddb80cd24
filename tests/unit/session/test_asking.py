"""What a target lacks is known without a run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.environments.docker.environment import DockerEnvironment
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.model.scenario import Scenario
from backupchaos.services import minio, openssh, rclone_serve
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.session.asking import lacks
from backupchaos.session.capabilities import Here, gap, needs
from backupchaos.targets.base import BaseTarget, Profile, RepositoryType, Workspace

YES = Command(("true",))


class Poor(BaseTarget):
    """It has a job, and nothing else."""

    name = "poor"
    profile = Profile(speaks=("local", "sftp", "s3"), aspects=frozenset(), features=frozenset())

    def backup(self, work: Workspace) -> Command:
        return YES

    def cache_files(self, work: Workspace) -> Sequence[str]:
        return ()


class Rich(Poor):
    name = "rich"

    def cache_files(self, work: Workspace) -> Sequence[str]:
        return (work.cache,)

    def prune(self, work: Workspace) -> Command:
        return YES

    def drifted(self, work: Workspace) -> Command:
        return YES

    def pipeline(self, work: Workspace) -> tuple[Command, Command]:
        return YES, YES


def told(
    target: Any,
    fault: dict[str, Any] | None,
    kind: RepositoryType = "local",
    servers: Servers = DEFAULT,
    **fields: Any,
) -> list[str]:
    faults = {"faults": {"f": fault}} if fault else {}
    scenario = Scenario.model_validate({"scenario": "s", "title": "t", **faults, **fields}, strict=False)
    return list(lacks(scenario, target, kind, servers))


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ({"cache.lost": "cache"}, "cache.lost: target poor keeps no cache"),
        ({"permission.denied": "cache"}, "permission.denied: target poor keeps no cache"),
        (
            {"process.concurrent": "target", "what": "prune", "when": {"at": 0.5}},
            "process.concurrent: target poor has no prune command",
        ),
        ({"process.stdin_dies": "target", "share": 0.5}, "process.stdin_dies: target poor does not store"),
        ({"version.drift": "target"}, "version.drift: target poor knows of no other version of itself"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_poor_target_lacks(fault: dict[str, Any], answer: str) -> None:
    (line,) = told(Poor(), fault)
    assert line.startswith(answer)
    assert told(Rich(), fault) == []


def test_what_only_the_repository_decides() -> None:
    throttled = {"service.throttle": "repository"}
    assert "SFTP has no such answer" in told(Rich(), throttled, "sftp")[0]
    assert told(Rich(), throttled, "s3") == []


def test_a_program_that_is_not_there() -> None:
    assert told(Rich(), {"version.drift": "target", "program": "/nonexistent/tool"}) == [
        "version.drift: /nonexistent/tool is not there, or may not be executed"
    ]
    assert told(Rich(), {"version.drift": "target", "program": "/bin/true"}) == []


def test_commands_under_the_fault() -> None:
    expect = {"under_fault": {"prune": "works"}}
    full = {"disk.full": "repository", "when": {"at": 0.5}}
    assert told(Poor(), full, expect=expect) == ["under_fault: target poor has no prune command"]
    assert told(Rich(), full, expect=expect) == []


def test_a_kill_of_another_service_asks_nothing_of_the_repository() -> None:
    kill = {"service.kill": "catalog", "for": 1.0}
    assert told(Poor(), kill, services={"catalog": "redis"}) == []


def test_what_services_a_scenario_needs_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(kind: str) -> Scenario:
        return Scenario.model_validate(
            {"scenario": "s", "title": "t", "services": {"catalog": kind}}, strict=False
        )

    class Using(Rich):
        profile = Profile(
            speaks=("local",), aspects=frozenset(), features=frozenset(), uses={"catalog": ("mariadb",)}
        )

    assert needs(story("any")) == ("service catalog",)
    assert needs(story("mariadb")) == ("mariadb",)
    here = Here("local", frozenset(), LocalEnvironment())
    assert gap(story("any"), Rich(), here) == "services: target rich uses no service catalog"  # type: ignore[arg-type]
    contained = Here("docker", frozenset(), DockerEnvironment())
    asked: list[str] = []
    monkeypatch.setattr(DockerEnvironment, "need_image", lambda self, image: asked.append(image))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert gap(story("any"), Using(), contained) == ""  # type: ignore[arg-type]
    assert asked[-1] == "mariadb:11.4"
    assert "apt install mariadb-server-core" in gap(story("any"), Using(), here)  # type: ignore[arg-type]


ERRORS = {"service.errors": "repository", "share": 0.5}
KILL = {"service.kill": "repository", "when": {"at": 0.5}}


@pytest.mark.parametrize(
    ("fault", "kind", "server", "answer"),
    [
        (ERRORS, "sftp", "openssh", "openssh cannot be told to do wrong; asyncssh can"),
        (ERRORS, "sftp", "rclone", "rclone serve sftp cannot be told to do wrong; asyncssh can"),
        (ERRORS, "sftp", "asyncssh", ""),
        (ERRORS, "s3", "minio", ""),
        ({"service.throttle": "repository"}, "sftp", "openssh", "SFTP has no such answer"),
        (KILL, "s3", "rclone", "no fair judge, since it keeps the metadata"),
        (KILL, "s3", "minio", ""),
    ],
)
def test_what_a_server_cannot_do(
    monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], kind: RepositoryType, server: str, answer: str
) -> None:
    for service in (minio.Minio, openssh.OpensshService, rclone_serve.RcloneService):
        monkeypatch.setattr(service, "available", lambda self: None)
    lines = told(Rich(), fault, kind, Servers({kind: server}))
    assert len(lines) == bool(answer)
    assert answer in "".join(lines)


def test_in_containers_a_server_needs_its_image_and_no_program_here(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(DockerEnvironment, "need_image", lambda self, image: asked.append(image))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    scenario = Scenario.model_validate({"scenario": "s", "title": "t", "repository": "s3"})
    servers = Servers({"s3": "minio"})
    contained = Here("docker", frozenset(), DockerEnvironment())
    assert gap(scenario, Rich(), contained, servers) == ""  # type: ignore[arg-type]
    assert asked == ["", minio.Minio.image]
    here = Here("local", frozenset(), LocalEnvironment())
    assert "there is no minio program here" in gap(scenario, Rich(), here, servers)  # type: ignore[arg-type]
