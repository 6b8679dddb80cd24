"""Troubles of a link that are no toxics: they act in the tap, whichever server works behind it.

A trouble is in force from ``begin`` to ``end``. What it needs a clock for runs on the link process's own
timers, so that it goes on while the harness is busy. Every event that it causes bears its name as ``cause``.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from backupchaos.links.flow import Fuse

if TYPE_CHECKING:
    from backupchaos.links.connection import Connection
    from backupchaos.links.tap import Tap


class Trouble:
    """One trouble of one link. The constructor raises ``ValueError`` for a senseless order."""

    kind: ClassVar[str]
    packets: ClassVar[Literal["", "client", "both"]] = ""
    """On which sides it drops packets."""

    def __init__(self, link: Tap, name: str, order: Mapping[str, Any]) -> None:
        self.link = link
        self.name = name
        self.by = f"{self.kind}:{name}"

    def begin(self) -> None:
        """Come into force, for live connections too."""

    def admit(self, conn: Connection) -> None:
        """A new connection has reached the server."""

    def leave(self, conn: Connection) -> None:
        """A connection is about to be closed: the last look at its sockets."""

    def look(self) -> bool:
        """Gather evidence, every 50 ms; True while that needs repeating."""
        return False

    def end(self) -> None:
        """Be gone, whatever state the link is in."""

    def describe(self) -> dict[str, Any]:
        """What can be seen of it now; from the kernel where the kernel knows."""
        return {"kind": self.kind, "name": self.name}


def number(order: Mapping[str, Any], key: str, least: float, most: float = float("inf")) -> float:
    """A number of the order within bounds; raises ValueError."""
    value = order[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{key} must be a number from {least:g} to {most:g}, not {value!r}")
    return value


class _CutAfter(Trouble):
    """Each connection is reset when ``bytes`` more have gone up; ``connections`` limits how many are."""

    kind = "cut_after"

    def __init__(self, link: Tap, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(link, name, order)
        self._bytes = int(number(order, "bytes", 1))
        self._left: float = float("inf")
        if order.get("connections") is not None:
            self._left = number(order, "connections", 1)
        self._cut = 0

    def begin(self) -> None:
        for conn in self.link.connections.values():
            self.admit(conn)

    def admit(self, conn: Connection) -> None:
        if conn.flows and self._left > 0:
            up = conn.flows[0]
            up.fuses = (*up.fuses, Fuse(up.passed + self._bytes, self.name, lambda: self._blow(conn)))

    def _blow(self, conn: Connection) -> None:
        self._left -= 1
        self._cut += 1
        if self._left <= 0:
            self.end()
        conn.hit(self.by, "cut", bytes=self._bytes, cause=self.name)
        conn.close(self.kind, rst=True, cause=self.name)

    def end(self) -> None:
        self._left = 0
        for conn in self.link.connections.values():
            for flow in conn.flows:
                flow.fuses = tuple(fuse for fuse in flow.fuses if fuse.owner != self.name)

    def describe(self) -> dict[str, Any]:
        left = None if self._left == float("inf") else int(self._left)
        armed = sum(
            any(fuse.owner == self.name for fuse in flow.fuses)
            for conn in self.link.connections.values()
            for flow in conn.flows
        )
        return super().describe() | {"left": left, "cut": self._cut, "armed": armed}


class _Flap(Trouble):
    """The link is away for ``down`` seconds and there for ``up`` seconds by turns; away first."""

    kind = "flap"

    def __init__(self, link: Tap, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(link, name, order)
        self._down = number(order, "down", 0.01)
        self._up = number(order, "up", 0.01)
        self._timer: TimerHandle | None = None
        self._falls = 0

    def begin(self) -> None:
        self._fall()

    def _fall(self) -> None:
        self._falls += 1
        self._timer = self.link.loop.call_later(self._down, self._rise)
        if self.link.mode == "up":  # else it is away already, and not ours to bring back
            self.link.go_down("refused", self.name)

    def _rise(self) -> None:
        self._timer = self.link.loop.call_later(self._up, self._fall)
        self.link.come_up(self.name)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.link.come_up(self.name)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"falls": self._falls, "running": self._timer is not None}


class _HalfOpen(Trouble):
    """The connections that live now hear nothing any more, and nothing they say is acknowledged.

    No end and no reset reaches them while it lasts; new connections work. At its end they are reset.
    """

    kind = "half_open"
    packets = "client"

    def __init__(self, link: Tap, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(link, name, order)
        self._dead: list[Connection] = []

    def begin(self) -> None:
        self._dead = [conn for conn in self.link.connections.values() if not conn.silenced]
        for conn in self._dead:
            conn.silence(self.by, self.name)
        self.link.emit("stranded", count=len(self._dead), cause=self.name)

    def end(self) -> None:
        for conn in self._dead:
            conn.close(self.kind, rst=True, cause=self.name)

    def describe(self) -> dict[str, Any]:
        dead = [conn for conn in self._dead if not conn.closed]
        return super().describe() | {"dead": len(dead), "silent": sum(conn.deaf for conn in dead)}


KINDS: dict[str, type[Trouble]] = {"cut_after": _CutAfter, "flap": _Flap, "half_open": _HalfOpen}
