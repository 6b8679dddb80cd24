from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from tests.links.hostbox import HostBox, links_on
from tests.links.support import Backend, Log, Server, echo, hang_up

from backupchaos.environments.base import Sandbox
from backupchaos.links import realserver
from backupchaos.links.links import Link, Links


@pytest.fixture(autouse=True)
def closed_sockets() -> Iterator[None]:
    yield
    hang_up()


@pytest.fixture
def box() -> Iterator[HostBox]:
    made = HostBox()
    yield made
    made.close()


@pytest.fixture
def links(box: HostBox) -> Iterator[Links]:
    made = links_on(box)
    yield made
    made.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made: list[Server] = []
    yield made
    for server in made:
        server.close()


Make = Callable[..., tuple[Link, Server]]
"""Makes a link to a new server; takes the server's handler."""


@pytest.fixture
def make(links: Links, servers: list[Server]) -> Make:
    def link(handler: Callable[..., None] = echo) -> tuple[Link, Server]:
        servers.append(Server(handler))
        return links.create(f"link{len(servers)}", servers[-1].port), servers[-1]

    return link


@pytest.fixture
def log(links: Links) -> Log:
    return Log(links)


SERVERS = [
    "embedded",
    pytest.param("toxiproxy", marks=pytest.mark.needs("toxiproxy-server")),
]


@contextmanager
def backend(name: str) -> Iterator[Backend]:
    """One server of its own; skipped where the real one is not on PATH."""
    box = HostBox()
    try:
        if name == "embedded":
            links = links_on(box)
            yield Backend("embedded", links.process.api_port)
            links.close()
        else:
            program = realserver.find(required=False)
            if not program:
                pytest.skip("toxiproxy-server is not on PATH")
            client = realserver.start((program,), cast(Sandbox, box))
            yield Backend("toxiproxy", client.port)
            client.close()
            assert box.children[0].poll() is None, "the real server crashed"
    finally:
        box.close()


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """One server for a whole module; tests clean up after themselves."""
    with backend(request.param) as made:
        yield made


@pytest.fixture
def api(running: Backend) -> Iterator[Backend]:
    yield running
    running.clean()
