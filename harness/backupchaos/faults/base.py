"""What every fault is: it can be applied, verified, undone, and it proves that it bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from backupchaos.environments.base import Sandbox, SyscallRule, Usage
from backupchaos.errors import HarnessBroken
from backupchaos.history import Event, History
from backupchaos.model.faults import FaultSpec

if TYPE_CHECKING:
    from backupchaos.links.links import Link

Spec = TypeVar("Spec", bound=FaultSpec)


@dataclass
class Ground:
    """What faults stand on: the sandbox, the link, and what the job is about to read.

    ``fresh`` are the regular files (relative to the source) that changed before the fault job, so
    that any honest job has to open them, with their sizes. ``job_pid`` is set once the job runs.
    """

    sandbox: Sandbox
    history: History
    seed: int
    source: str
    repository: str
    link: Link | None = None
    fresh: Sequence[tuple[str, int]] = ()
    changed_names: frozenset[str] = frozenset()
    """Names of all files that the change touched in any way, deleted and renamed ones too."""
    job_pid: int | None = None
    started_at: float = 0.0
    free_space: list[tuple[float, str, Usage]] = field(default_factory=list)

    def random(self, salt: str) -> Random:
        """A generator of this run's own; the same seed and salt give the same draws."""
        return Random(f"{self.seed}/{salt}")

    def events(self, *kinds: str, since: float) -> list[Event]:
        """What the history holds of these kinds from a moment on."""
        return [event for event in self.history.of(*kinds) if event.t >= since]


class Fault(ABC, Generic[Spec]):
    """One fault of one run.

    ``apply`` must leave the fault in force or raise; ``verify`` looks at the world, not at our
    own variables. ``bite`` returns the facts that prove that the job met the fault; an empty list
    makes the run invalid. ``cause`` is what a log record naming the cause matches.
    """

    mechanism: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Capabilities of the sandbox without which this fault cannot be had."""
    cause: ClassVar[str]
    drop_dac: ClassVar[bool] = False

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        self.name = name
        self.spec = spec
        self.ground = ground
        self.applied_at: float | None = None
        self.undone_at: float | None = None

    def prepare(self) -> None:
        """Choose what will be hit, before the job starts."""

    def rules(self) -> Sequence[SyscallRule]:
        """System call rules that the job must be started with."""
        return ()

    def paths(self) -> Sequence[str]:
        """Source paths this fault makes unreadable, relative to the source."""
        return ()

    def cause_pattern(self) -> str:
        """What a record that names the cause matches (regular expression, case ignored)."""
        return self.cause

    @abstractmethod
    def apply(self) -> str:
        """Bring the fault into force; returns what exactly was done, in words."""

    def verify(self) -> None:
        """Raise ``HarnessBroken`` unless the fault is in force."""

    def undo(self) -> None:
        """Take the fault away; instant faults have nothing to take away."""

    def verify_undone(self) -> None:
        """Raise ``HarnessBroken`` unless the fault is gone."""

    @abstractmethod
    def bite(self) -> list[str]:
        """Facts that prove that the job met the fault; empty if there are none."""

    def window(self) -> tuple[float, float]:
        """(start, end) in the history's seconds; the end is now if it is still in force."""
        if self.applied_at is None:
            raise HarnessBroken(f"fault {self.name} was never applied")
        return self.applied_at, self.undone_at if self.undone_at is not None else self.ground.history.now()
