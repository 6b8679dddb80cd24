"""How much a job has moved over each of its links or onto a disk, and the byte at which it must stop for a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backupchaos.engine.facts import Facts
from backupchaos.engine.schedule import Schedule
from backupchaos.environments.base import Place, SandboxEvent, SyscallRule, Usage

if TYPE_CHECKING:
    from backupchaos.engine.world import World
    from backupchaos.links.links import Link


class LinkProgress:
    """One link during one job. ``tier`` is the service that it leads to, empty for the repository."""

    def __init__(self, link: Link, tier: str, schedule: Schedule, facts: Facts) -> None:
        self._link = link
        self.tier = tier
        self._schedule = schedule
        self._facts = facts
        self._base = (0, 0)
        self._armed: int | None = None
        self._key = ""
        self._stopped = False

    def begin(self) -> None:
        """Count from here."""
        self._base = self._link.mark()

    def moved(self) -> tuple[int, int]:
        """Bytes (up, down) since the job began."""
        stats = self._link.stats()
        return stats.up_bytes - self._base[0], stats.down_bytes - self._base[1]

    def in_all(self) -> tuple[int, int]:
        """As ``moved``, exact: the link is asked, and not what it told up to 50 ms ago."""
        now = self._link.state()
        up, down = now["up"] - self._base[0], now["down"] - self._base[1]
        self._tell(up)
        return up, down

    def look(self) -> int:
        """Tell the schedule how much has gone up; returns all that has moved."""
        up, down = self.moved()
        self._tell(up)
        return up + down

    def _tell(self, up: int) -> None:
        if self.tier:
            self._facts.tiers[self.tier] = max(self._facts.moved(self.tier), up)
        else:
            self._facts.bytes = max(self._facts.bytes, up)

    def arm(self) -> None:
        """Let the link stop at the next byte that makes a step due, if there is one."""
        threshold = self._schedule.threshold(self._facts, self.tier)
        if threshold is None or threshold == self._armed:
            return
        if self._armed is not None and not self._link.disarm(self._key):
            return  # it has stopped already, and who hears of that will ask again
        self._key = self._link.arm(threshold, direction="up", action="hold", since="mark")
        self._armed = threshold

    def reached(self, event: Any) -> bool:
        """Whether this event says that the link has stopped there."""
        if event.ev != "trigger" or event.data.get("arm") != self._key or self._armed is None:
            return False
        self._tell(self._armed)
        self._stopped = True
        return True

    def go_on(self) -> None:
        """Stop at the next byte that makes a step due; what has stopped, and been heard of, goes on to there."""
        stopped, self._stopped = self._stopped, False
        if stopped:
            self._armed = None  # it has fired; the next one is set before another byte passes
        self.arm()
        if stopped:
            self._link.release()

    def let_go(self) -> None:
        """Nothing stays stopped by us, nor will be."""
        if self._armed is None:
            return
        self._link.disarm(self._key)
        self._link.release()
        self._armed, self._stopped = None, False


def links_of(world: World, schedule: Schedule, facts: Facts) -> Iterator[LinkProgress]:
    """The links of a run: the repository's first, if it has one."""
    if world.link is not None:
        yield LinkProgress(world.link, "", schedule, facts)
    for name, server in world.tiers.items():
        yield LinkProgress(server.link, name, schedule, facts)


BLOCK = 4096
"""A file takes whole blocks of its volume, so that it has grown by more than was written."""
RULE = "progress.hold"
"""Of the system call rules that stop a job at a byte count of a local repository: this, and the count."""


class VolumeProgress:
    """A local repository during one job: what is written there, call by call, and how much it has grown.

    The job is stopped before the write that would bring it beyond a byte at which something is due: fewer than one
    write's bytes early, never late. To reserve room (``fallocate``) beyond that byte stops it, too: afterwards no full
    disk could be felt by the writes into it. What is written without calls (mapped memory) is seen by the growth of the volume
    alone, milliseconds later; so is everything, where there is no supervisor.
    """

    def __init__(self, world: World, schedule: Schedule, facts: Facts) -> None:
        supervised = "syscalls" in world.sandbox.capabilities
        counts = schedule.thresholds() if supervised and world.link is None else ()
        self._sandbox = world.sandbox
        self._facts = facts
        self._holds = {f"{RULE}.{count}": count for count in sorted(counts)}
        self._stopped: list[str] = []
        self._base: Usage | None = None
        self._sized = "volumes" in world.sandbox.capabilities
        self.grown = 0
        self.held: int | None = None
        """What lies on the volume, as it was last looked at; None where it shares a disk with others."""

    def begin(self) -> None:
        """Count from here."""
        self._base = self._sandbox.usage(Place.REPOSITORY)

    def rules(self, repository: str) -> list[SyscallRule]:
        """For the job's process: the lowest count first, since a stopped call is counted by those that follow."""
        path = (f"{repository}/**",)
        return [
            SyscallRule(
                name, ("write", "fallocate"), path, "hold", skip=count, times=1, measure="bytes", armed=True
            )
            for name, count in self._holds.items()
        ]

    def look(self, usage: Usage) -> None:
        """Tell the schedule how much has been stored; where calls are counted, what their count cannot have missed."""
        assert self._base is not None, "begin() comes first"
        self.grown = max(self.grown, usage.used - self._base.used)
        self.held = usage.used if self._sized else None
        stored = self.grown
        if self._holds:
            more = max(0, (usage.files - usage.free_files) - (self._base.files - self._base.free_files))
            stored -= BLOCK * (more + 16)
        self._facts.bytes = max(self._facts.bytes, stored)

    def reached(self, event: SandboxEvent) -> bool:
        """Whether this event says that the job has been stopped at a byte."""
        rule = event.data.get("rule")
        if event.kind != "syscall" or rule not in self._holds:
            return False
        self._facts.bytes = max(self._facts.bytes, self._holds[rule])
        self._stopped.append(rule)
        return True

    def let_go(self) -> None:
        """What was stopped goes on."""
        while self._stopped:
            self._sandbox.release(self._stopped.pop(0))

    def over(self) -> None:
        """Nothing may be stopped any more."""
        self._stopped.clear()
        for name in self._holds:
            self._sandbox.arm(name, False)
