"""The listening side of one link: its place, and what becomes of those who come."""

from __future__ import annotations

from asyncio import TimerHandle
from socket import socket
from typing import TYPE_CHECKING

from backupchaos.links import addresses, sockets
from backupchaos.links.addresses import Address
from backupchaos.links.connection import Connection
from backupchaos.links.listener import Accepted, Listener

if TYPE_CHECKING:
    from backupchaos.links.tap import Tap

_BURST = 64
_REST = 0.1
"""Seconds without accepting, when no descriptor was to be had."""


def _listener(where: Address) -> Listener:
    if not where.path:
        return Listener(where)
    from backupchaos.links.unixlistener import UnixListener

    return UnixListener(where)


class Door:
    """``accepted`` counts all who came; the next ``fail_next`` of them are reset."""

    def __init__(self, link: Tap) -> None:
        self._link = link
        self._watcher = link.registry.watcher
        self._listener: Listener | None = None
        self._accepting = False
        self._rest: TimerHandle | None = None
        self.accepted = 0
        self.fail_next = 0

    @property
    def address(self) -> Address | None:
        """Where it is; None if it was never opened."""
        return self._listener.address if self._listener else None

    @property
    def sock(self) -> socket | None:
        """The listening socket; None while it is shut."""
        return self._listener.sock if self._listener else None

    # -- open and shut ----------------------------------------------------------------------------

    def open(self, listen: str) -> None:
        """Listen. Raises ValueError with the reason when the address cannot be had."""
        where = addresses.to_listen(listen)
        try:
            if self._listener is None:
                self._listener = _listener(where)
            self._listener.open()
        except OSError as error:
            raise ValueError(addresses.problem(where, error)) from None
        self.accept()

    def shut(self, reason: str) -> None:
        """Refuse; who waits in the queue is connected already, and is reset. The place stays ours."""
        for accepted in self._waiting():
            self.accepted += 1
            link = self._link
            link.emit("open", self.accepted, peer_port=accepted.port)
            conn = Connection(link, self.accepted, accepted.sock, accepted.port)
            link.connections[conn.number] = conn
            conn.hit(f"down:{link.mode}", "cut", **link.blame())
            conn.close(reason, rst=True, **link.blame())
        self.rest()
        if self._listener is not None:
            self._listener.shut()

    def remove(self) -> None:
        """Give the place back."""
        self.rest()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def block(self) -> None:
        """Let nobody in any more, and give no answer."""
        assert self._listener is not None
        self.rest()
        for accepted in self._waiting():
            self._admit(accepted)
        self._listener.block()

    def unblock(self) -> None:
        """Undo ``block``."""
        assert self._listener is not None
        for accepted in self._listener.unblock():
            self._admit(accepted)
        self.accept()

    def _waiting(self) -> list[Accepted]:
        found: list[Accepted] = []
        try:
            while self._listener is not None and (accepted := self._listener.accept()) is not None:
                found.append(accepted)
        except OSError:
            pass  # no descriptor is left for the rest of them
        return found

    # -- accepting --------------------------------------------------------------------------------

    def accept(self) -> None:
        """Take those who come from now on."""
        if self.sock is not None and not self._accepting:
            self._accepting = True
            self._watcher.reading(self.sock.fileno(), self._acceptable)

    def rest(self) -> None:
        """Leave them in the queue until ``accept``."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._accepting and self.sock is not None:
            self._watcher.reading(self.sock.fileno(), None)
        self._accepting = False

    def _acceptable(self) -> None:
        for _ in range(_BURST):
            if self._link.log.full:
                self.rest()  # the log says when it has room again
                return
            try:
                accepted = self._listener.accept() if self._listener else None
            except OSError as error:
                self.rest()
                self._rest = self._link.loop.call_later(_REST, self.accept)
                self._link.sample("exhausted", error=str(error), open=len(self._link.connections))
                return
            if accepted is None:
                return
            self._admit(accepted)
            if not self._accepting:
                return

    def _admit(self, accepted: Accepted) -> None:
        link = self._link
        self.accepted += 1
        number = self.accepted
        reject = "reset" if link.mode == "reset" else "fail_first" if self.fail_next else ""
        if reject:
            self.fail_next -= reject == "fail_first"
            sockets.close_with_rst(accepted.sock)
            said = {"mode": reject, "count": 1, "exact": True, "peer_port": accepted.port}
            link.emit("refused", number, **said, **link.blame())
            return
        link.emit("open", number, peer_port=accepted.port)
        conn = Connection(link, number, accepted.sock, accepted.port)
        link.connections[number] = conn
        conn.dial()
