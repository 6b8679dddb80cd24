"""The conformance suite of the links' servers, over the official image in a container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from tests.docker.daemon import Daemon
from tests.links import test_conformance_http, test_conformance_links, test_conformance_toxics
from tests.links.hostbox import HostBox
from tests.links.support import Backend, hang_up

from backupchaos.environments.base import Sandbox

pytestmark = pytest.mark.needs("docker")


@pytest.fixture(scope="module")
def running() -> Iterator[Backend]:
    from backupchaos.links.container import Official

    daemon, box = Daemon(), HostBox()
    made = Official(cast(Sandbox, box))
    try:
        yield Backend("toxiproxy", made.client.port)
        (container,) = daemon.containers()
        assert container.status == "running", "the real server crashed"
    finally:
        made.close()
        box.close()
        assert daemon.left() == []
        daemon.close()


@pytest.fixture
def api(running: Backend) -> Iterator[Backend]:
    yield running
    running.clean()
    hang_up()


for _module in (test_conformance_http, test_conformance_links, test_conformance_toxics):
    globals().update({name: test for name, test in vars(_module).items() if name.startswith("test_")})
