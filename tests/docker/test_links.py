"""The official Toxiproxy image behind links: what is started where, what it can do, and that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.docker.daemon import Daemon, Environment
from tests.links.hostbox import HostBox, links_on
from tests.links.support import Server, dial, echo, hang_up, round_trip

from backupchaos.commands import Command
from backupchaos.environments.base import Place, Sandbox
from backupchaos.environments.docker import images, names
from backupchaos.errors import MissingCapability
from backupchaos.links.links import Links

pytestmark = pytest.mark.needs("docker", "namespaces")

ECHO = """
import socket
with socket.create_server(("127.0.0.1", 7777)) as server:
    print("listening", end="", flush=True)
    sock = server.accept()[0]
    while data := sock.recv(65536): sock.sendall(data)
"""


@pytest.fixture
def upstream() -> Iterator[Server]:
    server = Server(echo)
    yield server
    server.close()
    hang_up()


@pytest.fixture
def box() -> Iterator[HostBox]:
    made = HostBox()
    yield made
    made.close()


def test_a_container_serves_who_shares_the_machines_network(
    daemon: Daemon, box: HostBox, upstream: Server
) -> None:
    links = links_on(box, server="container")
    try:
        assert links.server_used == "toxiproxy 2.12.0 (container)"
        (container,) = daemon.containers()
        assert container.attrs["HostConfig"]["NetworkMode"] == "host"
        assert container.labels[names.OWNER] == names.owner()
        assert container.attrs["Config"]["User"] == "65534:65534"
        link = links.create("store", upstream.port)
        sock = dial(link.port)
        round_trip(sock)
        with link.toxic("latency", latency=70):
            assert round_trip(sock) >= 0.07
        assert round_trip(sock) < 0.07
    finally:
        links.close()
    assert daemon.left() == []


def test_in_a_network_of_its_own_the_images_program_runs(daemon: Daemon) -> None:
    from backupchaos.environments.local.environment import LocalEnvironment

    sandbox = LocalEnvironment().sandbox(dict.fromkeys(Place, 8 << 20))
    try:
        _serve(sandbox)
        links = Links(sandbox, 1, "container")
        assert links.server_used == "toxiproxy 2.12.0 (program of the image)"
        assert daemon.left() == []
        link = links.create("store", 7777)
        with sandbox.connect(link.port) as sock:
            round_trip(sock)
            with link.toxic("latency", latency=70):
                assert round_trip(sock) >= 0.07
        links.close()
    finally:
        sandbox.close()


def test_among_containers_it_is_one_of_them(daemon: Daemon, containers: Environment) -> None:
    with containers.sandbox(dict.fromkeys(Place, 8 << 20)) as sandbox:
        links = Links(sandbox, 1, "container")
        assert links.server_used == "toxiproxy 2.12.0 (container)"
        images = [c.attrs["Config"]["Image"] for c in daemon.containers()]
        assert names.TOXIPROXY_IMAGE in images
        links.close()


def test_an_image_that_is_not_here_is_not_pulled(
    daemon: Daemon, box: HostBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "TOXIPROXY_IMAGE", "example.invalid/toxiproxy:0")
    with pytest.raises(MissingCapability, match=r"docker pull example\.invalid/toxiproxy:0"):
        links_on(box, server="container")


def test_what_may_be_pulled_is_the_users_word(
    daemon: Daemon, box: HostBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def need(_: object, image: str, policy: str | None) -> None:
        raise MissingCapability("image", f"{image} {policy}")

    monkeypatch.setattr(images, "need", need)
    with pytest.raises(MissingCapability, match=f"{names.TOXIPROXY_IMAGE} missing"):
        Links(cast(Sandbox, box), 1, "container", ("missing", False))


def test_an_image_whose_program_does_not_answer(
    daemon: Daemon, box: HostBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "TOXIPROXY_IMAGE", names.AGENT_IMAGE)
    monkeypatch.setattr("backupchaos.links.realserver._START_TIMEOUT", 0.2)
    with pytest.raises(MissingCapability, match=f"{names.AGENT_IMAGE}"):
        links_on(box, server="container")


DIES = """
import os, signal
from tests.docker.daemon import Daemon
from tests.links.hostbox import HostBox, links_on
links_on(HostBox(), server="container")
print(len(Daemon().left()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_dies_leaves_it_to_the_next_one(daemon: Daemon, box: HostBox) -> None:
    dead = subprocess.Popen(
        [sys.executable, "-c", DIES], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    assert dead.communicate(timeout=60)[0] == "1\n", (
        "it left something, which may be gone: tests go side by side"
    )
    links_on(box, server="container").close()
    assert daemon.left(dead.pid) == []


def test_a_run_says_so(daemon: Daemon, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "backupchaos_cli.main", "run", "normal", "--link", "container"]
    argv += ["--env", "local", "--repository", "sftp", "--results", str(tmp_path), "--seed", "3"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = tmp_path.rglob("results.json")
    assert "toxiproxy 2.12.0 (program of the image)" in result.read_text("utf-8")


def _serve(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    sandbox.spawn(Command((sys.executable, "-c", ECHO)), role="service", stdout=writer)
    os.close(writer)
    said: Any = os.read(reader, 100)
    os.close(reader)
    assert said == b"listening"
