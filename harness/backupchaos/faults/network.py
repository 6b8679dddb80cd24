"""Faults of the link between the job and its repository."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Spec
from backupchaos.history import Event
from backupchaos.model.faults import (
    NetworkBlackhole,
    NetworkDown,
    NetworkLatency,
    NetworkReset,
    NetworkSlow,
)

CAUSE = (
    r"connect|refused|reset|time[d -]?out|\beof\b|broken pipe|network|unreachable|\blinks?\b|\bhost\b"
    r"|connection|lost|closed|ECONN|EPIPE|i/o|no route"
)
MIN_DELAY = 0.1
"""Seconds by which a slow link must have held data up to count as a bite."""


class LinkFault(Fault[Spec]):
    """What all link faults share."""

    mechanism = "link tap"
    needs = frozenset()
    cause = CAUSE

    @property
    def link(self) -> Any:
        """The link to the repository; scenarios with a local repository never get here."""
        if self.ground.link is None:
            raise HarnessBroken(f"fault {self.name} needs a link, but the repository is local")
        return self.ground.link

    def window_events(self, *names: str) -> list[Event]:
        """Link events of these kinds while the fault was in force."""
        start, end = self.window()
        return [
            event
            for event in self.ground.history.of("link")
            if event["ev"] in names and start <= event.t <= end + 0.05
        ]

    def listening(self) -> bool:
        """The kernel shows a listener on the link's port (no connection is made: it would be counted)."""
        listeners = self.ground.sandbox.call("network_stats")["listeners"]
        return any(entry["port"] == self.link.port for entry in listeners)

    def verify_undone(self) -> None:
        """The link's port listens again."""
        if not self.listening():
            raise HarnessBroken(f"the link is still down after {self.spec.kind} was undone")


class Down(LinkFault[NetworkDown]):
    """Live connections are cut; new ones are refused or reset."""

    def apply(self) -> str:
        """Take the link down."""
        self.link.down(self.spec.mode)
        return f"link down, new connections are {self.spec.mode}"

    def verify(self) -> None:
        """Nobody listens on the port any more, if connections are to be refused."""
        if self.spec.mode == "refused" and self.listening():
            raise HarnessBroken("the link still accepts connections")

    def undo(self) -> None:
        """Bring the link up again."""
        self.link.up()

    def bite(self) -> list[str]:
        """Connections that were cut, attempts that were refused."""
        cut = [e for e in self.window_events("close") if "down" in str(e.get("reason", ""))]
        refused = sum(int(e.get("count", 1)) for e in self.window_events("refused"))
        facts = []
        if cut:
            moved = sum(int(e.get("up", 0)) for e in cut)
            facts.append(f"{len(cut)} live connections cut after {moved} bytes sent")
        if refused:
            facts.append(f"{refused} connection attempts refused")
        return facts


class Blackhole(LinkFault[NetworkBlackhole]):
    """Nothing arrives and nothing is refused."""

    def apply(self) -> str:
        """Make the link silent."""
        self._open = self.link.stats().open
        self.link.down("blackhole")
        return "link silent: bytes stop, connections hang"

    def undo(self) -> None:
        """Let the link speak again."""
        self.link.up()

    def bite(self) -> list[str]:
        """Connections that were open and silent, attempts that got no answer."""
        start, end = self.window()
        waiting = sum(int(e.get("count", 1)) for e in self.window_events("refused", "syn_wait"))
        facts = []
        if self._open and end - start >= MIN_DELAY:
            facts.append(f"{self._open} live connections silent for {end - start:.1f} s")
        if waiting:
            facts.append(f"{waiting} connection attempts left without an answer")
        return facts


class Reset(LinkFault[NetworkReset]):
    """Live connections get a reset, once."""

    def apply(self) -> str:
        """Cut what is there, and be up again at once."""
        self.link.down("reset")
        self.link.up()
        return "live connections reset"

    def bite(self) -> list[str]:
        """Connections that were cut."""
        start, _ = self.window()
        cut = [
            e
            for e in self.ground.events("link", since=start - 0.05)
            if e["ev"] == "close" and "down" in str(e.get("reason", ""))
        ]
        return [f"{len(cut)} live connections reset"] if cut else []


class _Toxic(LinkFault[Spec]):
    """A toxic on both directions."""

    mechanism = "toxics on the link"

    def _add(self, kind: str, **attributes: int) -> None:
        self._before = replace(self.link.stats())
        self._toxics = [self.link.toxic(kind, stream, **attributes) for stream in ("upstream", "downstream")]

    def undo(self) -> None:
        """Remove the toxics."""
        self._after = replace(self.link.stats())
        for toxic in self._toxics:
            toxic.remove()

    def moved(self) -> tuple[int, int]:
        """(up, down) bytes that went over the link while the toxics were on."""
        before, after = self._before, self._after
        return after.up_bytes - before.up_bytes, after.down_bytes - before.down_bytes


class Slow(_Toxic[NetworkSlow]):
    """No more than a rate."""

    def apply(self) -> str:
        """Limit both directions."""
        rate = max(1, round(self.spec.rate / 1000))
        self._add("bandwidth", rate=rate)
        return f"{rate} kB/s in each direction of each connection"

    def bite(self) -> list[str]:
        """So many bytes cannot have passed at that rate without being held up."""
        up, down = self.moved()
        held = max(up, down) / self.spec.rate
        return [f"{up} bytes up, {down} down: held up for {held:.2f} s or more"] if held >= MIN_DELAY else []


class Latency(_Toxic[NetworkLatency]):
    """Everything arrives later."""

    def apply(self) -> str:
        """Delay both directions."""
        self._add("latency", latency=round(self.spec.delay * 1000), jitter=round(self.spec.jitter * 1000))
        return f"{self.spec.delay * 1000:g} ms each way"

    def bite(self) -> list[str]:
        """Bytes passed while the delay was on."""
        up, down = self.moved()
        if (up or down) and self.spec.delay > 0:
            return [f"{up} bytes up and {down} down delayed by {self.spec.delay * 1000:g} ms"]
        return []
