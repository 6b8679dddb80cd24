"""Links that cut, flap, lose, slice or corrupt."""

from __future__ import annotations

from typing import Any, ClassVar

from backupchaos.durations import format_duration
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.on_link import CAUSE, LinkFault, Toxic
from backupchaos.links.links import TroubleKind
from backupchaos.model.faults.network import (
    NetworkCorrupt,
    NetworkCutAfter,
    NetworkFlap,
    NetworkHalfOpen,
    NetworkLoss,
    NetworkSlice,
)
from backupchaos.units import format_size

INTEGRITY = (
    r"corrupt|\bmac\b|checksum|digest|\bhash|integrity|authentication (?:code|tag)|bad packet"
    r"|packet (?:length|size|integrity)|mismatch|does ?n.t match|malformed|signature|bad request"
)
"""What a tool says that found a flipped bit; one that does not name it at least tells of the lost connection."""


class _Trouble(LinkFault[Spec]):
    """A trouble that the tap itself makes, whichever Toxiproxy server works behind it."""

    trouble: ClassVar[TroubleKind]

    def bring(self, **arguments: float | None) -> None:
        """Bring the trouble into force under the fault's name."""
        self.link.afflict(self.trouble, self.name, **arguments)

    def shown(self) -> dict[str, Any] | None:
        """What the tap says of the trouble now; None if it has none of that name."""
        there: list[dict[str, Any]] = self.link.state()["troubles"]
        return next((item for item in there if item["name"] == self.name), None)

    def verify(self) -> None:
        """The tap has it."""
        self.seen()

    def seen(self) -> dict[str, Any]:
        """What the tap says of it; raises ``HarnessBroken`` if it knows nothing."""
        shown = self.shown()
        if shown is None:
            raise HarnessBroken(f"the tap knows nothing of {self.spec.kind}")
        return shown

    def undo(self) -> None:
        """Take it away."""
        self.link.relieve(self.name)

    def verify_undone(self) -> None:
        """The tap has it no more, and its port listens."""
        if self.shown() is not None:
            raise HarnessBroken(f"the tap still has {self.spec.kind}")
        super().verify_undone()


class CutAfter(_Trouble[NetworkCutAfter]):
    """Each connection is reset after so many bytes, as by a box on the way that has enough of it."""

    mechanism = "link tap, exact to the byte"
    trouble = "cut_after"

    def apply(self) -> str:
        """Set the limit, for live connections from now on."""
        self.bring(bytes=self.spec.size, connections=self.spec.connections)
        count = self.spec.connections
        which = "each connection" if count is None else f"the first {count} to get so far"
        return f"reset after {format_size(self.spec.size)} sent: {which}"

    def bite(self) -> list[str]:
        """Connections that were reset."""
        count = len(self.met("close"))
        return [f"{count} connections reset after {self.spec.size} bytes each"] if count else []


class Flap(_Trouble[NetworkFlap]):
    """The link comes and goes, timed by the link process itself."""

    mechanism = "link tap on its own timers"
    trouble = "flap"

    def apply(self) -> str:
        """Begin with the link away."""
        self.bring(down=self.spec.down, up=self.spec.up)
        return f"by turns {format_duration(self.spec.down)} away and {format_duration(self.spec.up)} there"

    def after_job(self) -> None:
        """What was refused must be known to be the job's."""
        self.need_proof_of_refusals()

    def verify(self) -> None:
        """The tap's timers run."""
        if not self.seen()["running"]:
            raise HarnessBroken("the link does not flap")

    def bite(self) -> list[str]:
        """Connections that were cut, attempts that were refused, and how often the link went."""
        count = self.refusals()
        facts = [*self.cut(), *([f"{count} connection attempts refused"] if count else [])]
        return [*facts, f"the link went away {len(self.mine('down'))} times"] if facts else []


class Loss(_Trouble[NetworkLoss]):
    """The kernel drops packets at the tap's sockets; TCP of both sides does the rest."""

    mechanism = "socket filter in the kernel on the link's own sockets (BPF, the kernel's dice)"
    trouble = "loss"
    _resent = 0
    _base = 0

    def available(self) -> None:
        """The kernel must obey the filter."""
        self.need_filters()

    def apply(self) -> str:
        """Set the share, for live connections too."""
        self._base = self._retransmitted()
        self.bring(share=self.spec.share)
        return f"{self.spec.share:.1%} of the packets to and from the server are lost"

    def _retransmitted(self) -> int:
        """TCP segments sent again in the sandbox's own network so far; nobody knows which link's, if there are more."""
        if "network" not in self.ground.sandbox.capabilities or self.ground.tiers:
            return 0
        return int(self.ground.sandbox.call("network_stats")["tcp"]["RetransSegs"])

    def verify(self) -> None:
        """The kernel shows the filter on every socket of the link."""
        shown = self.seen()
        if not shown["sockets"] or shown["filtered"] != shown["sockets"]:
            raise HarnessBroken(f"{shown['filtered']} of {shown['sockets']} sockets have the filter")

    def undo(self) -> None:
        """Take the filters away."""
        super().undo()
        self._resent += self._retransmitted() - self._base

    def bite(self) -> list[str]:
        """Packets that the kernel counted as dropped, by socket."""
        lost = self.told("lost")
        if not lost:
            return []
        count, conns = sum(int(e["count"]) for e in lost), len({e["conn"] for e in lost})
        resent = f", {self._resent} sent again" if self._resent else ""
        return [f"{count} packets of {conns} connections dropped by the kernel{resent}"]

    def blows(self) -> Blows:
        """The kernel counts, and tells no times; what was lost comes again, only later."""
        return blows("burden", self.spans())


class HalfOpen(_Trouble[NetworkHalfOpen]):
    """Live connections lead nowhere, and nobody says so."""

    mechanism = "link tap: live connections are not forwarded, and a socket filter drops all they send"
    trouble = "half_open"

    def available(self) -> None:
        """The kernel must obey the filter."""
        self.need_filters()

    def apply(self) -> str:
        """Cut the live connections off without a word."""
        self.bring()
        return "live connections get no answer and no acknowledgement; new ones work"

    def verify(self) -> None:
        """The kernel hears none of them, and new connections are accepted."""
        shown = self.seen()
        if shown["silent"] != shown["dead"]:
            raise HarnessBroken(f"only {shown['silent']} of {shown['dead']} connections are silent")
        if self.link.state()["mode"] == "up" and not self.listening():
            raise HarnessBroken("the link accepts no new connections")

    def verify_undone(self) -> None:
        """The dead connections are gone."""
        if left := self.link.state()["silenced"]:
            raise HarnessBroken(f"{left} dead connections are still there")
        super().verify_undone()

    def bite(self) -> list[str]:
        """Bytes that waited on the dead connections."""
        return self.stalled()

    def blows(self) -> Blows:
        """Nothing is refused, until the dead connections are reset."""
        return self.silences()


class Slice(Toxic[NetworkSlice]):
    """Data arrive in small pieces."""

    server_tells = True

    def apply(self) -> str:
        """Cut both directions into pieces."""
        size = max(1, self.spec.size)
        self.add(
            "slicer", average_size=size, size_variation=size // 2, delay=round(self.spec.delay * 1_000_000)
        )
        return f"pieces of about {format_size(size)}, {format_duration(self.spec.delay)} apart"

    def bite(self) -> list[str]:
        """Chunks that were cut."""
        up, down = self.moved()
        cut = [e for e in self.met("fault_hit") if e.get("what") == "sliced"]
        if not cut:
            return []
        largest = max(int(e["pieces"]) for e in cut)
        words = f", one chunk into {largest} pieces"
        return [f"{up} bytes up and {down} down cut into pieces of about {self.spec.size}{words}"]


class Corrupt(_Trouble[NetworkCorrupt]):
    """Bits flip above TCP's own checksum, as in a bad proxy or bad memory."""

    mechanism = "link tap, at places drawn from the seed"
    trouble = "corrupt"
    cause = f"{INTEGRITY}|{CAUSE}"

    def apply(self) -> str:
        """Draw the places for live connections; new ones get theirs when they come."""
        self.bring(bits=self.spec.bits)
        return f"{self.spec.bits} bits of what each connection sends flip, not among its first 4 KiB"

    def bite(self) -> list[str]:
        """Each flip as the tap made it."""
        flips = self.met("flip")
        if not flips:
            return []
        first, conns = flips[0], len({e["conn"] for e in flips})
        where = (
            f"connection {first['conn']} byte {first['offset']} {first['was']:#04x} to {first['now']:#04x}"
        )
        return [f"{len(flips)} bits flipped on {conns} connections, first: {where}"]


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "network.cut_after": CutAfter,
    "network.flap": Flap,
    "network.loss": Loss,
    "network.half_open": HalfOpen,
    "network.slice": Slice,
    "network.corrupt": Corrupt,
}
