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
from backupchaos.model.triggers import Trigger


@dataclass
class Facts:
    """What is known about the running job.

    ``now`` is seconds since its start; ``bytes`` is how much went over the link or onto the
    repository's disk; ``attempts`` counts from 1; ``lines`` are log lines since the last step.
    """

    now: float = 0.0
    bytes: int = 0
    attempts: int = 1
    states: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    started: bool = False
    ended: bool = False


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


@dataclass
class _Entry:
    spec: FaultSpec
    status: Status = Status.WAITING
    since: float = 0.0


class Schedule:
    """The faults of one job. ``expected_bytes`` is what ``at: 100%`` stands for."""

    def __init__(self, faults: Mapping[str, FaultSpec], expected_bytes: int) -> None:
        self.expected_bytes = expected_bytes
        self._entries = {name: _Entry(spec) for name, spec in faults.items()}

    def status(self, name: str) -> Status:
        """Where this fault stands."""
        return self._entries[name].status

    def active(self) -> list[str]:
        """Faults in force, in the order of their start."""
        live = [(e.since, name) for name, e in self._entries.items() if e.status is Status.ACTIVE]
        return [name for _, name in sorted(live)]

    def step(self, facts: Facts) -> list[Action]:
        """The actions that are due now; each is returned once and taken as done.

        Ends come before starts, so that a fault that replaces another does not overlap it.
        """
        ends = [
            Action("undo", name)
            for name, entry in self._entries.items()
            if entry.status is Status.ACTIVE and self._ends(entry, facts)
        ]
        for action in ends:
            self._entries[action.name].status = Status.OVER
        starts: list[Action] = []
        if not facts.ended:
            for name, entry in self._entries.items():
                if entry.status is Status.WAITING and self._due(entry.spec.when, facts):
                    entry.status = Status.OVER if entry.spec.instant else Status.ACTIVE
                    entry.since = facts.now
                    starts.append(Action("apply", name))
        return ends + starts

    def next_time(self) -> float | None:
        """Seconds since the job's start of the next step that time alone makes due."""
        times: list[float] = []
        for entry in self._entries.values():
            if entry.status is Status.WAITING and entry.spec.when.after is not None:
                times.append(entry.spec.when.after)
            if entry.status is Status.ACTIVE:
                if entry.spec.for_ is not None:
                    times.append(entry.since + entry.spec.for_)
                if entry.spec.until is not None and entry.spec.until.after is not None:
                    times.append(entry.spec.until.after)
        return min(times, default=None)

    def threshold(self, facts: Facts) -> int | None:
        """The next byte count that makes a step due, so that the link can stop exactly there."""
        wanted: list[int] = []
        for entry in self._entries.values():
            trigger: Trigger | None = None
            if entry.status is Status.WAITING:
                trigger = entry.spec.when
            elif entry.status is Status.ACTIVE:
                trigger = entry.spec.until
            count = self._bytes(trigger) if trigger is not None else None
            if count is not None and count > facts.bytes:
                wanted.append(count)
        return min(wanted, default=None)

    def by_bytes(self) -> bool:
        """Some trigger counts bytes, so progress must be watched closely."""
        return any(
            self._bytes(trigger) is not None
            for entry in self._entries.values()
            for trigger in (entry.spec.when, entry.spec.until)
            if trigger is not None
        )

    def _bytes(self, trigger: Trigger) -> int | None:
        if trigger.at is not None:
            return max(1, int(self.expected_bytes * trigger.at))
        return trigger.bytes

    def _ends(self, entry: _Entry, facts: Facts) -> bool:
        if facts.ended:
            return True
        if entry.spec.for_ is not None:
            return facts.now >= entry.since + entry.spec.for_
        return entry.spec.until is not None and self._due(entry.spec.until, facts)

    def _due(self, trigger: Trigger, facts: Facts) -> bool:
        if trigger.start:
            return True
        if not facts.started:
            return False
        count = self._bytes(trigger)
        if count is not None:
            return facts.bytes >= count
        if trigger.after is not None:
            return facts.now >= trigger.after
        if trigger.attempt is not None:
            return facts.attempts >= trigger.attempt
        if trigger.state is not None:
            return trigger.state in facts.states
        return any(matches(trigger.log or "", line) for line in facts.lines)
