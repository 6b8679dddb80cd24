"""The tap: one link's listening port, its mode, its connections and its counters."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import TYPE_CHECKING, Any

from backupchaos.links import addresses
from backupchaos.links.connection import Connection
from backupchaos.links.door import Door
from backupchaos.links.ills import Ills
from backupchaos.links.meter import Meter

if TYPE_CHECKING:
    from backupchaos.links.registry import Registry
    from backupchaos.links.toxics import Toxic

MODES = ("refused", "reset", "blackhole", "freeze")
SAMPLE_INTERVAL = 0.05
_SAMPLED = 64
"""Connections of which a sample of totals tells at most."""


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
        self.door = Door(self)
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
        """The listening port, 0 if there is none."""
        return self.door.address.port if self.door.address else 0

    @property
    def countable(self) -> bool:
        """Whether the kernel counts connects that never reach us: TCP's only."""
        return not self.listen.startswith(addresses.UNIX)

    # -- start, stop ------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises ValueError with the reason when the address cannot be had."""
        self.door.open(self.listen)
        self.listen = str(self.door.address)
        self.enabled = True

    def move(self, listen: str, upstream: str) -> None:
        """Stop, with another address from now on."""
        self.come_up_quietly()
        self.stop("moved")
        self.door.remove()
        self.listen, self.upstream, self.mode = listen, upstream, "up"
        self._restall()

    def stop(self, reason: str) -> None:
        """Stop listening and cut the live connections as a killed server would; keep the port."""
        self.enabled = False
        self.door.shut(reason)
        self._cut(reason, rst=False)

    def destroy(self) -> None:
        """Remove everything of this link."""
        self.ills.end()
        self.stop("removed")
        self.door.remove()

    def leave(self) -> None:
        """The process is about to end. The kernel does the rest."""
        if not self.countable:
            self.door.remove()

    def resume_accepting(self) -> None:
        """The event log has room again."""
        if self.mode != "blackhole":
            self.door.accept()

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
        elif mode == "blackhole" and self.enabled:
            self.door.block()
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
        elif mode == "blackhole" and self.door.sock is not None:
            self.registry.attempts.end(self)
            self.ills.refilter()
            self.door.unblock()
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

    # -- connections ------------------------------------------------------------------------------

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
            return bool(self.meter.moved) or self._watched
        if self.meter.moved:
            self._sample()
        self._sampled_at = now
        if self._watched:
            self._watched = self._look()
        return bool(self.meter.moved) or self._watched

    def _sample(self) -> None:
        moved, self.meter.moved = self.meter.moved, set()
        each = {
            number: [flow.passed for flow in self.connections[number].flows]
            for number in sorted(moved)[:_SAMPLED]
            if number in self.connections
        }
        sample: dict[str, Any] = {"up": self.meter.up, "down": self.meter.down, "open": len(self.connections)}
        if each:
            sample["each"] = each
        self.sample("bytes", **sample)

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
