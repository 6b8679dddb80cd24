"""Faults of the volumes."""

from __future__ import annotations

import re

from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault
from backupchaos.model.faults import DiskFull
from backupchaos.units import format_size

PAGE = 4096
SETTLE = 0.5
"""Seconds after the fault in which the job's last words may still arrive."""
FULL = r"no space|ENOSPC|disk (is )?full|\bfull\b|quota|not enough (free )?space|too big for remaining|insufficient"


TOLD = r"no space|ENOSPC|disk (is )?full|quota exceeded|not enough (free )?space|too big for remaining"
"""Proof needs the kernel's own words: 'full backup' is no full disk."""


class Full(Fault[DiskFull]):
    """The volume shrinks to what is used plus a headroom: as if somebody else had filled it."""

    mechanism = "tmpfs shrunk in mid-run"
    needs = frozenset({"volumes"})
    cause = FULL

    @property
    def place(self) -> Place:
        """The volume."""
        return Place(self.spec.place)

    def apply(self) -> str:
        """Shrink; the kernel itself then says ENOSPC."""
        usage = self.ground.sandbox.usage(self.place)
        self._original = usage.total
        self._limit = usage.used + self.spec.headroom
        self.ground.sandbox.resize(self.place, self._limit)
        return f"{self.place} volume: {format_size(self.spec.headroom)} left"

    def verify(self) -> None:
        """The kernel reports no more free space than the headroom."""
        free = self.ground.sandbox.usage(self.place).free
        if free > self.spec.headroom + 2 * PAGE:
            raise HarnessBroken(f"the {self.place} volume still has {free} bytes free")

    def undo(self) -> None:
        """Give the space back."""
        self.ground.sandbox.resize(self.place, self._original)

    def verify_undone(self) -> None:
        """The volume has its size again."""
        total = self.ground.sandbox.usage(self.place).total
        if total < self._original:
            raise HarnessBroken(f"the {self.place} volume has {total} bytes, not {self._original}")

    def bite(self) -> list[str]:
        """The job filled it to the last page, or was told that it is full."""
        start, end = self.window()
        samples = [
            (t, usage.free)
            for t, place, usage in self.ground.free_space
            if place == self.place and start <= t <= end + 0.05
        ]
        facts = []
        if samples:
            t, least = min(samples, key=lambda sample: sample[1])
            if least <= 2 * PAGE:
                facts.append(f"{least} bytes free at {t:.2f} s")
        told = [
            event
            for event in self.ground.events("log", "service", since=start)
            if event.t <= end + SETTLE and re.search(TOLD, event["text"], re.IGNORECASE)
        ]
        if told:
            facts.append(f"{len(told)} messages about a full disk, first: {told[0]['text'][:300]!r}")
        return facts
