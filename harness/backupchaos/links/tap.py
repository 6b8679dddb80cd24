"""The tap: one link's listening port, its mode, its connections and its counters."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from socket import socket
from typing import TYPE_CHECKING, Any

from backupchaos.links import addresses, sockets
from backupchaos.links.addresses import Address
from backupchaos.links.connection import Connection
from backupchaos.links.ills import Ills
from backupchaos.links.listener import Accepted, Listener
from backupchaos.links.meter import Meter

if TYPE_CHECKING:
    from backupchaos.links.registry import Registry
    from backupchaos.links.toxics import Toxic

MODES = ("refused", "reset", "blackhole", "freeze")
SAMPLE_INTERVAL = 0.05
_ACCEPT_BURST = 64


def _listener(where: Address) -> Listener:
    if not where.path:
        return Listener(where)
    from backupchaos.links.unixlistener import UnixListener

    return UnixListener(where)


class Tap:
    """A link as ``linkd`` sees it; also a *proxy* of the Toxiproxy API.

    ``mode`` is ``up`` or one of ``MODES``. ``held`` is set by a trigger. While one of them
    stalls the link, ``stalled`` names it. ``cause`` is the name of what ordered the mode.
    """

    def __init__(self, registry: Registry, name: str, listen: str, upstream: str) -> None:
        self.registry = registry
        self.loop: AbstractEventLoop = registry.loop
        self.log = registry.log
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.enabled = False
        self.mode = "up"
        self.cause = ""
        self.held = False
        self.stalled = ""
        self.toxics: dict[str, list[Toxic]] = {"upstream": [], "downstream": []}
        self.connections: dict[int, Connection] = {}
        self.meter = Meter(self)
        self.fail_next = 0
        self.accepted = 0
        self._listener: Listener | None = None
        self._accepting = False
        self._sampled_at = 0.0
        self._watched = False
        self.ills = Ills(self)

    # -- events ---------------------------------------------------------------------------------

    def emit(self, ev: str, conn: int = 0, **data: Any) -> None:
        """A state event of this link."""
        self.log.emit(ev, self.name, conn, **data)

    def sample(self, ev: str, conn: int = 0, **data: Any) -> None:
        """An event that may be dropped when the reader is far behind."""
        self.log.sample(ev, self.name, conn, **data)

    @property
    def port(self) -> int:
        """The listening port, 0 if the link was never started."""
        return self._listener.address.port if self._listener else 0

    @property
    def address(self) -> Address | None:
        """Where it listens, or did; None if it was never started."""
        return self._listener.address if self._listener else None

    @property
    def countable(self) -> bool:
        """Whether the kernel counts connects that never reach us: TCP's only."""
        return not self.listen.startswith(addresses.UNIX)

    # -- start, stop ------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises ValueError with the reason when the address cannot be had."""
        where = addresses.to_listen(self.listen)
        try:
            if self._listener is None:
                self._listener = _listener(where)
                self.listen = str(self._listener.address)
            self._listener.open()
        except OSError as error:
            raise ValueError(addresses.problem(where, error)) from None
        self.enabled = True
        self._accept_again()

    def move(self, listen: str, upstream: str) -> None:
        """Stop, with another address from now on."""
        self.come_up_quietly()
        self.stop("moved")
        self._release_port()
        self.listen, self.upstream, self.mode = listen, upstream, "up"
        self._restall()

    def stop(self, reason: str) -> None:
        """Stop listening and cut the live connections as a killed server would; keep the port."""
        self.enabled = False
        self._refuse_waiting(reason)
        self._stop_accepting()
        if self._listener is not None:
            self._listener.shut()
        self._cut(reason, rst=False)

    def destroy(self) -> None:
        """Remove everything of this link."""
        self.ills.end()
        self.stop("removed")
        self._release_port()

    def leave(self) -> None:
        """The process is about to end. The kernel does the rest."""
        if not self.countable:
            self._release_port()

    def _release_port(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    # -- modes ------------------------------------------------------------------------------------

    def blame(self) -> dict[str, Any]:
        """What an event that the present mode brings about says of its cause."""
        return {"cause": self.cause} if self.cause else {}

    def go_down(self, mode: str, cause: str = "") -> None:
        """Make the link unreachable in one of the ``MODES``; a second call changes the mode.

        Raises ValueError where another cause has it down already: its ``up`` would end this one too.
        """
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}: one of {', '.join(MODES)}")
        if self.mode != "up" and self.cause and cause not in ("", self.cause):
            raise ValueError(f"the link is {self.mode} already, because of {self.cause}")
        if self.mode == mode:
            return
        if self.mode != "up":
            self.come_up()
        self.mode, self.cause = mode, cause
        totals = {"up": self.meter.up, "down": self.meter.down}
        self.emit("down", mode=mode, open=len(self.connections), **totals, **self.blame())
        if mode == "refused":
            if self.countable:
                self.registry.refusals.begin(self)
            self.stop("down")
        elif mode == "reset":
            self._cut("down", rst=True)
        elif mode == "blackhole" and self._listener is not None and self.enabled:
            self._stop_accepting()
            while (accepted := self._listener.accept()) is not None:
                self._admit(accepted)
            self._listener.block()
            if self.countable:
                self.registry.attempts.begin(self)
            self.ills.refilter()
        self._restall()

    def come_up(self, cause: str = "") -> None:
        """Undo ``go_down``; of one cause only, if it is named.

        Raises ValueError when the address cannot be listened on again.
        """
        mode = self.mode
        if mode == "up" or (cause and cause != self.cause):
            return
        self.mode = "up"
        counted: dict[str, Any] = {}
        if mode == "refused":
            counted = self.registry.refusals.end(self)
            self.start()
        elif mode == "blackhole" and self._listener is not None:
            self.registry.attempts.end(self)
            self.ills.refilter()
            for accepted in self._listener.unblock():
                self._admit(accepted)
            self._accept_again()
        self.emit("up", was=mode, **counted, **self.blame())
        self.cause = ""
        self._restall()

    def come_up_quietly(self) -> None:
        """Leave the current mode without listening again: the link is about to be removed."""
        if self.mode == "refused":
            self.registry.refusals.end(self)
        elif self.mode == "blackhole":
            self.registry.attempts.end(self)
        self.mode, self.cause = "up", ""

    def hold(self) -> None:
        """Stop forwarding on all connections until ``release``; nothing is lost."""
        self.held = True
        self._restall()

    def release(self) -> None:
        """End a ``hold``."""
        if self.held:
            self.held = False
            self.emit("release")
            self._restall()

    def _restall(self) -> None:
        before = self.stalled
        self.stalled = self.mode if self.mode in ("blackhole", "freeze") else "hold" if self.held else ""
        if bool(before) != bool(self.stalled):
            for conn in list(self.connections.values()):
                conn.refresh()
            self.watch()

    def _cut(self, reason: str, *, rst: bool) -> None:
        for conn in list(self.connections.values()):
            if reason == "down":
                conn.hit(f"down:{self.mode}", "cut", **self.blame())
            conn.close(reason, rst=rst, **self.blame())

    @property
    def listening(self) -> socket | None:
        """The listening socket; None while the link refuses."""
        return self._listener.sock if self._listener else None

    # -- accepting --------------------------------------------------------------------------------

    def _accept_again(self) -> None:
        if self._listener is not None and self._listener.sock is not None and not self._accepting:
            self._accepting = True
            self.registry.watcher.reading(self._listener.sock.fileno(), self._acceptable)

    def _stop_accepting(self) -> None:
        if self._accepting and self._listener is not None and self._listener.sock is not None:
            self.registry.watcher.reading(self._listener.sock.fileno(), None)
        self._accepting = False

    def resume_accepting(self) -> None:
        """The event log has room again."""
        if self.mode != "blackhole":
            self._accept_again()

    def _acceptable(self) -> None:
        assert self._listener is not None
        for _ in range(_ACCEPT_BURST):
            if self.log.full:
                self._stop_accepting()
                return
            accepted = self._listener.accept()
            if accepted is None:
                return
            self._admit(accepted)
            if not self._accepting:
                return

    def _refuse_waiting(self, reason: str) -> None:
        """Clients in the accept queue are connected already; closing the listener resets them."""
        while self._listener is not None and (accepted := self._listener.accept()) is not None:
            self.accepted += 1
            self.emit("open", self.accepted, peer_port=accepted.port)
            conn = Connection(self, self.accepted, accepted.sock, accepted.port)
            self.connections[conn.number] = conn
            conn.hit(f"down:{self.mode}", "cut", **self.blame())
            conn.close(reason, rst=True, **self.blame())

    def _admit(self, accepted: Accepted) -> None:
        self.accepted += 1
        number = self.accepted
        reject = "reset" if self.mode == "reset" else "fail_first" if self.fail_next else ""
        if reject:
            self.fail_next -= reject == "fail_first"
            sockets.close_with_rst(accepted.sock)
            said = {"mode": reject, "count": 1, "exact": True, "peer_port": accepted.port}
            self.emit("refused", number, **said, **self.blame())
            return
        self.emit("open", number, peer_port=accepted.port)
        try:
            conn = Connection(self, number, accepted.sock, accepted.port)
        except OSError as error:
            accepted.sock.close()
            self.emit("close", number, reason="client_rst", up=0, down=0, error=str(error))
            return
        self.connections[number] = conn
        conn.dial()

    def equip(self, conn: Connection) -> None:
        """Give a new connection the stages of the link's toxics, and its troubles."""
        if self.toxics["upstream"] or self.toxics["downstream"]:
            from backupchaos.links.chain import equip

            equip(self, conn)
        self.ills.admit(conn)

    def closed(self, conn: Connection, **data: Any) -> None:
        """A connection is over."""
        self.connections.pop(conn.number, None)
        self.emit("close", conn.number, **data, total_up=self.meter.up, total_down=self.meter.down)

    # -- housekeeping -----------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at sockets that are not polled, from the next tick on."""
        if not self._watched:
            self._watched = True
            self.registry.wake()

    def tick(self, now: float) -> bool:
        """Sample totals, look after paused sockets; True while another tick is needed."""
        if now - self._sampled_at < SAMPLE_INTERVAL - 0.002:
            return self.meter.moved or self._watched
        if self.meter.moved:
            self.meter.moved = False
            self.sample("bytes", up=self.meter.up, down=self.meter.down, open=len(self.connections))
        self._sampled_at = now
        if self._watched:
            self._watched = self._look()
        return self.meter.moved or self._watched

    def _look(self) -> bool:
        """Look after everything, not only up to the first that wants another look."""
        looks = self.ills.look()
        looks += [conn.look() for conn in list(self.connections.values())]
        return any(looks)

    def describe(self) -> dict[str, Any]:
        """The link as a proxy of the Toxiproxy API."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "toxics": [toxic.describe() for stream in self.toxics.values() for toxic in stream],
        }
