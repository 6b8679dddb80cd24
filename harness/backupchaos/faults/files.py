"""Source files that cannot be opened or read."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.base import Fault, Ground
from backupchaos.faults.blows import Blows, refusals
from backupchaos.history import Event
from backupchaos.model.faults.base import FaultSpec
from backupchaos.model.faults.files import FileLocked, FileUnreadable
from backupchaos.trees.spelling import pattern

FileSpec = TypeVar("FileSpec", bound=FaultSpec)
LookedAt = ("read", "mmap")
"""How a program gets at the content of an open file; what io_uring reads is not seen."""


class OnFiles(Fault[FileSpec]):
    """Picks among the files that changed before the job, which it therefore has to open."""

    least: ClassVar[int] = 1
    """Bytes that a file must have to be of use."""
    picked: list[str]

    def choose(self, pick: str, count: int) -> list[str]:
        """Relative paths, the same for the same seed.

        Raises ``MissingCapability`` when the source has too few files that are fit for it: a fault that
        strikes fewer than it was asked to is another fault.
        """
        fresh = [file for file in sorted(self.ground.fresh) if file[1] >= self.least]
        if len(fresh) < count:
            reason = f"fault {self.name} is to hit {count}, and {len(fresh)} files fit for it changed before the job"
            raise MissingCapability("changed files", reason, "raise 'source: files' or 'change'")
        if pick == "largest":
            fresh.sort(key=lambda item: -item[1])
        elif pick == "random":
            self.ground.random(f"pick/{self.name}").shuffle(fresh)
        elif pick == "newest":
            fresh.reverse()
        return [path for path, _ in fresh[:count]]

    def full(self, path: str) -> str:
        """Where a path relative to the source lies."""
        return f"{self.ground.source}/{path}"

    def paths(self) -> Sequence[str]:
        """What was picked."""
        return self.picked

    def names(self) -> str:
        """A pattern that a record naming one of the files matches."""
        return "|".join(pattern(path).pattern for path in self.picked)

    def cause_pattern(self) -> str:
        """The file's name, or words for the cause."""
        return f"{self.cause}|{self.names()}"

    def shown(self) -> str:
        """The picked files for people."""
        return ", ".join(map(repr, self.picked[:5])) + (" ..." if len(self.picked) > 5 else "")


class Refused(OnFiles[FileSpec]):
    """Calls on the picked files are answered with an error by the supervisor."""

    needs = frozenset({"syscalls"})

    def rules(self) -> Sequence[SyscallRule]:
        """One rule a file, so that the calls on each are counted apart."""
        return [self.rule(f"{self.name}.{number}", path) for number, path in enumerate(self.picked)]

    def rule(self, name: str, path: str) -> SyscallRule:
        """The rule for one picked path."""
        raise NotImplementedError

    def verify(self) -> None:
        """Each file is there and has content; that the rules act is what ``bite`` looks for."""
        for path in self.picked:
            found = self.ground.sandbox.call("stat", path=self.full(path))
            if found["type"] != "file" or found["size"] < self.least:
                raise HarnessBroken(
                    f"{path} is no file that could be hit: {found['type']}, {found['size']} bytes"
                )

    def undo(self) -> None:
        """Disarm the rules, each even if another fails."""
        errors = []
        for rule in self.rules():
            try:
                self.ground.sandbox.arm(rule.name, False)
            except HarnessBroken as error:
                errors.append(str(error))
        if errors:
            raise HarnessBroken("; ".join(errors))

    def arm(self) -> None:
        """Arm the rules."""
        for rule in self.rules():
            self.ground.sandbox.arm(rule.name, True)

    def refusals(self) -> list[Event]:
        """The calls that were answered with the error."""
        return self.syscalls(*(rule.name for rule in self.rules()), action="errno")

    def bite(self) -> list[str]:
        """Refused calls, as the supervisor answered them while the fault was in force."""
        inside = [event for event in self.refusals() if self.in_force(event.t)]
        if not inside:
            return []
        first = inside[0]
        count = len(inside)
        return [f"{count} {first['call']} calls answered with {self.error()}, the first at {first.t:.3f} s"]

    def blows(self) -> Blows | None:
        """When calls were refused."""
        inside = [event for event in self.refusals() if self.in_force(event.t)]
        return refusals(inside, until=self.window()[1])

    def strays(self) -> list[str]:
        """Calls that were refused before or after."""
        return self.out_of_window(*(rule.name for rule in self.rules()), action="errno")

    def error(self) -> str:
        """The error number by name."""
        raise NotImplementedError


class Locked(Refused[FileLocked]):
    """Opening the file is refused by the system call supervisor, a fixed number of times or for good.

    With ``mode: advisory`` this makes a ``Held`` instead.
    """

    mechanism = "seccomp user notification on open"
    cause = r"\bbusy\b|\blocked\b|EBUSY|EAGAIN|ETXTBSY|text file|in use|temporarily unavailable"

    def __new__(cls, name: str, spec: FileLocked, ground: Ground) -> Locked:
        """The class for the mode."""
        if spec.mode == "advisory":
            from backupchaos.faults.files_held import Held

            return super().__new__(Held)
        return super().__new__(cls)

    def prepare(self) -> None:
        """Pick the files."""
        self.picked = self.choose(self.spec.pick, self.spec.files)

    def rule(self, name: str, path: str) -> SyscallRule:
        """Every way of opening it."""
        return SyscallRule(
            name=name,
            calls=("open",),
            paths=(literal(self.full(path)),),
            action="errno",
            errno=getattr(errno, self.spec.error),
            times=self.spec.refusals,
        )

    def error(self) -> str:
        """As the scenario says."""
        return self.spec.error

    def apply(self) -> str:
        """Arm the rules."""
        self.arm()
        times = "every open" if self.spec.refusals is None else f"the first {self.spec.refusals} opens"
        return f"{times} of {self.shown()} refused with {self.spec.error}"


class Unreadable(Refused[FileUnreadable]):
    """The file opens, and its n-th read fails, as does every later one: a bad sector.

    Reads are calls: ``read`` and its kin, ``copy_file_range``, ``sendfile``, ``splice``. What a program
    reads by mapping the file into memory, or by io_uring, is not seen here, so that such a program never
    meets the fault: there is no proof then, and the run is invalid, not passed.
    """

    mechanism = "seccomp user notification on read"
    cause = (
        r"input/output error|i/o error|\bEIO\b|ESTALE|stale (NFS )?file|EACCES|permission denied|read error"
    )

    def prepare(self) -> None:
        """Pick the files."""
        self.picked = self.choose(self.spec.pick, self.spec.files)

    def rule(self, name: str, path: str) -> SyscallRule:
        """Every way of reading it that is a call."""
        return SyscallRule(
            name=name,
            calls=("read",),
            paths=(literal(self.full(path)),),
            action="errno",
            errno=getattr(errno, self.spec.error),
            skip=self.spec.nth - 1,
        )

    def error(self) -> str:
        """As the scenario says."""
        return self.spec.error

    def apply(self) -> str:
        """Arm the rules."""
        self.arm()
        which = "every read" if self.spec.nth == 1 else f"every read from number {self.spec.nth} on"
        return f"{which} of {self.shown()} fails with {self.spec.error}"


def literal(path: str) -> str:
    """The path with the pattern characters of fnmatch escaped."""
    return re.sub(r"([*?[])", r"[\1]", path)


MECHANISMS: dict[str, type[Fault[Any]]] = {"file.locked": Locked, "file.unreadable": Unreadable}
