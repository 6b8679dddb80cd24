"""The container environment where there is no Docker: what it says, and what it knows without asking anybody."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from backupchaos.environments.docker import images, names
from backupchaos.errors import MissingCapability, UsageProblem

pytestmark = pytest.mark.needs("python:docker")


@pytest.mark.parametrize("host", ["unix:///nobody/listens/here", "tcp://127.0.0.1:1"])
def test_no_daemon_is_a_missing_capability(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from backupchaos.environments.docker.engine import connect

    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(MissingCapability, match="no Docker daemon answers") as caught:
        connect()
    assert "DOCKER_HOST" in str(caught.value)


def test_every_capability_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from backupchaos.environments.docker.environment import DockerEnvironment

    monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/listens/here")
    found = DockerEnvironment().probe()
    assert {"docker", "volumes", "network", "syscalls"} <= set(found)
    assert all("no Docker daemon answers" in reason for reason in found.values())


class Images:
    """A daemon's images; pulling works, or fails with what a registry says."""

    def __init__(self, *present: str) -> None:
        self.present = set(present)
        self.pulled: list[str] = []

    @property
    def images(self) -> Images:
        return self

    def get(self, name: str) -> object:
        from docker.errors import ImageNotFound

        if name not in self.present:
            raise ImageNotFound("no such image")
        return object()

    def pull(self, name: str) -> None:
        from docker.errors import APIError

        if "missing" in name:
            raise APIError("denied", explanation="repository does not exist")
        self.pulled.append(name)


@pytest.mark.parametrize(
    ("policy", "image", "refusal"),
    [
        (None, "restic/restic:0.18.0", "docker pull restic/restic:0.18.0"),
        ("never", "restic/restic:0.18.0", "BACKUPCHAOS_PULL=missing"),
        ("missing", "restic/restic:0.18.0", ""),
        ("missing", "missing/image", "repository does not exist"),
        ("missing", "backupchaos/agent:1", "docker/build"),
    ],
)
def test_images_are_pulled_only_if_that_is_allowed(
    policy: str | None, image: str, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backupchaos.environments.docker.images import POLICY, need

    monkeypatch.delenv(POLICY, raising=False)
    if policy:
        monkeypatch.setenv(POLICY, policy)
    daemon: Any = Images()
    if refusal:
        with pytest.raises(MissingCapability) as caught:
            need(daemon, image)
        assert refusal in str(caught.value)
        assert daemon.pulled == []
    else:
        need(daemon, image)
        assert daemon.pulled == [image]


def test_an_image_that_is_here_is_never_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    from backupchaos.environments.docker.images import POLICY, need

    monkeypatch.setenv(POLICY, "missing")
    daemon: Any = Images("some/image")
    need(daemon, "some/image")
    assert daemon.pulled == []


def test_an_unknown_policy_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    from backupchaos.environments.docker.images import POLICY, pull_policy

    monkeypatch.setenv(POLICY, "always")
    with pytest.raises(UsageProblem, match="never or missing"):
        pull_policy()


def test_an_owner_that_lives_is_not_dead() -> None:
    assert names.is_dead(names.owner()) is False


def test_an_owner_that_has_ended_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        label = names.owner(child.pid)
        assert names.is_dead(label) is False
    assert names.is_dead(label) is True


def test_another_process_with_the_same_pid_is_not_the_owner() -> None:
    host, boot, pid, started = names.owner().split("/")
    assert names.is_dead(f"{host}/{boot}/{pid}/{int(started) + 1}") is True
    assert names.is_dead(f"{host}/an-earlier-boot/{pid}/{started}") is True


@pytest.mark.parametrize("label", ["", "nonsense", "elsewhere/0bd9a969-9f85-48d5-b5b3-159342d90889/24490/1"])
def test_nobody_can_say_of_other_machines(label: str) -> None:
    assert names.is_dead(label) is None


def test_links_of_the_official_image_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.links.hostbox import HostBox, links_on

    monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/listens/here")
    box = HostBox()
    try:
        with pytest.raises(MissingCapability, match="no Docker daemon answers"):
            links_on(box, server="container")
        assert box.children[0].wait(10) == 0, "the tap is still there"
    finally:
        box.close()


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({}, images.PATH),
        ({"Env": ["A=1", "PATH=/opt/bin:/bin"], "Entrypoint": None}, "/opt/bin:/bin"),
        ({"Entrypoint": ["/app/kopia"]}, f"{images.PATH}:/app"),
        ({"Env": ["PATH=/bin"], "Entrypoint": ["/bin/tini", "--"], "Cmd": ["/srv/tool"]}, "/bin:/srv"),
        ({"Env": ["PATH="], "Entrypoint": ["tool"], "Cmd": []}, images.PATH),
    ],
)
def test_programs_are_looked_for_where_the_image_has_them(config: dict[str, Any], path: str) -> None:
    assert images.search_path(config) == path
