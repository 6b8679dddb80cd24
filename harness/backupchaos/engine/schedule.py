"""When each fault starts and ends: a pure data structure, stepped with facts.

No clock is read and nothing sleeps here. The engine collects facts about the job and asks
which faults are due; tests step the same schedule with made-up facts. The same scenario,
seed and facts always give the same actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from backupchaos.engine.facts import Facts, Feed
from backupchaos.model.faults import FaultSpec
from backupchaos.model.patterns import matches
from backupchaos.model.triggers import CallPoint, Trigger


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
    line: int = 0
    """The first line of the log that may still start it, or end it."""
    state: int = 0
    """Likewise the first of the states that the job has entered."""

    def rest(self) -> Status:
        """What follows an end: waiting for the next time, if there is one."""
        spec = self.spec
        again = spec.comes_again and (spec.times is None or self.count < spec.times)
        return Status.WAITING if again else Status.OVER

    def awaited(self) -> Trigger | None:
        """The condition that is looked for now; None if it is time alone, or nothing any more."""
        if self.status is Status.ACTIVE:
            return self.spec.until
        waits = self.status is Status.WAITING and self.again_at() is None
        return self.spec.when if waits else None

    def look_on(self, facts: Facts, after: Trigger | None = None) -> None:
        """What the job has said and been so far is past; what came after the line or state that was waited for is not."""
        if after is None or after.log is None:
            self.line = facts.lines.end
        if after is None or after.state is None:
            self.state = facts.states.end

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
        goes first, since it stands on what was there before it. Lines and states that no fault waits for any more
        are dropped from the facts.
        """
        over = [e for e in self._entries.values() if e.status is Status.ACTIVE and self._ends(e, facts)]
        ends = [Action("undo", e.name) for e in sorted(over, key=lambda e: e.number, reverse=True)]
        for action in ends:
            entry = self._entries[action.name]
            entry.look_on(facts, entry.awaited())
            entry.status = entry.rest()
        starts: list[Action] = []
        if not facts.ended:
            for name, entry in self._entries.items():
                if entry.status is Status.WAITING and self._starts(entry, facts):
                    entry.look_on(facts, entry.awaited())
                    entry.count += 1
                    entry.status = entry.rest() if entry.spec.instant else Status.ACTIVE
                    entry.since = facts.now
                    self._starts_so_far += 1
                    entry.number = self._starts_so_far
                    starts.append(Action("apply", name))
        self._forget(facts)
        return ends + starts

    def _forget(self, facts: Facts) -> None:
        for entry in self._entries.values():
            trigger = entry.awaited()
            entry.look_on(facts, trigger)
        facts.lines.forget(min((entry.line for entry in self._entries.values()), default=facts.lines.end))
        facts.states.forget(min((entry.state for entry in self._entries.values()), default=facts.states.end))

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
            trigger = entry.awaited()
            if trigger is None or entry.counts(trigger) != tier:
                continue
            count = self._bytes(trigger)
            if count is not None and count > facts.moved(tier):
                wanted.append(count)
        return min(wanted, default=None)

    def thresholds(self) -> set[int]:
        """Every byte count of the repository at which something may ever be due."""
        found = {
            self._bytes(trigger)
            for entry in self._entries.values()
            for trigger in (entry.spec.when, entry.spec.until)
            if trigger is not None and not entry.counts(trigger)
        }
        return {count for count in found if count is not None}

    def by_bytes(self) -> bool:
        """Some trigger counts bytes of the repository, so progress must be watched closely."""
        return bool(self.thresholds())

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
            entry.state, found = _next(facts.states, entry.state, lambda state: state == trigger.state)
        else:
            entry.line, found = _next(facts.lines, entry.line, lambda line: matches(trigger.log or "", line))
        return found


def _next(feed: Feed, since: int, wanted: Callable[[str], bool]) -> tuple[int, bool]:
    """(where to look from the next time, whether there is one that is wanted)."""
    for number, item in feed.since(since):
        if wanted(item):
            return number + 1, True
    return feed.end, False
