"""A real ``toxiproxy-server`` inside the sandbox, behind the taps."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.environments.base import Sandbox
from backupchaos.errors import MissingCapability
from backupchaos.links.client import ToxiproxyClient
from backupchaos.links.servererrors import ServerDead, ServerError
from backupchaos.links.transport import Connect

PROGRAM = "toxiproxy-server"
_PORT = 8474
_START_TIMEOUT = 10.0
HINT = "install version 2.12, or use the embedded server"


def find(*, required: bool) -> str:
    """The program's path, empty when there is none and none is required."""
    program = shutil.which(PROGRAM) or ""
    if required and not program:
        raise MissingCapability(PROGRAM, "not found on PATH", "install it, or use the embedded server")
    return program


class Unusable(MissingCapability):
    """A server is there and cannot be used."""


def start(
    program: tuple[str, ...],
    sandbox: Sandbox,
    name: str = PROGRAM,
    *,
    pass_fds: Sequence[tuple[int, int]] = (),
) -> ToxiproxyClient:
    """Start it and wait until it answers. Raises ``Unusable`` when it does not, or is of another version.

    ``program`` may have words before it. ``name`` is what messages call it, ``pass_fds`` as in ``Sandbox.spawn``.
    """
    port = _PORT if "network" in sandbox.capabilities else free_port()
    command = Command((*program, "-host", "127.0.0.1", "-port", str(port)))
    pid = sandbox.spawn(command, role="link", pass_fds=pass_fds)
    try:
        return answering(port, sandbox.connect, name)
    except Unusable:
        sandbox.signal(pid, signal.SIGKILL)
        raise


def answering(port: int, connect: Connect | None, name: str) -> ToxiproxyClient:
    """Wait until a server answers, and see that it is of a version we know; see ``start``."""
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        client = ToxiproxyClient(port, connect)
        try:
            client.version()
        except ServerDead:
            client.close()
            if time.monotonic() < deadline:
                time.sleep(0.02)  # it reports readiness in no other way than by answering
                continue
            why = f"{name} did not answer within {_START_TIMEOUT:g} s"
        except ServerError as error:
            client.close()
            why = f"{name}: {error.text}"
        else:
            return client
        raise Unusable(PROGRAM, why, HINT)


def free_port() -> int:
    """A port of this machine's loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
