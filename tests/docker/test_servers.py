"""Servers of repositories in images of their own: they are killed and come back, whatever is installed here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.docker.daemon import Environment
from tests.faults.bench import bench
from tests.faults.service_jobs import WHEN_READY, http

from backupchaos.services.servers import Servers
from backupchaos.targets.base import RepositoryType

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("sftp", "openssh"),
        ("s3", "minio"),
        ("rest", "rest-server"),
        ("webdav", "rclone"),
    ],
)
def test_a_server_runs_in_its_own_image(
    tmp_path: Path, containers: Environment, monkeypatch: pytest.MonkeyPatch, kind: RepositoryType, name: str
) -> None:
    which = shutil.which
    servers = ("sshd", "minio", "rest-server", "rclone")
    monkeypatch.setattr(shutil, "which", lambda one, *rest, **more: None if one in servers else which(one))
    hello = "b'S'" if kind == "sftp" else "b'H'"
    job = http(
        f"print('first:', until({hello}), flush=True)\nprint('ready', flush=True)\n"
        f"print('away:', until('ConnectionRefusedError'), flush=True)\nprint('back:', until({hello}), flush=True)"
    )
    fault = {"service.kill": "repository", "when": WHEN_READY, "for": 0.5}
    with bench(
        tmp_path,
        fault,
        (),
        target=job,
        repository=kind,
        servers=Servers({kind: name}),
        environment=containers,
    ) as made:
        result = made.go()
    assert result.lines == [f"first: {hello}", "ready", "away: ConnectionRefusedError", f"back: {hello}"]
    assert result.proof
    assert result.strays == []
