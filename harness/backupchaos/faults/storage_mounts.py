"""Faults of mounts: a volume turns read-only, a volume is gone."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Ground, Spec
from backupchaos.faults.on_volume import OnVolume, counted, first
from backupchaos.history import Event
from backupchaos.model.faults.storage import DiskReadonly, DiskVanishes
from backupchaos.units import format_size

THROUGH_DESCRIPTORS = ("write", "fallocate", "ftruncate")
BY_NAME = ("openwrite", "mkdir", "mknod", "link", "symlink", "rename", "unlink", "truncate", "chmod", "utime")
MEETINGS = (
    "open",
    "stat",
    "access",
    "statfs",
    "readlink",
    "mkdir",
    "mknod",
    "link",
    "symlink",
    "rename",
    "unlink",
    "truncate",
    "chmod",
    "utime",
    "chdir",
)
"""Calls that find their file by name, and so find the empty directory."""


class _Mount(OnVolume[Spec]):
    """Rules are armed before the mount changes, since a job with many threads uses the first millisecond; what
    they saw before it has changed, or once it is about to be changed back, is no proof.
    """

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._changed: list[float] = []

    def changed_at(self, moment: float) -> None:
        """The mount is another one since then (time.monotonic)."""
        self._changed.append(moment - self.ground.history.t0)

    def hits(self, rule: str) -> list[Event]:
        """Only while the mount was another one."""
        windows = list(zip(self._changed, self.windows, strict=False))
        return [
            event
            for event in super().hits(rule)
            if any(start <= event.t and (end is None or event.t <= end) for start, (_, end) in windows)
        ]


class Readonly(_Mount[DiskReadonly]):
    """The volume turns read-only in mid-run, as a file system does after an error.

    A kernel remounts nothing read-only while a file is open for writing; a file system that shuts itself
    down does not ask. So the same file system is mounted over itself read-only, and files that were open
    before are refused by the supervisor. Every call that would change something meets EROFS.
    """

    mechanism = "the volume mounted over itself read-only; the supervisor refuses writes to open files"
    needs = frozenset({"volumes", "syscalls"})
    cause = r"read-?only|\bEROFS\b|write[- ]protect"
    refuses = ("refused", "tried")

    def available(self) -> None:
        """Do it once; not every sandbox may mount its volumes otherwise."""
        super().available()
        self.ground.sandbox.freeze(self.place, True)
        self.ground.sandbox.freeze(self.place, False)

    def watches(self) -> Sequence[SyscallRule]:
        """Open files are refused here, names by the kernel."""
        number = errno.EROFS
        return (
            SyscallRule(f"{self.name}.refused", THROUGH_DESCRIPTORS, self.below, "errno", errno=number),
            SyscallRule(f"{self.name}.tried", BY_NAME, self.below),
        )

    def apply(self) -> str:
        """Mount."""
        self.arm()
        self.changed_at(self.ground.sandbox.freeze(self.place, True))
        return f"{self.place} volume read-only"

    def verify(self) -> None:
        """The kernel says so."""
        if not self.ground.sandbox.volume(self.place).read_only:
            raise HarnessBroken(f"the {self.place} volume can still be written")

    def undo(self) -> None:
        """Writable again."""
        try:
            self.ground.sandbox.freeze(self.place, False)
        finally:
            self.disarm()

    def verify_undone(self) -> None:
        """The kernel says so."""
        if self.ground.sandbox.volume(self.place).read_only:
            raise HarnessBroken(f"the {self.place} volume is still read-only")

    def bite(self) -> list[str]:
        """Changes that were refused."""
        facts = []
        for rule, words in (("refused", "writes to open files"), ("tried", "changes by name")):
            events = self.hits(rule)
            if events:
                facts.append(
                    f"{words} refused by the read-only file system: {counted(events, 'call')}, {first(events)}"
                )
        return facts


class Vanishes(_Mount[DiskVanishes]):
    """The volume is unmounted, and an empty, writable directory remains, which is no mount point.

    Every path leads into that directory. Files that are open stay open and keep working on the volume,
    as after ``umount -l``: what was written through them is there again when it comes back. What
    was written into the directory is not.
    """

    mechanism = "the volume unmounted lazily; an empty writable directory remains"
    needs = frozenset({"volumes", "syscalls"})
    cause = (
        r"no such file|\bENOENT\b|does ?n[o']t exist|not found|no (valid )?repository|not a (valid )?(\w+ )?repository"
        r"|\bErr(no)?\W{1,3}2\b|unable to open|is missing|vanished|\bgone\b|was deleted|mounted\b|is empty"
    )
    refuses = ("met",)

    def __init__(self, name: str, spec: DiskVanishes, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._written = {"files": 0, "bytes": 0}
        self._device: int | None = None

    def available(self) -> None:
        """Do it once; not every sandbox can take a volume away from everybody."""
        super().available()
        self.ground.sandbox.vanish(self.place, True)
        self.ground.sandbox.vanish(self.place, False)

    def watches(self) -> Sequence[SyscallRule]:
        """Whoever looks for a file by name meets the empty directory."""
        return (SyscallRule(f"{self.name}.met", MEETINGS, self.below),)

    def apply(self) -> str:
        """Unmount."""
        self._device = self.ground.sandbox.volume(self.place).device
        self.arm()
        self.changed_at(self.ground.sandbox.vanish(self.place, True)["at"])
        return f"{self.place} volume unmounted, an empty directory remains"

    def verify(self) -> None:
        """Nothing is mounted there."""
        state = self.ground.sandbox.volume(self.place)
        if state.mounted or state.device == self._device:
            raise HarnessBroken(f"the {self.place} volume is still mounted")

    def undo(self) -> None:
        """Mount it again, and note what was written into the directory."""
        found: Mapping[str, Any] = {}
        try:
            if self._device is not None:  # else it could not even be looked at
                found = self.ground.sandbox.vanish(self.place, False)
        finally:
            self.disarm()
        for key in self._written:
            self._written[key] += int(found.get(key, 0))

    def verify_undone(self) -> None:
        """The same file system is there again."""
        state = self.ground.sandbox.volume(self.place)
        if not state.mounted or self._device not in (None, state.device):
            raise HarnessBroken(f"the {self.place} volume did not come back")

    def bite(self) -> list[str]:
        """Calls that met the empty directory, and what they left in it."""
        events = self.hits("met")
        if not events:
            return []
        facts = [f"{counted(events, 'call')} met the empty directory, {first(events)}"]
        if self._written["files"]:
            size = format_size(self._written["bytes"])
            facts.append(f"{self._written['files']} files ({size}) were written into it")
        return facts
