"""A daemon, and that nothing of ours is left on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docker.daemon import Daemon, Environment


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """The daemon; at the end of the test nothing of this process may be left on it."""
    found = Daemon()
    try:
        yield found
        assert found.left() == []
    finally:
        found.close()


@pytest.fixture
def containers(daemon: Daemon) -> Environment:
    """The environment under test."""
    from backupchaos.environments.docker.environment import DockerEnvironment

    return DockerEnvironment()


@pytest.fixture
def image(daemon: Daemon, tmp_path: Path) -> Iterator[str]:
    """An image that can be told from all others."""
    name = "backupchaos-test/tar:1"
    (tmp_path / "Dockerfile").write_text(
        "FROM debian:bookworm-slim\nRUN mkdir /opt/test && printf '#!/bin/sh\\necho made for this test\\n' >/opt/test/version && chmod +x /opt/test/version\n",
        "utf-8",
    )
    daemon.client.images.build(path=str(tmp_path), tag=name, rm=True)
    yield name
    daemon.client.images.remove(name)


_FORWARD = """
import socket, threading
def pour(one, other):
    try:
        while data := one.recv(65536): other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError: other.close()
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        client, backend = server.accept()[0], socket.socket(socket.AF_UNIX)
        backend.connect("/var/run/docker.sock")
        for pair in ((client, backend), (backend, client)):
            threading.Thread(target=pour, args=pair, daemon=True).start()
"""


@pytest.fixture
def forward() -> Iterator[str]:
    """The daemon's socket behind a TCP port: it looks as if it was on another machine."""
    with subprocess.Popen([sys.executable, "-c", _FORWARD], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"tcp://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()
