"""When each fault starts and ends: a pure data structure, stepped with facts.

No clock is read and nothing sleeps here. The engine collects facts about the job and asks
which faults are due; tests step the same schedule with made-up facts. The same scenario,
seed and facts always give the same actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from backupchaos.model.faults import FaultSpec
from backupchaos.model.patterns import matches
from backupchaos.model.triggers import CallPoint, Trigger


@dataclass
class Facts:
    """What is known about the running job.

    ``now`` is seconds since its start; ``bytes`` is how much went over the link to the repository or onto
    its disk, ``tiers`` how much went to each other service; ``attempts`` counts from 1; ``lines`` are log
    lines since the last step.
    """

    now: float = 0.0
    bytes: int = 0
    tiers: dict[str, int] = field(default_factory=dict)
    attempts: int = 1
    states: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    """Call triggers that have been reached, as ``call_key`` names them."""
    started: bool = False
    exited: bool = False
    """The job's process has exited; faults may still act on what it left."""
    ended: bool = False

    def moved(self, tier: str) -> int:
        """How much went to a service; to the repository, if the name is empty."""
        return self.tiers.get(tier, 0) if tier else self.bytes


class Status(Enum):
    """A fault waits, is in force, or is over."""

    WAITING = "waiting"
    ACTIVE = "active"
    OVER = "over"


@dataclass(frozen=True)
class Action:
    """Apply or undo one fault."""

    what: Literal["apply", "undo"]
    name: str


def call_key(fault: str, part: Literal["when", "until"]) -> str:
    """The name of the system call rule behind a call trigger."""
    return f"trigger.{fault}.{part}"


@dataclass
class _Entry:
    name: str
    spec: FaultSpec
    status: Status = Status.WAITING
    since: float = 0.0
    count: int = 0
    """How often it has started."""
    number: int = 0
    """Of its last start among all starts: several may come at the same moment."""

    def rest(self) -> Status:
        """What follows an end: waiting for the next time, if there is one."""
        spec = self.spec
        again = spec.every is not None and (spec.times is None or self.count < spec.times)
        return Status.WAITING if again else Status.OVER

    def counts(self, trigger: Trigger) -> str:
        """Whose bytes a trigger counts: of the service that the fault names, else of the repository (empty).

        A share is one of the job's new data, and those go to the repository, whatever the fault acts on.
        """
        return self.spec.tier if trigger.bytes is not None else ""

    def again_at(self) -> float | None:
        """When a repeated fault is due again; None before its first start."""
        return self.since + self.spec.every if self.count and self.spec.every is not None else None


class Schedule:
    """The faults of one job. ``expected_bytes`` is what ``at: 100%`` stands for."""

    def __init__(self, faults: Mapping[str, FaultSpec], expected_bytes: int) -> None:
        self.expected_bytes = expected_bytes
        self._entries = {name: _Entry(name, spec) for name, spec in faults.items()}
        self._starts_so_far = 0

    def status(self, name: str) -> Status:
        """Where this fault stands."""
        return self._entries[name].status

    def active(self) -> list[str]:
        """Faults in force, in the order of their start."""
        live = [e for e in self._entries.values() if e.status is Status.ACTIVE]
        return [e.name for e in sorted(live, key=lambda e: e.number)]

    def step(self, facts: Facts) -> list[Action]:
        """The actions that are due now; each is returned once and taken as done.

        Ends come before starts, so that a fault that replaces another does not overlap it; and what came last
        goes first, since it stands on what was there before it.
        """
        over = [e for e in self._entries.values() if e.status is Status.ACTIVE and self._ends(e, facts)]
        ends = [Action("undo", e.name) for e in sorted(over, key=lambda e: e.number, reverse=True)]
        for action in ends:
            entry = self._entries[action.name]
            entry.status = entry.rest()
        starts: list[Action] = []
        if not facts.ended:
            for name, entry in self._entries.items():
                if entry.status is Status.WAITING and self._starts(entry, facts):
                    entry.count += 1
                    entry.status = entry.rest() if entry.spec.instant else Status.ACTIVE
                    entry.since = facts.now
                    self._starts_so_far += 1
                    entry.number = self._starts_so_far
                    starts.append(Action("apply", name))
        return ends + starts

    def next_time(self) -> float | None:
        """Seconds since the job's start of the next step that time alone makes due."""
        times: list[float] = []
        for entry in self._entries.values():
            again = entry.again_at()
            if entry.status is Status.WAITING and again is not None:
                times.append(again)
            elif entry.status is Status.WAITING and entry.spec.when.after is not None:
                times.append(entry.spec.when.after)
            if entry.status is Status.ACTIVE:
                if entry.spec.for_ is not None:
                    times.append(entry.since + entry.spec.for_)
                if entry.spec.until is not None and entry.spec.until.after is not None:
                    times.append(entry.spec.until.after)
        return min(times, default=None)

    def threshold(self, facts: Facts, tier: str = "") -> int | None:
        """The next byte count that makes a step due, so that the link can stop exactly there.

        Of the repository's link, or of another service's.
        """
        wanted: list[int] = []
        for entry in self._entries.values():
            trigger: Trigger | None = None
            if entry.status is Status.WAITING and not entry.count:
                trigger = entry.spec.when
            elif entry.status is Status.ACTIVE:
                trigger = entry.spec.until
            if trigger is None or entry.counts(trigger) != tier:
                continue
            count = self._bytes(trigger)
            if count is not None and count > facts.moved(tier):
                wanted.append(count)
        return min(wanted, default=None)

    def by_bytes(self) -> bool:
        """Some trigger counts bytes of the repository, so progress must be watched closely."""
        return any(
            self._bytes(trigger) is not None and not entry.counts(trigger)
            for entry in self._entries.values()
            for trigger in (entry.spec.when, entry.spec.until)
            if trigger is not None
        )

    def _bytes(self, trigger: Trigger) -> int | None:
        if trigger.at is not None:
            return max(1, int(self.expected_bytes * trigger.at))
        return trigger.bytes

    def call_points(self) -> dict[str, CallPoint]:
        """System calls that the job must be stopped at, by the name of the rule."""
        found: dict[str, CallPoint] = {}
        for name, entry in self._entries.items():
            if entry.spec.when.call is not None:
                found[call_key(name, "when")] = entry.spec.when.call
            if entry.spec.until is not None and entry.spec.until.call is not None:
                found[call_key(name, "until")] = entry.spec.until.call
        return found

    def _starts(self, entry: _Entry, facts: Facts) -> bool:
        again = entry.again_at()
        if again is not None:
            return not facts.exited and facts.now >= again
        return self._due(entry, "when", entry.spec.when, facts)

    def _ends(self, entry: _Entry, facts: Facts) -> bool:
        if facts.ended:
            return True
        if entry.spec.for_ is not None:
            return facts.now >= entry.since + entry.spec.for_
        return entry.spec.until is not None and self._due(entry, "until", entry.spec.until, facts)

    def _due(self, entry: _Entry, part: Literal["when", "until"], trigger: Trigger, facts: Facts) -> bool:
        if trigger.start:
            return True
        if not facts.started:
            return False
        if trigger.exit or facts.exited:
            return bool(trigger.exit and facts.exited)
        if trigger.call is not None:
            return call_key(entry.name, part) in facts.calls
        count = self._bytes(trigger)
        if count is not None:
            return facts.moved(entry.counts(trigger)) >= count
        if trigger.after is not None:
            return facts.now >= trigger.after
        if trigger.attempt is not None:
            return facts.attempts >= trigger.attempt
        if trigger.state is not None:
            return trigger.state in facts.states
        return any(matches(trigger.log or "", line) for line in facts.lines)
