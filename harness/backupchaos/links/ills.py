"""What ails one link beside its mode: its troubles, and the packet filters on its sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupchaos.links import addresses, packets, sockets
from backupchaos.links.counters import far_ends

if TYPE_CHECKING:
    from backupchaos.links.connection import Connection
    from backupchaos.links.tap import Tap
    from backupchaos.links.troubles import Trouble


class Ills:
    """The troubles of a link by name. ``loss`` is the share of packets that is lost now."""

    def __init__(self, link: Tap) -> None:
        self._link = link
        self._troubles: dict[str, Trouble] = {}
        self._far: dict[int, tuple[int, int]] = {}
        self.loss = 0.0

    # -- troubles ---------------------------------------------------------------------------------

    def afflict(self, trouble: Trouble) -> None:
        """Bring a trouble into force. Raises ValueError if there is one of that name, or nothing to act on."""
        if trouble.packets and not self._link.countable:
            raise ValueError(f"{trouble.kind} drops packets, and {self._link.listen} is a UNIX socket")
        if trouble.packets == "both" and self._link.upstream.startswith(addresses.UNIX):
            raise ValueError(f"{trouble.kind} drops packets, and {self._link.upstream} is a UNIX socket")
        if trouble.name in self._troubles:
            raise ValueError(f"link {self._link.name!r} has a trouble {trouble.name!r} already")
        self._link.emit("trouble", trouble=trouble.describe(), cause=trouble.name)
        self._troubles[trouble.name] = trouble
        try:
            trouble.begin()
        except BaseException:
            self.relieve(trouble.name)
            raise

    def relieve(self, name: str) -> bool:
        """End a trouble; False if there is none of that name."""
        trouble = self._troubles.pop(name, None)
        if trouble is None:
            return False
        trouble.end()
        self._link.emit("relief", trouble=trouble.describe(), cause=name)
        return True

    def end(self) -> None:
        """End all of them."""
        for name in tuple(self._troubles):
            self.relieve(name)

    def admit(self, conn: Connection) -> None:
        """A connection has reached the server."""
        for trouble in tuple(self._troubles.values()):
            trouble.admit(conn)

    def leave(self, conn: Connection) -> None:
        """A connection is about to be closed."""
        for trouble in tuple(self._troubles.values()):
            trouble.leave(conn)

    def look(self) -> list[bool]:
        """Gather evidence; who of them wants another look."""
        conns = self._link.connections.values()
        unheard = self._link.mode == "blackhole" or any(conn.silenced for conn in conns)
        unheard = unheard and self._link.countable
        self._far = far_ends(self._link.port) if unheard else {}
        return [trouble.look() for trouble in tuple(self._troubles.values())]

    def describe(self) -> dict[str, Any]:
        """What each says of itself, and what the kernel says of filters that nobody asks for."""
        shown = [trouble.describe() for trouble in self._troubles.values()]
        return {"troubles": shown, "stray_filters": self._stray_filters()}

    # -- filters ----------------------------------------------------------------------------------

    def refilter(self, *conns: Connection) -> None:
        """Put those packet filters on connections (all, if none is named) that their state asks for.

        Only the client's side goes deaf: what the server sends is taken and kept, as evidence.
        """
        for conn in conns or tuple(self._link.connections.values()):
            deaf = bool(conn.silenced) or self._link.mode == "blackhole"
            for sock in (conn.client, conn.server):
                try:
                    if sock is conn.client and deaf:
                        packets.swallow(sock)
                    elif sock is not None and self.loss:
                        packets.lose(sock, self.loss)
                    elif sock is not None:
                        packets.pass_all(sock)
                except OSError:
                    pass  # without filters nothing moves either, only that the kernel goes on to acknowledge

    def _stray_filters(self) -> int:
        """Sockets on which the kernel still has a filter that nothing asks for."""
        if self._link.mode == "blackhole" or self.loss:
            return 0
        found = [self._link.door.sock]
        for conn in self._link.connections.values():
            found += [conn.server] if conn.silenced else [conn.client, conn.server]
        return sum(packets.filtered(sock) for sock in found if sock is not None)

    # -- the other side ---------------------------------------------------------------------------

    def far_end(self, source: int) -> tuple[int, int] | None:
        """(TCP state, bytes without acknowledgement) of the client's own socket, as of the last look.

        States are told as our socket would show them: the client's end of stream as ``CLOSE_WAIT``. None if
        it is gone, or in another network namespace.
        """
        if source not in self._far:
            return None
        state, waiting = self._far[source]
        still = state in (sockets.ESTABLISHED, sockets.CLOSE_WAIT)  # the latter: only the server has ended
        return (sockets.ESTABLISHED if still else sockets.CLOSE_WAIT), waiting
