"""What all faults of a link share, between the job and its repository or another service.

What the tap does on a fault's behalf bears the fault's name as ``cause`` in the link's events, so that
proof and strays need no guess about time.
"""

from __future__ import annotations

from typing import Any

from backupchaos.errors import BackupChaosError, HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.base import Fault, Ground, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.moments import LAG, job_end
from backupchaos.faults.strangers import MIDDLE, need_own_refusals, surely_ours
from backupchaos.history import Event

CAUSE = (
    r"connect|refused|reset by|\bECONN|\bEPIPE|broken pipe|time[ds]?[ -]?out|deadline exceeded|\beof\b"
    r"|unreachable|no route to host|network|host is down|ssh command exited|\blink \S+ (?:is|was|failed|lost)"
)
STRIKES = ("close", "refused", "fault_hit", "flip", "lost", "name")
"""Link events that show a fault at work."""


class LinkFault(Fault[Spec]):
    """What all link faults share."""

    mechanism = "link tap"
    needs = frozenset()
    cause = CAUSE
    way_out = MIDDLE
    """What to write where refused connects cannot be told from those of strangers."""

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._gone: list[float] = []
        """When each window was verified to be over; later than its end, which is stamped before the undoing."""

    @property
    def link(self) -> Any:
        """The link that the fault names; a scenario without it never gets here."""
        link = self.ground.link_to(self.spec.on_link)
        if link is None:
            raise HarnessBroken(f"fault {self.name} needs a link, but there is none to {self.spec.on_link}")
        return link

    def need_filters(self) -> None:
        """Raise ``MissingCapability`` unless the kernel drops what the link's sockets are sent when told to."""
        if not self.link.filters_packets():
            reason = (
                f"{self.spec.kind}: this kernel drops no packets by socket filters for us on this network"
            )
            raise MissingCapability("packet filters", reason, "see: backupchaos doctor")

    def need_a_count(self) -> None:
        """Raise ``MissingCapability`` where connects that are refused cannot be told from those of strangers."""
        need_own_refusals(self.spec.kind, self.ground.sandbox, self.link, self.way_out)

    def mine(self, *names: str) -> list[Event]:
        """Link events of these kinds that this fault brought about."""
        return [
            event
            for event in self.ground.history.of("link")
            if event["ev"] in names and event.get("cause") == self.name
        ]

    def met(self, *names: str) -> list[Event]:
        """Those of them that the job met: what is tried out after it (lists, restores) proves nothing about it.

        A fault that comes after the job can only be met by what comes after it.
        """
        limit = self._limit()
        return [event for event in self.mine(*names) if event.t <= limit]

    def told(self, *names: str) -> list[Event]:
        """The same of what the tap tells of only later, as when a silence ends: by connections that the job made."""
        limit = self._limit()
        late = {
            (event["link"], event["conn"])
            for event in self.ground.history.of("link")
            if event["ev"] == "open" and event.t > limit
        }
        found = [event for event in self.mine(*names) if (event["link"], event["conn"]) not in late]
        return [event for event in found if event["conn"] or event.t <= limit]  # 0 is the listener itself

    @property
    def after_the_job(self) -> bool:
        """It came when the job had ended."""
        return bool(self.windows) and self.windows[0][0] >= job_end(self.ground.history)

    def _limit(self) -> float:
        """The last moment at which the job can have met it."""
        return float("inf") if self.after_the_job else job_end(self.ground.history) + LAG

    def listening(self) -> bool:
        """The kernel shows a listener on the link's port (no connection is made: it would be counted)."""
        listeners = self.ground.sandbox.call("network_stats")["listeners"]
        return any(entry["port"] == self.link.port for entry in listeners)

    def verify_undone(self) -> None:
        """The tap is in no mode of ours any more, its port listens, and the kernel drops nothing.

        The mode that it is in may be another fault's.
        """
        state = self.link.state()
        if state["cause"] == self.name or (state["mode"] == "up" and not self.listening()):
            raise HarnessBroken(f"the link is still {state['mode']} after {self.spec.kind} was undone")
        if left := state["stray_filters"]:
            raise HarnessBroken(
                f"packets of {left} sockets are still dropped after {self.spec.kind} was undone"
            )
        self.over()

    def holds(self, mode: str) -> None:
        """Raise ``HarnessBroken`` unless the tap is in this mode, and by our order."""
        state = self.link.state()
        if state["mode"] != mode:
            raise HarnessBroken(f"the link is {state['mode']}, not {mode}")
        if state["cause"] != self.name:
            raise HarnessBroken(
                f"the link is {mode} because of {state['cause'] or 'nobody'}, not of {self.name}"
            )

    def over(self) -> None:
        """From now on it must not strike."""
        self._gone.append(self.ground.history.now())

    def strays(self) -> list[str]:
        """What it did outside of all its windows, as the tap tells; and what the tap or Toxiproxy shows again.

        A real Toxiproxy tells of no deed, but lists its toxics."""
        spans = [
            (start, self._gone[number] if number < len(self._gone) else float("inf"))
            for number, (start, _) in enumerate(self.windows)
        ]
        struck = [
            f"{event['ev']} at {event.t:.3f} s on connection {event['conn']}"
            for event in self.mine(*STRIKES)
            if not any(start <= event.t <= end for start, end in spans)
        ]
        return struck + came_back(self)

    def blows(self) -> Blows:
        """When connections were ended or refused, or what they carried was spoilt."""
        return blows("refusal", [e.t for e in (*self.met("close", "flip"), *self._refused())])

    def silences(self) -> Blows:
        """When something waited in vain: seen every 50 ms, and for an attempt to connect at its start."""
        waited = (*self.told("fault_hit"), *self.met("close"), *self._refused())
        return blows("silence", [event.t for event in waited])

    def refusals(self) -> int:
        """Attempts to connect that this fault refused."""
        return sum(int(event["count"]) for event in self._refused())

    def _refused(self) -> list[Event]:
        """The kernel's counter names no port: in a network that the run shares with others it proves nothing,
        nor where another link of the run may be meant."""
        return [event for event in self.met("refused") if surely_ours(event)]

    def need_proof_of_refusals(self) -> None:
        """After the job: as ``need_a_count``, if all that the job can have met of it are such refusals."""
        if self.met("refused") and not self.refusals() and not self.cut():
            self.need_a_count()

    def cut(self) -> list[str]:
        """Connections that this fault ended, in words."""
        ended = self.met("close")
        if not ended:
            return []
        moved = sum(int(event.get("up", 0)) for event in ended)
        return [f"{len(ended)} live connections cut after {moved} bytes sent"]

    def stalled(self) -> list[str]:
        """Connections on which bytes waited in vain, and attempts without an answer, in words."""
        hits = self.told("fault_hit")
        facts = []
        if hits:
            most = max(sum(int(e.get(key, 0)) for key in ("up", "down", "kept")) for e in hits)
            conns = len({event["conn"] for event in hits})
            facts.append(f"{conns} live connections went silent with up to {most} bytes under way")
        if count := self.refusals():
            facts.append(f"{count} connection attempts left without an answer")
        return facts


class Toxic(LinkFault[Spec]):
    """A toxic on both directions, on whatever Toxiproxy server works behind the tap."""

    mechanism = "toxics on the link"

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._toxics: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        self._moved = [0, 0]
        self._connections = 0
        self._counted = False

    def add(self, kind: str, **attributes: int) -> None:
        """Add it; its name is the fault's, with the stream's."""
        self._before, self._counted = self.link.state(), False
        for stream in ("upstream", "downstream"):
            name = f"{self.name}_{stream}"
            self._toxics[name] = self.link.toxic(kind, stream, name=name, **attributes)

    def verify(self) -> None:
        """The server shows both, with the attributes that were asked for."""
        there = self.link.toxics()
        for name, toxic in self._toxics.items():
            if name not in there or there[name].attributes != toxic.attributes:
                raise HarnessBroken(f"the toxic {name} is not on the link")

    def after_job(self) -> None:
        """Count now, if it is in force: what others send from here on is not the job's."""
        if self.begun and not self.after_the_job:
            self._count()

    def undo(self) -> None:
        """Remove both, each even if the other cannot be removed; what passed meanwhile is counted."""
        problems = []
        try:
            self._count()
        except BackupChaosError as error:
            problems.append(str(error))
        for toxic in self._toxics.values():
            try:
                toxic.remove()
            except BackupChaosError as error:
                problems.append(str(error))
        if problems:
            raise HarnessBroken("; ".join(problems))

    def _count(self) -> None:
        """What passed meanwhile, once; nothing did if the link could not even be asked before."""
        if not self._before or self._counted:
            return
        after = self.link.state()
        for index, key in enumerate(("up", "down")):
            self._moved[index] += after[key] - self._before[key]
        fresh = after["accepted"] - self._before["accepted"]
        self._connections = max(self._connections, self._before["open"] + fresh)
        self._counted = True

    def verify_undone(self) -> None:
        """The server shows neither."""
        left = sorted(self._toxics.keys() & self.link.toxics().keys())
        if left:
            raise HarnessBroken(f"still on the link: {', '.join(left)}")
        self.over()

    def mine(self, *names: str) -> list[Event]:
        """What these toxics did; only the embedded server tells."""
        by = {f"toxic:{name}" for name in self._toxics}
        return [e for e in self.ground.history.of("link") if e["ev"] in names and e.get("by") in by]

    def blows(self) -> Blows:
        """When something was late; all the time where the server does not tell."""
        hits = [event.t for event in self.met("fault_hit")]
        return blows("burden", hits or self.spans())

    def lasted(self) -> float:
        """Seconds in which the job can have met them."""
        now, limit = self.ground.history.now(), self._limit()
        return sum(max(0.0, min(now if end is None else end, limit) - start) for start, end in self.windows)

    def moved(self) -> tuple[int, int]:
        """(up, down) bytes that went over the link while the toxics were on."""
        up, down = self._moved
        return up, down
