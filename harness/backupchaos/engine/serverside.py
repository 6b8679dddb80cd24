"""What a job leaves behind on the server: processes there that outlive their client, connections that stay open.

A server that forks for each client must end the child when the client is gone, or the child holds its locks
for ever. Servers without children have nothing to show here, and cost one look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backupchaos.engine.world import World
from backupchaos.environments.base import ProcessInfo

LINGER = 3.0
"""Seconds that the server has to notice that its client is gone."""


class ServerSide:
    """Looks before the job, and again after it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._main = world.service_pid
        self._before = {process.pid for process in self._processes()}
        self._open = self._connections()

    def left(self, *, connections: bool = True) -> list[str]:
        """What came with the job and is still there some seconds after it; nothing if the server was restarted.

        Without ``connections`` only processes count: where a fault cut the link, the server cannot know.
        """
        if self._main is None:
            return []

        def gone() -> bool:
            if self._world.service_pid != self._main:
                return True
            return not self._fresh() and not (connections and self._connections() > self._open)

        if self._world.loop.pump_until(gone, LINGER):
            return []
        found = [f"{process.pid} {process.command[:120]}" for process in self._fresh()]
        more = self._connections() - self._open if connections else 0
        return found + ([f"{more} connections still open {LINGER:g} s after the job"] if more > 0 else [])

    def _processes(self) -> list[ProcessInfo]:
        if self._main is None:
            return []
        found = {process.pid: process for process in self._world.sandbox.processes()}
        # Another service has workers of its own that come and go; they are nobody's leftovers.
        others = {server.pid for server in self._world.tiers.values()}
        return [p for p in found.values() if p.role == "service" and not _descends(p, others, found)]

    def _fresh(self) -> list[ProcessInfo]:
        return [process for process in self._processes() if process.pid not in self._before]

    def _connections(self) -> int:
        if self._world.link is None:
            return 0
        self._world.poll_links()
        return self._world.link.stats().open


def _descends(
    process: ProcessInfo, from_any: Collection[int | None], known: Mapping[int, ProcessInfo]
) -> bool:
    """Whether it is one of these processes, or was started by one."""
    seen: ProcessInfo | None = process
    while seen is not None:
        if seen.pid in from_any:
            return True
        seen = known.get(seen.parent)
    return False
