"""What the servers keep of what they have acknowledged: the reasons for ``forgets`` and ``retracts``."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from tests.survivors import wait_until
from tests.targets.serving import listens, rclone, served, stored
from tests.targets.test_services import upload

from backupchaos.services.base import Forgetful, Retracting
from backupchaos.services.rest_server import RestServer
from backupchaos.targets.bench import free_port


@pytest.mark.slow
@pytest.mark.needs("rest-server")
def test_rest_server_takes_nothing_back(tmp_path: Path) -> None:
    """The reason why ``retracts`` is empty: the same story ends otherwise with rclone (``test_services``)."""
    content = bytes(2_000_000)
    (tmp_path / "repository/repository/data").mkdir(parents=True)
    with served("rest", "rest-server", tmp_path) as (service, location):
        with upload(location, content, 1_000_000) as given_up:
            assert wait_until(lambda: halves(tmp_path) == [1_000_000], 10)
            assert stored(tmp_path, service) == {}, "a half upload is nothing that clients know"
            with upload(location, content, len(content)) as again:
                assert again.recv(100).split()[1] == b"200"
            given_up.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert wait_until(lambda: not halves(tmp_path), 10)
        assert list(stored(tmp_path, service).values()) == [len(content)]
    assert isinstance(service, Retracting) and not service.retracts


def halves(root: Path) -> list[int]:
    return [path.stat().st_size for path in (root / "repository").rglob("*.rest-server-temp*")]


@pytest.mark.slow
@pytest.mark.needs("rest-server")
def test_what_rest_server_leaves_when_it_is_killed_is_its_own(tmp_path: Path) -> None:
    content = bytes(2_000_000)
    (tmp_path / "repository/repository/data").mkdir(parents=True)
    for folder in ("service", "home"):
        (tmp_path / folder).mkdir()
    service, port = RestServer(), free_port()
    for path, data, _ in service.files(str(tmp_path / "service")):
        Path(path).write_bytes(data)
    command = service.command(str(tmp_path / "repository"), str(tmp_path / "service"), port)
    with subprocess.Popen(command.argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: listens(port), 10)
            with upload(service.location(port), content, 1_000_000):
                assert wait_until(lambda: halves(tmp_path) == [1_000_000], 10)
                process.send_signal(signal.SIGKILL)
                process.wait()
        finally:
            process.kill()
    assert halves(tmp_path) == [1_000_000]
    assert stored(tmp_path, service) == {}
    assert isinstance(service, Forgetful) and not service.forgets


@pytest.mark.slow
@pytest.mark.needs("minio", "rclone")
def test_minio_takes_nothing_back(tmp_path: Path) -> None:
    """An upload that hangs, a second one of the same name, and the first one is broken off."""
    from backupchaos.services.rclone_serve import find_rclone
    from backupchaos_targets.rclone import remote_environment

    with served("s3", "minio", tmp_path) as (service, location):
        env = {**remote_environment(location), "RCLONE_CONFIG": os.devnull, "HOME": str(tmp_path)}
        argv = (find_rclone(), "rcat", f"repo:{location.path}/x", "--size", "3000000")
        with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as given_up:
            assert given_up.stdin is not None
            given_up.stdin.write(bytes(1_500_000))
            given_up.stdin.flush()
            temporary = tmp_path / "repository/.minio.sys/tmp"
            assert wait_until(lambda: [p for p in temporary.rglob("part.1") if p.stat().st_size], 20)
            (tmp_path / "y").write_bytes(bytes(2_000_000))
            assert (
                rclone(
                    tmp_path, location, "copyto", str(tmp_path / "y"), f"repo:{location.path}/x"
                ).returncode
                == 0
            )
            given_up.kill()
        assert wait_until(lambda: not list(temporary.rglob("part.1")), 20)
        assert (
            rclone(tmp_path, location, "lsf", "--format", "sp", f"repo:{location.path}").stdout
            == "2000000;x\n"
        )
    assert isinstance(service, Retracting) and not service.retracts
