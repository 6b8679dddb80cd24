"""Faults of the space on volumes: it ends, it nearly ends, there are no more inodes, files may not grow."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, Unfit
from backupchaos.faults.afterwards import born_alike, ordinary_birth
from backupchaos.faults.base import JobShape
from backupchaos.faults.blows import Blows, blows, refusals
from backupchaos.faults.limits import limit_in
from backupchaos.faults.mapped import ended_by_bus, lacked_a_page
from backupchaos.faults.moments import ended, in_company
from backupchaos.faults.on_volume import NO_SPACE, OnVolume, counted, first
from backupchaos.faults.storage_mounts import Readonly, Vanishes
from backupchaos.history import Event
from backupchaos.model.faults.storage import DiskFull, DiskInodes, DiskNearlyFull, DiskQuota
from backupchaos.units import format_size

PAGE = 4096
NEEDED = 8
"""More than so many times the job's new data are no longer scarce."""
WRITES = ("write", "fallocate")
NAMES = ("create", "mkdir", "mknod", "symlink", "link")
"""Calls that need an inode of a tmpfs; a hard link does too."""


class _Limited(OnVolume[DiskFull | DiskNearlyFull]):
    """The volume shrinks to what is used plus a rest: as if somebody else had filled it."""

    refuses = ("unfit",)
    mechanism = "tmpfs shrunk in mid-run"
    needs = frozenset({"volumes"})
    cause = NO_SPACE
    _original: int | None = None
    """Its size before; None if it could not even be asked for."""
    _behind: int | None = None
    """What was free after a job that died of SIGBUS; None for any other."""

    def left(self) -> int:
        """Bytes that stay free."""
        raise NotImplementedError

    def watches(self) -> Sequence[SyscallRule]:
        """Writes that do not fit, and questions for the free space: a careful job asks before it writes."""
        return (
            SyscallRule(f"{self.name}.unfit", WRITES, self.below, measure="space"),
            SyscallRule(f"{self.name}.asked", ("statfs",), self.below),
        )

    def apply(self) -> str:
        """Shrink; the kernel itself then says ENOSPC."""
        usage = self.ground.sandbox.usage(self.place)
        self._original = usage.total
        if self.left() >= usage.free:  # to leave more than there is would make the volume larger
            raise Unfit(
                f"the {self.place} volume has {format_size(usage.free)} free, so leaving "
                f"{format_size(self.left())} takes nothing away: leave less"
            )
        self.arm()
        self.ground.sandbox.leave(self.place, self.left())
        return f"{self.place} volume: {format_size(self.left())} left"

    def verify(self) -> None:
        """The kernel reports no more free space than was to be left."""
        free = self.ground.sandbox.usage(self.place).free
        if free > self.left() + 2 * PAGE:
            raise HarnessBroken(f"the {self.place} volume still has {free} bytes free")

    def undo(self) -> None:
        """Give the space back."""
        try:
            if self._original is not None:
                self.ground.sandbox.resize(self.place, self._original)
        finally:
            self.disarm()

    def verify_undone(self) -> None:
        """The volume has its size again."""
        total = self.ground.sandbox.usage(self.place).total
        if self._original is not None and total < self._original:
            raise HarnessBroken(f"the {self.place} volume has {total} bytes, not {self._original}")

    def after_job(self) -> None:
        """Look at the room that a job had which died of a mapped page."""
        super().after_job()
        if self.begun and ended_by_bus(self) is not None:
            self._behind = self.ground.sandbox.usage(self.place).free

    def unfit(self) -> list[str]:
        """Writes that the kernel had to refuse or to cut short, and the page that it could not give."""
        events = self.hits("unfit")
        facts = [f"{counted(events, 'write')} needed more than was free, {first(events)}"] if events else []
        if (end := self._lacked()) is not None:
            words = "a page that was mapped on the full volume could not be had"
            facts.append(f"the job died of SIGBUS: {words}, at {end.t:.2f} s")
        return facts

    def blows(self) -> Blows | None:
        """When writes did not fit, and when the job died of the page that it did not get."""
        found, end = super().blows(), self._lacked()
        if found is None or end is None or found.how != "refusal":
            return found
        return blows("refusal", [*found.spans, end.t])

    def _lacked(self) -> Event | None:
        """The job's end by SIGBUS for want of room; a server's repository is mapped by nobody but the server."""
        return None if self.remote else lacked_a_page(self, self.place, self.left(), self._behind)


class Full(_Limited):
    """Almost nothing is left.

    It bites when a write needs more than is free: the supervisor compares them before the call is made. Who writes
    through mapped memory makes no call, and dies of SIGBUS.
    A job that asked the kernel for the free space and then failed has met it too, if it says so, or if the
    answer was less than what it had to store and no other fault can have been the reason. Without a
    supervisor a volume that was filled to the last page, or the kernel's words, must do.
    """

    spec: DiskFull

    def left(self) -> int:
        """The headroom."""
        return self.spec.headroom

    def bite(self) -> list[str]:
        """Writes that did not fit, or an answer that made the job give up."""
        facts = self.unfit()
        asked = self.hits("asked")
        if asked and self.job_failed() and (self.told(NO_SPACE) or self._too_little()):
            facts.append(
                f"the free space was asked for {len(asked)} times, {first(asked)}, and the job failed"
            )
        if facts or (self.rules_given and self.watched):
            return facts
        return self._filled() + self.told(NO_SPACE)

    def blows(self) -> Blows | None:
        """When writes did not fit; of a job that only asked, when it was told that there is not enough."""
        found = super().blows()
        asked = self.hits("asked")
        if found is None or found.spans or not asked:
            return found
        return refusals(asked, until=self.window()[1])

    @property
    def rules_given(self) -> bool:
        """Somebody was started with the rules."""
        return bool(self._armed)

    def _too_little(self) -> bool:
        """The answer was no good to anybody, and nothing else was wrong."""
        new = sum(size for _, size in self.ground.fresh)
        return self.left() < new and not in_company(self.ground.history, self.name)

    def _filled(self) -> list[str]:
        if self.left() <= 2 * PAGE:
            return []  # it was so before the job wrote anything
        samples = [
            (usage.free, t)
            for t, place, usage in self.ground.free_space
            if place == self.place and self.in_force(t)
        ]
        least, t = min(samples, default=(PAGE * 3, 0.0))
        return [f"{least} bytes free at {t:.2f} s"] if least <= 2 * PAGE else []


class NearlyFull(_Limited):
    """Just enough is left; it bites when something is written all the same, and what was left was scarce for it.

    Scarce is what the job's new data would fill by an eighth, or what was half used up.
    """

    spec: DiskNearlyFull
    _least: int | None = None
    """What was free at worst; None if it never came so far."""

    def left(self) -> int:
        """What the scenario leaves."""
        return self.spec.left

    def watches(self) -> Sequence[SyscallRule]:
        """Every write; the first few are enough to tell."""
        wrote = SyscallRule(f"{self.name}.wrote", WRITES, self.below, times=3)
        return (*super().watches(), wrote)

    def apply(self) -> str:
        """Shrink."""
        words = super().apply()
        self._least = self.ground.sandbox.usage(self.place).free
        return words

    def undo(self) -> None:
        """Give the space back, and remember what was left in the end."""
        try:
            if self._least is not None:
                self._least = min(self._least, self.ground.sandbox.usage(self.place).free)
        finally:
            super().undo()

    def bite(self) -> list[str]:
        """Writes on the narrow volume, or space that was used up on it."""
        facts = self.unfit()
        if not facts and not self._scarce():
            return []
        events = self.hits("wrote")
        if events:
            facts.append(f"written to with {format_size(self.left())} left, {first(events)}")
        if self._least is not None and self.left() - self._least >= PAGE:
            facts.append(f"{format_size(self._least)} were left in the end")
        return facts

    def blows(self) -> Blows | None:
        """When writes did not fit; a narrow volume on which all of them do is no more than a burden."""
        found = super().blows()
        return blows("burden", self.spans()) if found is None or not found.spans else found

    def _scarce(self) -> bool:
        """Whether a job could feel that not much was left; only the repository takes all of its new data."""
        new = sum(size for _, size in self.ground.fresh)
        if self.place == "repository" and new * NEEDED >= self.left():
            return True
        seen = [
            usage.free
            for t, place, usage in self.ground.free_space
            if place == self.place and self.in_force(t)
        ]
        return min([self.left() if self._least is None else self._least, *seen]) * 2 <= self.left()


class Inodes(OnVolume[DiskInodes]):
    """No more files can be made; it bites when a call would make one."""

    mechanism = "tmpfs remounted with fewer inodes in mid-run"
    needs = frozenset({"volumes"})
    cause = rf"{NO_SPACE}|\binodes?\b"
    refuses = ("refused",)
    _original: int | None = None
    """How many it took before; None if it could not even be asked for."""

    def watches(self) -> Sequence[SyscallRule]:
        """Names that cannot be made."""
        return (SyscallRule(f"{self.name}.refused", NAMES, self.below, measure="inodes"),)

    def apply(self) -> str:
        """Remount; the kernel itself then says ENOSPC."""
        usage = self.ground.sandbox.usage(self.place)
        self._original = usage.files
        if self.spec.left >= usage.free_files:
            raise Unfit(
                f"the {self.place} volume can hold {usage.free_files} more files, so leaving "
                f"{self.spec.left} takes nothing away: leave fewer"
            )
        self.arm()
        self.ground.sandbox.limit_files(self.place, left=self.spec.left)
        return f"{self.place} volume: {self.spec.left} more files can be made"

    def verify(self) -> None:
        """The kernel reports no more free inodes."""
        free = self.ground.sandbox.usage(self.place).free_files
        if free > self.spec.left + 64:  # what the job removed meanwhile is free again
            raise HarnessBroken(f"{free} files can still be made on the {self.place} volume")

    def undo(self) -> None:
        """Give them back."""
        try:
            if self._original is not None:
                self.ground.sandbox.limit_files(self.place, total=self._original)
        finally:
            self.disarm()

    def verify_undone(self) -> None:
        """As many as before."""
        total = self.ground.sandbox.usage(self.place).files
        if self._original is not None and total < self._original:
            raise HarnessBroken(f"the {self.place} volume takes {total} files, not {self._original}")

    def bite(self) -> list[str]:
        """Names that could not be made."""
        events = self.hits("refused")
        if events:
            return [f"{counted(events, 'call')} needed an inode when none was free, {first(events)}"]
        return [] if self.watched else self.told(NO_SPACE)


class Quota(OnVolume[DiskQuota]):
    """No file of the job may grow beyond a size: the kernel ends the write, and sends SIGXFSZ."""

    mechanism = "RLIMIT_FSIZE of the job"
    cause = r"file (is )?too (large|big)|\bEFBIG\b|SIGXFSZ|file size limit|quota"
    refuses = ("over",)

    def watches(self) -> Sequence[SyscallRule]:
        """Calls that would make a file longer, wherever it is."""
        calls = (*WRITES, "truncate")
        return (SyscallRule(f"{self.name}.over", calls, ("/**",), measure="length", size=self.spec.size),)

    def shape(self) -> JobShape:
        """The limit is inherited by all that the job starts."""
        return JobShape(rlimits={"fsize": self.spec.size})

    def apply(self) -> str:
        """The job will be started with it."""
        self.arm()
        return f"no file of the job beyond {format_size(self.spec.size)}"

    def undo(self) -> None:
        """It ends with the job."""
        self.disarm()

    def prepare(self) -> None:
        """See how a job is born without the limit."""
        super().prepare()
        self._ordinary = ordinary_birth(self.ground)

    def strays(self) -> list[str]:
        """Calls beyond the limit at another time, and jobs that were born with it."""

        def limited(born: Mapping[str, Any]) -> bool:
            return limit_in(born, "Max file size") == str(self.spec.size)

        return [*super().strays(), *born_alike(self.ground, limited, self.spec.kind, self._ordinary)]

    def bite(self) -> list[str]:
        """Calls beyond the limit, or a job that died of the signal."""
        events = self.hits("over")
        facts = []
        if events:
            facts.append(f"{counted(events, 'call')} went beyond the limit, {first(events)}")
        end = ended(self.ground.history)
        if end is not None and end["returncode"] == -signal.SIGXFSZ:
            facts.append("the job was ended by SIGXFSZ")
        return facts if facts or self.watched else self.told(self.cause)


MECHANISMS = {
    "disk.full": Full,
    "disk.nearly_full": NearlyFull,
    "disk.inodes": Inodes,
    "disk.quota": Quota,
    "disk.readonly": Readonly,
    "disk.vanishes": Vanishes,
}
"""From the vocabulary to the mechanisms."""
