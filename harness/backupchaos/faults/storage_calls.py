"""Faults of single calls on a volume: slow, failing, short, or answered without being done."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import ClassVar

from backupchaos.durations import format_duration
from backupchaos.environments.base import SyscallRule
from backupchaos.faults.base import Spec
from backupchaos.faults.blows import Blows, How, blows, refusals
from backupchaos.faults.files import literal
from backupchaos.faults.on_volume import OnVolume, counted, first
from backupchaos.history import Event
from backupchaos.model.faults.storage import DiskIoError, DiskLostFsync, DiskShortWrite, DiskSlow
from backupchaos.units import format_size

SYNCS = "sync"
"""The family of all calls that ask for durability: fsync, fdatasync, sync_file_range, syncfs, msync, sync."""


class _OnCalls(OnVolume[Spec]):
    """The supervisor acts on some calls of whoever uses the volume."""

    needs = frozenset({"syscalls"})
    strikes_as: ClassVar[How] = "burden"

    def what(self) -> str:
        """What happens to the calls, in words."""
        raise NotImplementedError

    def apply(self) -> str:
        """Arm the rules."""
        self.arm()
        who = "the server's" if self.remote else "the job's"
        return f"{who} calls on the {self.place} volume: {self.what()}"

    def undo(self) -> None:
        """Disarm them; calls that are being delayed still take their time."""
        self.disarm()

    def bite(self) -> list[str]:
        """The calls, as the supervisor answered them."""
        events = self._answered()
        return [f"{counted(events, 'call')}: {self.what()}, {first(events)}"] if events else []

    def _answered(self) -> list[Event]:
        events = [event for rule in self.watches() for event in self.hits(rule.name.rpartition(".")[2])]
        return sorted(events, key=lambda event: event.t)

    def blows(self) -> Blows | None:
        """When the calls were answered."""
        if self.strikes_as == "refusal":
            return refusals(self._answered(), until=self.window()[1])
        return blows(self.strikes_as, [event.t for event in self._answered()])


class Slow(_OnCalls[DiskSlow]):
    """Each read and write takes longer; the calls of one thread add up."""

    mechanism = "seccomp user notification: the supervisor lets reads and writes wait"
    cause = r"time[d -]?out|deadline exceeded|too slow"

    def watches(self) -> Sequence[SyscallRule]:
        """Two rules: what copies from one file to another reads the one and writes the other."""
        return [
            SyscallRule(f"{self.name}.{call}", (call,), self.below, "delay", delay=self.spec.delay)
            for call in ("read", "write")
        ]

    def what(self) -> str:
        """So much later."""
        return f"{format_duration(self.spec.delay)} later"


class IoError(_OnCalls[DiskIoError]):
    """Chosen calls fail, as on a dying disk."""

    mechanism = "seccomp user notification: the supervisor fails the calls"
    strikes_as = "refusal"
    cause = ""

    def watches(self) -> Sequence[SyscallRule]:
        """The n-th and those that follow."""
        below = literal(self.ground.sandbox.path(self.place))
        rule = SyscallRule(
            name=f"{self.name}.{self.spec.call}",
            calls=(self.spec.call,),
            paths=(f"{below}/{self.spec.path.lstrip('/')}",),
            action="errno",
            errno=getattr(errno, self.spec.error),
            skip=self.spec.nth - 1,
            times=self.spec.calls,
        )
        return (rule,)

    def cause_pattern(self) -> str:
        """The error's own words, its name, or its number."""
        number = getattr(errno, self.spec.error)
        also = {"EIO": r"|\bI/?O error\b", "EDQUOT": "|quota", "ESTALE": r"|\bstale\b"}
        # Programs in Go print the number where they encode the error as JSON.
        names = rf"{re.escape(os.strerror(number))}|\b{self.spec.error}\b|\bErr(no)?\W{{1,3}}{number}\b"
        return names + also.get(self.spec.error, "")

    def paths(self) -> Sequence[str]:
        """Source files that could not be read, as far as one knows by now; or that the job named."""
        root = self.ground.source + "/"
        hit = {event["path"] for rule in self.watches() for event in self.syscalls(rule.name)}
        below = {path.removeprefix(root) for path in hit if path.startswith(root)}
        return sorted(below.union(super().paths()))

    def what(self) -> str:
        """Which error."""
        return f"{self.spec.call} fails with {self.spec.error}"


class ShortWrite(_OnCalls[DiskShortWrite]):
    """Writes take a part of what they were given: allowed by the standard, and forgotten by many programs."""

    mechanism = "seccomp user notification: the supervisor writes a part in the caller's stead"
    needs = frozenset({"syscalls", "short_writes"})
    cause = r"short write|incomplete write|\bwrote \d+ of"

    def watches(self) -> Sequence[SyscallRule]:
        """The n-th and those that follow."""
        rule = SyscallRule(
            name=f"{self.name}.short",
            calls=("write",),
            paths=self.below,
            action="short",
            size=self.spec.size,
            skip=self.spec.nth - 1,
            times=self.spec.calls,
        )
        return (rule,)

    def what(self) -> str:
        """How short."""
        return f"a write takes {format_size(self.spec.size)}"


class LostFsync(_OnCalls[DiskLostFsync]):
    """Every request to make data safe is answered with success and not carried out.

    Alone it must do no harm: nothing is lost as long as the power stays. See ``power.lying_disk``.
    """

    mechanism = "seccomp user notification: the supervisor answers syncs without doing them"
    cause = r"\bf(data)?sync\b"

    def watches(self) -> Sequence[SyscallRule]:
        """All kinds of sync."""
        return (SyscallRule(f"{self.name}.lost", (SYNCS,), self.below, "errno", errno=0),)

    def blows(self) -> None:
        """Nobody is struck by a success."""

    def what(self) -> str:
        """A lie."""
        return "a sync is answered and not done"


MECHANISMS = {
    "disk.slow": Slow,
    "disk.io_error": IoError,
    "disk.short_write": ShortWrite,
    "disk.lost_fsync": LostFsync,
}
"""From the vocabulary to the mechanisms."""
