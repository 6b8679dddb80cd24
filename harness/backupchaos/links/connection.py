"""One connection through a link: the client's socket, the upstream's socket, two flows."""

from __future__ import annotations

import errno
import socket
from asyncio import AbstractEventLoop
from typing import TYPE_CHECKING, Any

from backupchaos.links import packets, sockets
from backupchaos.links.dialling import Dial
from backupchaos.links.flow import Direction, Flow

if TYPE_CHECKING:
    from backupchaos.links.tap import Tap

HIT_INTERVAL = 0.05
_LAST_WORDS = 1 << 23


class Connection:
    """Accepted, dialled, forwarded, closed; each step leaves an event."""

    def __init__(self, link: Tap, number: int, client: socket.socket, peer_port: int) -> None:
        self.link = link
        self.loop: AbstractEventLoop = link.loop
        self.watcher = link.registry.watcher
        self.number = number
        self.client = client
        self.peer_port = peer_port
        self.server: socket.socket | None = None
        self.flows: tuple[Flow, ...] = ()
        self.closed = False
        self._started = self.loop.time()
        self._first_eof: Direction | None = None
        self._dial: Dial | None = None
        self._hits: dict[str, float] = {}
        self._hung_up = False
        self.silenced = ""
        """What has cut this connection off, in both directions and without a word."""
        self._silenced_by = ""
        self._far_known = False
        """The client's own socket was seen: it is in this network namespace."""
        client.setblocking(False)

    # -- dialling -------------------------------------------------------------------------------

    def dial(self) -> None:
        """Connect to the upstream."""
        self._dial = Dial(self.link.registry, self._reached, self._unreachable)
        self._dial.begin(self.link.upstream)

    def _reached(self, server: socket.socket) -> None:
        self.server, self._dial = server, None
        self.link.emit("dial_ok", self.number, ms=self._age())
        self.flows = (Flow(self, "up", self.client, server), Flow(self, "down", server, self.client))
        if self.stalled:
            self.link.ills.refilter(self)
        self.link.equip(self)
        for flow in self.flows:
            flow.update()
        self.flows[0].try_now()

    def _unreachable(self, why: str) -> None:
        self.link.emit("dial_fail", self.number, error=why, ms=self._age())
        self.close("dial_fail", drain=True)

    def _age(self) -> float:
        return round((self.loop.time() - self._started) * 1000, 3)

    # -- what the flows report --------------------------------------------------------------------

    def first_byte(self, direction: Direction) -> None:
        """The first data of a direction has arrived."""
        self.link.emit("first_byte", self.number, dir=direction)

    def source_eof(self, direction: Direction) -> None:
        """A peer has ended its stream."""
        self._first_eof = self._first_eof or direction
        self.link.emit("eof", self.number, dir=direction)

    def flow_ended(self) -> bool:
        """A direction has come to its end; when both have, the connection is over: true."""
        over = all(flow.finished for flow in self.flows)
        if over:
            self.close("client_fin" if self._first_eof == "up" else "upstream_fin")
        return over

    def peer_gone(self, flow: Flow, error: OSError, *, wrote: bool) -> None:
        """Reading from the source, or writing to the sink, failed: that side was reset."""
        client_side = (flow.direction == "up") != wrote
        if wrote:
            # What the peer said before it hung up is still in the receive queue; a direct
            # connection would deliver it (an early HTTP error answer, for example).
            self._last_words(self.flows[0] if client_side else self.flows[1])
        if not self.closed:
            code = errno.errorcode.get(error.errno or 0, "unknown")
            self.close("client_rst" if client_side else "upstream_rst", rst=True, error=code)

    def _last_words(self, flow: Flow) -> None:
        taken = 0
        try:
            while taken < _LAST_WORDS and not flow.src_eof and not self.closed:
                data = flow.src.recv(1 << 16)
                if not data:
                    return
                taken += len(data)
                flow.received += len(data)
                if flow.stages:
                    flow.stages[0].feed(data, self.loop.time())
                else:
                    flow.feed(data, 0.0)
        except OSError:
            return

    def hit(self, by: str, what: str, **data: Any) -> None:
        """Evidence that a fault touched this connection; rate-limited after the first."""
        now = self.loop.time()
        last = self._hits.get(by)
        if last is None:
            self._hits[by] = now
            self.link.emit("fault_hit", self.number, by=by, what=what, first=True, **data)
        elif now - last >= HIT_INTERVAL:
            self._hits[by] = now
            self.link.sample("fault_hit", self.number, by=by, what=what, **data)

    # -- state of the link ------------------------------------------------------------------------

    @property
    def stalled(self) -> str:
        """What keeps everything from moving; empty if nothing does."""
        return self.silenced or self.link.stalled

    @property
    def deaf(self) -> bool:
        """The kernel hears nothing of the client any more."""
        return packets.filtered(self.client)

    def silence(self, by: str, cause: str) -> None:
        """Cut it off until it is closed. Raises OSError if the kernel has no socket filters."""
        packets.swallow(self.client)
        self.silenced, self._silenced_by = by, cause
        for flow in self.flows:
            flow.update()
        self.link.watch()

    def refresh(self) -> None:
        """The link was stalled or released: move on, or stop."""
        for flow in self.flows:
            if self.closed:
                return
            flow.update()
            if not self.stalled:
                flow.flush()

    def look(self) -> bool:
        """Check on sockets that nobody polls; True while this needs repeating."""
        if self.closed or not self.flows or self.server is None:
            return False
        if self.stalled:
            self._look_stalled()
            return True
        paused = False
        for flow in self.flows:
            if flow.finished or flow._reading:
                continue
            paused = True
            if sockets.tcp_state(flow.src) == sockets.CLOSED:
                self.peer_gone(flow, OSError(errno.ECONNRESET, "reset"), wrote=False)
                return False
        return paused

    def _look_stalled(self) -> None:
        assert self.server is not None
        state, unheard = sockets.tcp_state(self.client), 0
        if self.silenced or self.link.mode == "blackhole":
            # Nothing comes through to our socket any more, so the client's own is asked.
            found = self.link.ills.far_end(self.peer_port)
            self._far_known = self._far_known or found is not None
            state, unheard = found or (sockets.CLOSED if self._far_known else state, 0)
        up, down = sockets.unread(self.client) + unheard, sockets.unread(self.server)
        kept = sum(flow.pending_bytes for flow in self.flows)
        if up or down or kept:
            self.hit(self.stalled, "stalled", up=up, down=down, kept=kept, **self._blame())
        if not self._hung_up and state in (sockets.CLOSED, sockets.CLOSE_WAIT) and not self.flows[0].src_eof:
            self._hung_up = True
            how = "rst" if state == sockets.CLOSED else "fin"
            self.link.emit("hangup", self.number, dir="up", how=how, during=self.stalled, **self._blame())

    def _blame(self) -> dict[str, Any]:
        return {"cause": self._silenced_by} if self._silenced_by else self.link.blame()

    def close(self, reason: str, *, rst: bool = False, drain: bool = False, **data: Any) -> None:
        """End both sides: with FIN (as a program that exits) or RST; idempotent."""
        if self.closed:
            return
        self.closed = True
        self.link.ills.leave(self)
        if self._dial is not None:
            self._dial.abandon()
            self._dial = None
        # Nothing refers to itself in a circle then, and all of it goes without a collector.
        flows, self.flows = self.flows, ()
        for flow in flows:
            self.watcher.forget(flow.in_fd)
            flow.stop()
        for sock in (self.client, self.server):
            if sock is not None and rst:
                sockets.close_with_rst(sock)
            elif sock is not None:
                sockets.close_with_fin(sock, drain=drain)
        totals = {flow.direction: flow.passed for flow in flows}
        lost = {f"lost_{flow.direction}": flow.lost for flow in flows if flow.lost}
        self.link.closed(
            self,
            reason=reason,
            up=totals.get("up", 0),
            down=totals.get("down", 0),
            ms=self._age(),
            rst=rst,
            **lost,
            **data,
        )
