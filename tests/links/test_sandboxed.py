"""Links in a real sandbox: a network of its own makes the counts exact."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from tests.links.conftest import SERVERS
from tests.links.support import round_trip

from backupchaos.commands import Command
from backupchaos.environments.base import Place, Sandbox
from backupchaos.links import realserver
from backupchaos.links.behind import Server
from backupchaos.links.links import Link, Links

pytestmark = pytest.mark.needs("namespaces")

ECHO = """
import os, socket, threading
def echo(conn):
    while data := conn.recv(65536):
        conn.sendall(data)
    conn.close()
server = socket.create_server(("127.0.0.1", 7777))
os.write(1, b"listening")
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    from backupchaos.environments.local.environment import LocalEnvironment

    made = LocalEnvironment().sandbox(dict.fromkeys(Place, 8 << 20))
    yield made
    made.close()


@pytest.fixture(params=SERVERS)
def link(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Link]:

    server: Server = request.param
    if server == "toxiproxy" and not realserver.find(required=False):
        pytest.skip("toxiproxy-server is not on PATH")
    reader, writer = os.pipe()
    sandbox.spawn(Command((sys.executable, "-c", ECHO)), role="service", stdout=writer)
    os.close(writer)
    assert os.read(reader, 100) == b"listening"
    os.close(reader)
    links = Links(sandbox, seed=1, server=server)
    yield links.create("store", 7777)
    links.close()


def test_refusals_are_counted_exactly(link: Link, sandbox: Sandbox) -> None:
    with sandbox.connect(link.port) as sock:
        round_trip(sock)
        link.down()
        for _ in range(7):
            with pytest.raises(ConnectionRefusedError):
                sandbox.connect(link.port)
        link.up()
    stats = link.stats()
    assert (stats.refused, stats.refused_exact) == (7, True)


def test_toxics_work_across_the_namespace(link: Link, sandbox: Sandbox) -> None:
    with sandbox.connect(link.port) as sock:
        round_trip(sock)
        with link.toxic("latency", latency=70):
            assert round_trip(sock) >= 0.07
        assert round_trip(sock) < 0.07
