"""What ``doctor`` tries beside the faults: where programs come from images, those of this machine are no matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability
from backupchaos_cli import trials


class Images:
    """An environment of containers; ``lacking`` are images that are not there."""

    name = "images"
    lacking: tuple[str, ...] = ()

    def probe(self) -> Mapping[str, str]:
        return {}

    def need_image(self, image: str) -> None:
        if image in self.lacking:
            raise MissingCapability("image", f"the image {image} is not here", f"docker pull {image}")

    def sandbox(self, sizes: Mapping[Place, int], **_: Any) -> Any:
        raise MissingCapability("docker", "no engine")


@pytest.fixture
def nothing_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


def told(findings: Any) -> dict[str, tuple[bool, str]]:
    return {finding.name: (finding.good, finding.detail) for finding in findings}


@pytest.mark.usefixtures("nothing_on_path")
def test_databases_and_servers_come_from_images() -> None:
    there = Images()
    there.lacking = ("mariadb:11.4",)
    found = told(trials.services(there))
    assert found["database: postgres"] == (True, "postgres, postgres:17")
    assert found["database: mariadb"] == (False, "the image mariadb:11.4 is not here")
    assert found["rest: rest-server"][0]
    assert "restic/rest-server" in found["rest: rest-server"][1]
    assert found["sftp: asyncssh"] == (True, "asyncssh, backupchaos/python:1, the default")


@pytest.mark.usefixtures("nothing_on_path")
def test_targets_come_from_images() -> None:
    there = Images()
    there.lacking = ("backupchaos/borg:1",)
    found = told(trials.targets(there))
    assert found["restic"] == (True, "restic/restic:0.18.1")
    assert found["borg"] == (False, "the image backupchaos/borg:1 is not here")


@pytest.mark.usefixtures("nothing_on_path")
def test_here_they_must_be_on_path() -> None:
    assert not told(trials.services(LocalEnvironment()))["database: redis"][0]
    assert not told(trials.targets(LocalEnvironment()))["restic"][0]


@pytest.mark.usefixtures("nothing_on_path")
def test_in_containers_only_the_official_image_is_the_real_link_server() -> None:
    assert list(told(trials.links(Images()))) == ["embedded", "official image"]


def test_the_official_image_is_tried_here_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/listens/here")
    (finding,) = [one for one in trials.links(LocalEnvironment()) if one.name == "official image"]
    assert (finding.good, "no Docker daemon answers" in finding.detail) == (False, True)
    assert "only wanted for --backup-link=container" in finding.hint
