"""A real ``toxiproxy-server`` inside the sandbox, behind the taps."""

from __future__ import annotations

import shutil
import signal
import socket
import time

from backupchaos.commands import Command
from backupchaos.environments.base import Sandbox
from backupchaos.errors import MissingCapability
from backupchaos.links.client import ToxiproxyClient
from backupchaos.links.servererrors import ServerDead, ServerError

PROGRAM = "toxiproxy-server"
_PORT = 8474
_START_TIMEOUT = 10.0


def find(*, required: bool) -> str:
    """The program's path, empty when there is none and none is required."""
    program = shutil.which(PROGRAM) or ""
    if required and not program:
        raise MissingCapability(PROGRAM, "not found on PATH", "install it, or use the embedded server")
    return program


class Unusable(MissingCapability):
    """A server is there and cannot be used."""


def start(program: str, sandbox: Sandbox) -> ToxiproxyClient:
    """Start it and wait until it answers. Raises ``Unusable`` when it does not, or is of another version."""
    port = _PORT if "network" in sandbox.capabilities else _free_port()
    pid = sandbox.spawn(Command((program, "-host", "127.0.0.1", "-port", str(port))), role="link")
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        client = ToxiproxyClient(port, sandbox.connect)
        try:
            client.version()
        except ServerDead:
            client.close()
            if time.monotonic() < deadline:
                time.sleep(0.02)  # it reports readiness in no other way than by answering
                continue
            why = f"{program} did not answer within {_START_TIMEOUT:g} s"
        except ServerError as error:
            client.close()
            why = f"{program}: {error.text}"
        else:
            return client
        sandbox.signal(pid, signal.SIGKILL)
        raise Unusable(PROGRAM, why, "install version 2.12, or use the embedded server")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
