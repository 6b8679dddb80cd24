"""Troubles that harm what passes: packets are lost, bits flip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backupchaos.links import packets
from backupchaos.links.draws import stream
from backupchaos.links.troubles import Trouble, number

if TYPE_CHECKING:
    import socket

    from backupchaos.links.connection import Connection
    from backupchaos.links.tap import Tap

SPARED = 4096
"""Bytes at the beginning of each connection that are left alone, so that greetings and logins pass."""
SPREAD = 1 << 16
"""The bits of a connection flip at most so many bytes apart."""


class _Loss(Trouble):
    """The kernel drops a ``share`` of the packets that reach the link, from either side.

    Its dice have no seed. What it dropped is counted for each socket.
    """

    kind = "loss"
    packets = "both"

    def __init__(self, link: Tap, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(link, name, order)
        self._share = number(order, "share", 1e-6, 1.0)
        self._seen: dict[int, int] = {}
        """Packets dropped so far, by connection; 0 is the listener, where only attempts to connect arrive."""

    def begin(self) -> None:
        if self.link.ills.loss:
            raise ValueError("the link loses packets already")
        self.link.ills.loss = self._share
        self._listener()
        for conn in self.link.connections.values():
            self._seen[conn.number] = self._dropped(conn)
            self.link.ills.refilter(conn)
        self.link.watch()

    def _listener(self) -> None:
        sock = self.link.door.sock
        if sock is not None and not packets.filtered(sock):  # it is a new one each time the link comes up
            packets.lose(sock, self._share)
            self._seen[0] = packets.dropped(sock)

    @staticmethod
    def _dropped(conn: Connection) -> int:
        return sum(packets.dropped(sock) for sock in (conn.client, conn.server) if sock is not None)

    def admit(self, conn: Connection) -> None:
        self.link.ills.refilter(conn)

    def leave(self, conn: Connection) -> None:
        self._report(conn.number, self._dropped(conn))

    def _report(self, conn: int, now: int) -> None:
        count = now - self._seen.get(conn, 0)
        self._seen[conn] = now
        if count > 0:
            self.link.emit("lost", conn, count=count, cause=self.name)

    def look(self) -> bool:
        self._listener()
        sock: socket.socket | None = self.link.door.sock
        if sock is not None:
            self._report(0, packets.dropped(sock))
        for conn in self.link.connections.values():
            self._report(conn.number, self._dropped(conn))
        return True

    def end(self) -> None:
        self.look()
        self.link.ills.loss = 0.0
        if self.link.door.sock is not None:
            packets.pass_all(self.link.door.sock)
        for conn in self.link.connections.values():
            self.link.ills.refilter(conn)

    def describe(self) -> dict[str, Any]:
        sockets = [self.link.door.sock]
        for conn in self.link.connections.values():
            sockets += [conn.client, conn.server]
        real = [sock for sock in sockets if sock is not None]
        return super().describe() | {
            "sockets": len(real),
            "filtered": sum(packets.filtered(sock) for sock in real),
        }


class _Corrupt(Trouble):
    """``bits`` bits of what each connection sends up are flipped, at places drawn from the seed.

    Not among the first ``SPARED`` bytes of a connection. What the peers' checksums made of it went
    before: the flip happens where a bad memory or a bad proxy does it, above TCP's own checksum.
    """

    kind = "corrupt"

    def __init__(self, link: Tap, name: str, order: Mapping[str, Any]) -> None:
        super().__init__(link, name, order)
        self._bits = int(number(order, "bits", 1, 1000))

    def begin(self) -> None:
        for conn in self.link.connections.values():
            self.admit(conn)

    def admit(self, conn: Connection) -> None:
        if conn.flows:
            up = conn.flows[0]
            up.spoilers = (*up.spoilers, _Spoiler(self, conn, max(SPARED, up.received), self._bits))

    def end(self) -> None:
        for conn in self.link.connections.values():
            for flow in conn.flows:
                flow.spoilers = tuple(item for item in flow.spoilers if item.owner != self.name)


class _Spoiler:
    """The flips of one connection, in order."""

    def __init__(self, trouble: _Corrupt, conn: Connection, start: int, bits: int) -> None:
        link = trouble.link
        dice = stream(link.registry.seed, link.name, conn.number, "up", trouble.name, "corrupt")
        self.owner = trouble.name
        self._trouble = trouble
        self._conn = conn
        self.places: list[tuple[int, int]] = []
        for _ in range(bits):
            start += dice.randrange(1, SPREAD)
            self.places.append((start, dice.randrange(8)))

    def __call__(self, data: memoryview, offset: int) -> None:
        """Flip what is due in a chunk that begins at ``offset`` of the connection's stream."""
        while self.places and self.places[0][0] < offset + len(data):
            place, bit = self.places.pop(0)
            if place < offset:
                continue  # it went by on another way, as the last words of a peer that is gone
            was = data[place - offset]
            data[place - offset] = was ^ 1 << bit
            conn, name = self._conn, self._trouble.name
            conn.link.emit(
                "flip", conn.number, offset=place, bit=bit, was=was, now=was ^ 1 << bit, cause=name
            )


KINDS: dict[str, type[Trouble]] = {"loss": _Loss, "corrupt": _Corrupt}
