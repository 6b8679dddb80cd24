"""What faults of resources share: a control group for the job, and what the job was born with."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any

from backupchaos.environments.base import ControlGroup, Controller
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import born_alike, came_back, ordinary_birth
from backupchaos.faults.base import Fault, Ground, JobShape, Spec

GO_BUILD = b"\xff Go buildinf:"
"""What Go's linker writes into every program (Go source, debug/buildinfo)."""


def is_go(program: str) -> bool:
    """Whether this is a program made by Go; False for what cannot be read."""
    try:
        with open(program, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data[:4] == b"\x7fELF" and data.find(GO_BUILD) >= 0
    except (OSError, ValueError):
        return False


def limit_in(born: Mapping[str, Any], name: str) -> str:
    """A soft limit that a process was born with, by the kernel's name for it; empty if not known."""
    return str(born.get("limits", {}).get(name, ""))


class Born(Fault[Spec]):
    """Knows what ``/proc`` said of the fault job right after its exec."""

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self.born: Mapping[str, Any] = {}
        """Empty if it was gone before anybody could look."""
        self._ordinary: Mapping[str, Any] = {}

    def prepare(self) -> None:
        """See how a job is born without the fault."""
        self._ordinary = ordinary_birth(self.ground)

    def limited(self, born: Mapping[str, Any]) -> bool:
        """Whether a process that was born so has what only the fault job should have."""
        raise NotImplementedError

    def strays(self) -> list[str]:
        """Jobs of other times that were born with it."""
        return born_alike(self.ground, self.limited, self.spec.kind, self._ordinary)

    def after_job(self) -> None:
        """Now; later there is another job."""
        if self.ground.job_pid is not None:
            self.born = self.ground.sandbox.birth(self.ground.job_pid)


GROUP = "a control group"


class InGroup(Born[Spec]):
    """A limit by a control group, if there can be one."""

    controller: Controller

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._group: ControlGroup | None = None
        self._hits = 0
        self._before: int | None = None
        """What the kernel had counted before; None if it could not even be asked."""
        self._quiet: int | None = None
        """What it had counted when the limit was gone; it must count no more from then on."""
        self._late = 0

    def find_group(self) -> str:
        """Take the control group of the run; the reason if there can be none, or must be none.

        Raises ``MissingCapability`` if nothing else may be taken.
        """
        if not self.may(GROUP):
            return "a control group is not to be taken"
        try:
            self._group = self.ground.sandbox.control_group(self.controller)
        except MissingCapability as missing:
            if self.way == GROUP:
                raise
            return str(missing)
        self.mechanism = self._group.mechanism
        return ""

    def limit(self, value: float) -> None:
        """Put the limit in force; what the kernel counts from here on is the fault's doing."""
        assert self._group is not None
        self._count_late()
        self._before = self._group.hits()
        self._group.limit(value)

    def _count_late(self) -> None:
        """What the kernel did to members of the group while there should have been no limit."""
        assert self._group is not None
        if self._quiet is not None:
            self._late += self._group.hits() - self._quiet
            self._quiet = None

    def shape(self) -> JobShape | None:
        """The job joins the group before its exec."""
        return None if self._group is None else JobShape(cgroup=self._group.path)

    def verify(self) -> None:
        """The kernel has the limit."""
        if self._group is not None and self._group.limited() is None:
            raise HarnessBroken(f"{self._group.mechanism}: no limit is in force")

    def undo(self) -> None:
        """Take the limit away, and see how often it was met."""
        if self._group is not None:
            try:
                if self._before is not None:
                    self._hits += self._group.hits() - self._before
            finally:
                self._group.limit(None)

    def verify_undone(self) -> None:
        """The kernel has no limit any more."""
        if self._group is None:
            return
        if self._group.limited() is not None:
            raise HarnessBroken(f"{self._group.mechanism}: the limit is still in force")
        if self._quiet is None:
            self._quiet = self._group.hits()

    def strays(self) -> list[str]:
        """What the kernel counted after the limit was gone, and a limit that is there again.

        Where there is no group: jobs of other times that were born with the limit.
        """
        if self._group is None:
            return super().strays()
        self._count_late()
        words = f"{self._group.mechanism}: the kernel acted {self._late} times after the limit was taken away"
        return [*([words] if self._late else []), *came_back(self)]
