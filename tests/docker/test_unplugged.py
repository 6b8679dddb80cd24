"""A container that loses its network: what its job sees, what proves it, and that it gets all of it back."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docker.daemon import Daemon, Environment
from tests.faults import trying
from tests.faults.echo import echo_service

from backupchaos.environments.base import Place, Unpluggable
from backupchaos.environments.docker.sandbox import DockerSandbox
from backupchaos.errors import MissingCapability

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]
__all__ = ["echo_service"]
FAULT = {"network.down": "repository", "mode": "unreachable"}


@pytest.fixture
def box(containers: Environment, daemon: Daemon) -> Iterator[DockerSandbox]:
    with containers.sandbox({Place.REPOSITORY: 1 << 20}) as made:
        yield made


def test_there_is_no_route_and_then_the_same_connection_again(box: DockerSandbox) -> None:
    assert isinstance(box, Unpluggable)
    host = box.outlet()
    assert box.front() == (host, host)
    with box.open_socket() as server:
        server.bind((host, 7000))
        server.listen()
        near = box.connect(7000, host)
        far = server.accept()[0]
        box.unplug(True)
        assert not box.plugged()
        near.sendall(b"held")
        with pytest.raises(OSError) as caught:
            box.connect(7000, host)
        assert caught.value.errno == errno.ENETUNREACH
        assert box.call("unanswered", host=host, port=7000) == {"connections": 1, "bytes": 4}
        box.unplug(False)
        assert box.plugged()
        assert select.select([far], [], [], 30)[0], "what was sent meanwhile never came"
        assert far.recv(10) == b"held"
        box.connect(7000, host).close()
        near.close()
        far.close()


def test_it_bites_and_goes(tmp_path: Path, containers: Environment) -> None:
    told = trying.told(
        "network.down", trying.run(tmp_path, "network.down", idle=False, environment=containers, fault=FAULT)
    )
    assert "had no route" in " ".join(told["proof"]), "\n".join(told["lines"])
    assert told["strays"] == []
    assert told["seen"] == ["applying", "applied", "undoing", "undone"]


def test_live_connections_go_silent(tmp_path: Path, containers: Environment) -> None:
    fault = {**FAULT, "when": {"bytes": 100_000}, "for": 0.5}
    result = trying.run(tmp_path, "network.down", idle=False, environment=containers, fault=fault)
    assert "went silent" in " ".join(result.proof), "\n".join(result.lines)
    told = result.fault.blows()
    assert told is not None
    assert told.how == "silence"
    assert result.strays == []


def test_it_does_not_bite_who_touches_nothing(tmp_path: Path, containers: Environment) -> None:
    result = trying.run(tmp_path, "network.down", idle=True, environment=containers, fault=FAULT)
    assert (result.proof, result.strays) == ([], [])


def test_an_engine_that_cannot_is_told_of(
    tmp_path: Path, containers: Environment, monkeypatch: pytest.MonkeyPatch, daemon: Daemon
) -> None:
    from docker.errors import APIError
    from docker.models.networks import Network

    def refuses(*_: Any, **__: Any) -> None:
        raise APIError("not here", explanation="no such thing in this engine")

    monkeypatch.setattr(Network, "connect", refuses)
    with pytest.raises(MissingCapability, match="cannot take a container off a network: no such thing"):
        trying.run(tmp_path, "network.down", idle=False, environment=containers, fault=FAULT)
    assert daemon.left() == []


DIES = """
import os, signal
from backupchaos.environments.docker.environment import DockerEnvironment
box = DockerEnvironment().sandbox({})
box.outlet()
box.unplug(True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_dies_without_a_network_leaves_nothing(daemon: Daemon, containers: Environment) -> None:
    dead = subprocess.Popen([sys.executable, "-c", DIES], env=dict(os.environ))
    dead.wait(120)
    assert any(entry.endswith("-outlet") for entry in daemon.left(dead.pid))
    containers.sandbox({}).close()
    assert daemon.left(dead.pid) == []
