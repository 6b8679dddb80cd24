"""The gate: a reverse proxy between the link and an HTTP server, which answers in its place when told to.

``python -m backupchaos.services.gate --upstream PORT --dialect s3 --seed N``; orders come on descriptor 3,
events go to 4 (``orders``). It listens on 127.0.0.1 only, and says where in its ``ready`` event. As long as
nothing is in force it only passes on. It is a process of its own for the reasons of ``links.linkd``.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # asyncio imports ssl whenever it can, for a tenth of our start-up time; nothing here ever uses it.
    sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import os
import resource
import socket
from typing import cast

import h11

from backupchaos.links import sockets
from backupchaos.links.eventlog import EventLog
from backupchaos.services.gate_answers import Dialect
from backupchaos.services.gate_exchange import Exchange
from backupchaos.services.gate_side import Side
from backupchaos.services.lateness import Lateness
from backupchaos.services.misdeeds import Emit, Misdeeds
from backupchaos.services.orders import CONTROL_FD, EVENTS_FD, Orders


class Gate:
    """Accepts connections and gives each an ``Exchange`` with the server on ``upstream``."""

    def __init__(self, upstream: int, dialect: Dialect, misdeeds: Misdeeds, emit: Emit) -> None:
        self._emit = emit
        self._upstream = upstream
        self._dialect = dialect
        self._misdeeds = misdeeds
        self._lateness = Lateness(misdeeds)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, port: int = 0) -> int:
        """Listen; returns the port. Raises OSError if it cannot be had."""
        self._sock = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._accept)
        return int(self._sock.getsockname()[1])

    async def stop(self) -> None:
        """Listen no more, and cut what is live."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        try:
            client, _ = self._sock.accept()
        except OSError:
            return
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        sockets.prepare(client)
        server = socket.socket()
        sockets.prepare(server)
        try:
            await asyncio.get_running_loop().sock_connect(server, ("127.0.0.1", self._upstream))
        except OSError:
            server.close()
            sockets.close_with_rst(client)  # what a client of a dead server gets, if it got this far at all
            return
        sides = Side(client, h11.SERVER), Side(server, h11.CLIENT)
        try:
            await Exchange(*sides, self._misdeeds, self._lateness, self._dialect).run()
        except Exception as error:
            # The client has lost a connection by our mistake; that must not be taken for its server's.
            self._emit("broken", error=f"{type(error).__name__}: {error}")


async def run(upstream: int, dialect: Dialect, seed: int) -> None:
    """Serve until the control descriptor closes."""
    loop = asyncio.get_running_loop()
    log = EventLog(loop, EVENTS_FD)
    misdeeds = Misdeeds(seed, log.emit)
    Orders(loop, CONTROL_FD, log, misdeeds)
    log.emit("ready", port=Gate(upstream, dialect, misdeeds, log.emit).start(), pid=os.getpid())
    await asyncio.Event().wait()


def main(argv: list[str]) -> int:
    """The harness writes the command line, so there is nobody to explain a mistake to."""
    options = dict(zip(argv[::2], argv[1::2], strict=True))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors per connection
    asyncio.run(
        run(int(options["--upstream"]), cast("Dialect", options["--dialect"]), int(options["--seed"]))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
