"""Which kind of repository a scenario gets with a target."""

from __future__ import annotations

from typing import Any

import pytest

from backupchaos.engine.choosing import choose_repository
from backupchaos.errors import MissingCapability
from backupchaos.model.scenario import Scenario
from backupchaos.services import registry
from backupchaos.services.rclone_serve import RcloneService
from backupchaos.targets.base import BaseTarget, Profile, RepositoryType

STRANDING = {"network.half_open": "repository", "when": {"at": 0.5}}


class Speaking(BaseTarget):
    name = "speaker"

    def __init__(self, *kinds: RepositoryType) -> None:
        self.profile = Profile(speaks=kinds, aspects=frozenset(), features=frozenset())


@pytest.fixture(autouse=True)
def no_program_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RcloneService, "available", lambda self: None)


def chosen(fault: dict[str, Any] | None, repository: str, *kinds: RepositoryType) -> str:
    fields = {"scenario": "s", "title": "t", "repository": repository}
    faults = {"faults": {"f": fault}} if fault else {}
    scenario = Scenario.model_validate({**fields, **faults}, strict=False)
    return choose_repository(scenario, Speaking(*kinds))  # type: ignore[arg-type]


def test_the_first_that_fits() -> None:
    assert chosen(None, "any", "local", "rest") == "local"
    assert chosen(None, "remote", "local", "rest", "sftp") == "rest"
    assert chosen(None, "sftp", "local", "rest", "s3") == "rest"
    assert chosen(None, "s3", "local", "rest", "s3") == "s3"


def test_a_server_that_takes_back_is_passed_over() -> None:
    assert chosen(STRANDING, "remote", "local", "rest", "s3", "sftp") == "s3"
    assert chosen(STRANDING, "any", "local", "rest", "sftp") == "sftp"
    assert chosen({"network.reset": "repository", "when": {"at": 0.5}}, "remote", "rest", "sftp") == "rest"


@pytest.mark.parametrize("wanted", ["rest", "remote"])
def test_where_there_is_no_other_there_is_no_run(wanted: str) -> None:
    with pytest.raises(MissingCapability, match=r"network\.half_open leaves uploads hanging.*no fair judge"):
        chosen(STRANDING, wanted, "local", "rest", *(("sftp",) if wanted == "rest" else ()))


def test_a_missing_program_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(kind: RepositoryType, prefer: str | None = None) -> Any:
        raise MissingCapability("rclone", "there is none")

    monkeypatch.setattr(registry, "service_for", missing)
    assert chosen(STRANDING, "remote", "rest") == "rest"
