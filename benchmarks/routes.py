"""The ways to a server that ``benchmarks/links.py`` compares: straight, or through one of the links."""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from tests.links.crowd import Process
from tests.links.hostbox import HostBox, links_on
from tests.links.support import memory

from backupchaos.environments.base import Sandbox
from backupchaos.links import realserver
from backupchaos.links.behind import Server
from backupchaos.links.client import ToxiproxyClient


class Route:
    """Straight to the servers; ``ports`` has one for each kind. The other routes lead there too."""

    name = "bare"

    def __init__(self, servers: Mapping[str, int]) -> None:
        self.servers = servers
        self.ports = dict(servers)
        self.pids: list[int] = []
        self.names = (f"toxic{number}" for number in itertools.count())

    def wait(self, pipe: IO[str]) -> None:
        """Until the traffic has something to say; meanwhile do what the harness would do."""

    def poisoned(self, server: str, kind: str, attributes: Mapping[str, int]) -> int:
        """The port of another way to a server, with a toxic on the way back.

        It stays until the end: the real server can hang when it removes a toxic from a connection that is busy.
        """
        raise NotImplementedError

    def memory(self) -> int:
        """Bytes of resident memory of the processes that carry the traffic."""
        return sum(memory(pid) for pid in self.pids)

    def processor(self) -> float:
        """Seconds of processor time, of program and kernel, that the processes that carry the traffic have had."""
        return sum(_spent(pid) for pid in self.pids)

    def close(self) -> None:
        """End what was started."""


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Proxied(Route):
    """Through a Toxiproxy server alone."""

    def __init__(self, servers: Mapping[str, int]) -> None:
        super().__init__(servers)
        self._client = self.start()
        for kind, port in servers.items():
            self.ports[kind] = self._client.create(kind, f"127.0.0.1:{port}").port

    def start(self) -> ToxiproxyClient:
        """Start the server; the client to it."""
        raise NotImplementedError

    def poisoned(self, server: str, kind: str, attributes: Mapping[str, int]) -> int:
        toxics = [{"kind": kind, "attributes": attributes}]
        upstream = f"127.0.0.1:{self.servers[server]}"
        return self._client.create(next(self.names), upstream, toxics=toxics).port


class Toxiproxy(_Proxied):
    """The real server."""

    name = "toxiproxy"

    def start(self) -> ToxiproxyClient:
        self._box = HostBox()
        client = realserver.start((realserver.find(required=True),), cast(Sandbox, self._box))
        self.pids = [self._box.children[0].pid]
        return client

    def close(self) -> None:
        self._box.close()


class Embedded(_Proxied):
    """The embedded server, without an event log."""

    name = "embedded"

    def start(self) -> ToxiproxyClient:
        argv = [sys.executable, "-m", "backupchaos.links.linkd"]
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self.pids = [self._child.pid]
        return ToxiproxyClient(int(self._child.stdout.readline().rpartition(":")[2]))

    def close(self) -> None:
        self._child.terminate()
        self._child.wait()


class Harness(Route):
    """As the harness uses it: our tap in front, its event log read by this process."""

    def __init__(self, servers: Mapping[str, int], server: Server) -> None:
        super().__init__(servers)
        self.name = f"tap, {server}"
        self._box = HostBox()
        self._links = links_on(self._box, server=server)
        for kind, port in servers.items():
            self.ports[kind] = self._links.create(kind, port).port
        self.pids = [child.pid for child in self._box.children]

    def wait(self, pipe: IO[str]) -> None:
        while pipe.fileno() not in select.select([pipe.fileno(), self._links.fileno()], [], [])[0]:
            self._links.events()

    def poisoned(self, server: str, kind: str, attributes: Mapping[str, int]) -> int:
        link = self._links.create(next(self.names), self.servers[server])
        link.toxic(kind, "downstream", 1.0, name="", **attributes)
        return link.port

    def close(self) -> None:
        self._links.close()
        self._box.close()


class Servers:
    """The servers that all routes lead to, each a process of its own."""

    def __init__(self) -> None:
        self._processes = {kind: Process("serve", kind) for kind in ("source", "sink", "echo")}
        self.ports = {kind: int(process.line()) for kind, process in self._processes.items()}

    def close(self) -> None:
        """End them."""
        for process in self._processes.values():
            process.end()


def traffic(route: Route, kind: str, port: int, *arguments: int) -> dict[str, Any]:
    """Make traffic of a kind on a route, from a process of its own; its figures."""
    process = Process(kind, port, *arguments)
    try:
        route.wait(process.stdout)
        line = process.line()
    finally:
        process.end()
    if not line:
        raise SystemExit(f"{kind} on {route.name} failed")
    found: dict[str, Any] = json.loads(line)
    return found
