"""Links that are down, silent, slow or late."""

from __future__ import annotations

from backupchaos.durations import measured
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Ground
from backupchaos.faults.blows import Blows
from backupchaos.faults.on_link import LinkFault, Toxic
from backupchaos.faults.strangers import MIDDLE
from backupchaos.model.faults.network import (
    NetworkBlackhole,
    NetworkDown,
    NetworkLatency,
    NetworkReset,
    NetworkSlow,
)

MIN_DELAY = 0.1
"""Seconds by which a slow link must have held data up to count as a bite."""


class Down(LinkFault[NetworkDown]):
    """Live connections are cut; new ones are refused or reset. Where there is no network at all: ``network_unplugged``."""

    ways = ("refused", "reset", "unreachable")
    way_key = "mode"
    way_out = f"write 'mode: reset', which the link sees itself, or {MIDDLE}"

    def __new__(cls, name: str, spec: NetworkDown, ground: Ground) -> Down:
        """The class for the mode."""
        if spec.mode == "unreachable":
            from backupchaos.faults.network_unplugged import Unplugged

            return super().__new__(Unplugged)
        return super().__new__(cls)

    def available(self) -> None:
        """At the start there is no live connection: refusals are all there will be."""
        if self.spec.mode == "refused" and self.spec.when.start:
            self.need_a_count()

    def after_job(self) -> None:
        """What was refused must be known to be the job's."""
        self.need_proof_of_refusals()

    def apply(self) -> str:
        """Take the link down."""
        self.link.down(self.spec.mode, cause=self.name)
        return f"link down, new connections are {self.spec.mode}"

    def verify(self) -> None:
        """The tap is down, and nobody listens on the port any more, if connections are to be refused."""
        self.holds(self.spec.mode)
        if self.spec.mode == "refused" and self.listening():
            raise HarnessBroken("the link still accepts connections")

    def undo(self) -> None:
        """Bring the link up again."""
        self.link.up(cause=self.name)

    def bite(self) -> list[str]:
        """Connections that were cut, attempts that were refused."""
        count = self.refusals()
        return [*self.cut(), *([f"{count} connection attempts refused"] if count else [])]


class Blackhole(LinkFault[NetworkBlackhole]):
    """Nothing arrives and nothing is refused."""

    mechanism = (
        "link tap: nothing is forwarded, a socket filter drops packets, a full queue leaves connects waiting"
    )

    def apply(self) -> str:
        """Make the link silent."""
        self.link.down("blackhole", cause=self.name)
        return "link silent: nothing is acknowledged, connections hang"

    def verify(self) -> None:
        """The tap forwards nothing."""
        self.holds("blackhole")

    def undo(self) -> None:
        """Let the link speak again; TCP finds out by itself."""
        self.link.up(cause=self.name)

    def bite(self) -> list[str]:
        """Bytes that waited, attempts that got no answer."""
        return self.stalled()

    def blows(self) -> Blows:
        """Nothing is refused."""
        return self.silences()


class Reset(LinkFault[NetworkReset]):
    """Live connections get a reset, once."""

    def apply(self) -> str:
        """Cut what is there; new connections work at once."""
        self.link.reset(cause=self.name)
        self.over()
        return "live connections reset"

    def verify(self) -> None:
        """The link is up again."""
        if self.link.state()["mode"] != "up":
            raise HarnessBroken("the link did not come up again")

    def bite(self) -> list[str]:
        """Connections that were reset."""
        return self.cut()


class Slow(Toxic[NetworkSlow]):
    """No more than a rate."""

    @property
    def kilobytes(self) -> int:
        """The rate as the server is told: in thousands of bytes a second."""
        return max(1, round(self.spec.rate / 1000))

    def apply(self) -> str:
        """Limit both directions."""
        self.add("bandwidth", rate=self.kilobytes)
        return f"{self.kilobytes} kB/s in each direction of each connection"

    def bite(self) -> list[str]:
        """So many bytes cannot have passed at that rate, on so many connections, without being held up."""
        up, down = self.moved()
        held = max(up, down) / (self.kilobytes * 1000) / max(1, self._connections)
        held = min(held, self.lasted())  # a burst that passed at once was held up no longer than this
        return (
            [f"{up} bytes up, {down} down: held up for {measured(held)} or more"] if held >= MIN_DELAY else []
        )


class Latency(Toxic[NetworkLatency]):
    """Everything arrives later."""

    def apply(self) -> str:
        """Delay both directions."""
        delay, jitter = round(self.spec.delay * 1000), round(self.spec.jitter * 1000)
        self.add("latency", latency=delay, jitter=jitter)
        return f"{delay} ms each way" + (f", {jitter} ms more or less" if jitter else "")

    def bite(self) -> list[str]:
        """Bytes passed while the delay was on, and the server says that it held them back, if it says anything."""
        up, down = self.moved()
        if self.link.tells_of_toxics and not any(e["what"] == "delayed" for e in self.met("fault_hit")):
            return []
        if (up or down) and self.spec.delay > 0:
            return [f"{up} bytes up and {down} down delayed by {round(self.spec.delay * 1000)} ms"]
        return []


MECHANISMS = {
    "network.down": Down,
    "network.blackhole": Blackhole,
    "network.reset": Reset,
    "network.slow": Slow,
    "network.latency": Latency,
}
