"""Faults of source files: locked, forbidden."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Spec
from backupchaos.model.faults import FileLocked, PermissionDenied

SETTLE = 0.5
"""Seconds after the fault in which the job's last words may still arrive."""


class _OnFiles(Fault[Spec]):
    """Picks among the files that changed before the job, which it therefore has to open."""

    def choose(self, pick: str, count: int) -> list[str]:
        """Relative paths, the same for the same seed."""
        fresh = sorted(self.ground.fresh)
        if not fresh:
            raise HarnessBroken("no changed file in the source to pick from")
        if pick == "largest":
            fresh.sort(key=lambda item: -item[1])
        elif pick == "random":
            self.ground.random(f"pick/{self.name}").shuffle(fresh)
        elif pick == "newest":
            fresh.reverse()
        return [path for path, _ in fresh[:count]]

    def paths(self) -> Sequence[str]:
        """What was picked."""
        return self.picked

    def names(self) -> str:
        """A pattern that a record naming one of the files matches."""
        return "|".join(re.escape(path.rsplit("/", 1)[-1]) for path in self.picked)

    picked: list[str]


class Locked(_OnFiles[FileLocked]):
    """Opening the file is refused by the system call supervisor, a fixed number of times or for good."""

    mechanism = "seccomp user notification on open"
    needs = frozenset({"syscalls"})
    cause = r"busy|locked|EBUSY|EAGAIN|text file|in use|temporarily unavailable"

    def prepare(self) -> None:
        """Pick the files."""
        self.picked = self.choose(self.spec.pick, self.spec.files)

    def rules(self) -> Sequence[SyscallRule]:
        """One rule a file, so that refusals are counted for each."""
        return [
            SyscallRule(
                name=f"{self.name}.{number}",
                calls=("open",),
                paths=(_literal(f"{self.ground.source}/{path}"),),
                action="errno",
                errno=getattr(errno, self.spec.error),
                times=self.spec.refusals,
            )
            for number, path in enumerate(self.picked)
        ]

    def cause_pattern(self) -> str:
        """The file's name, or words for a lock."""
        return f"{self.cause}|{self.names()}"

    def apply(self) -> str:
        """Arm the rules."""
        for rule in self.rules():
            self.ground.sandbox.arm(rule.name, True)
        times = "every open" if self.spec.refusals is None else f"the first {self.spec.refusals} opens"
        return f"{times} of {', '.join(map(repr, self.picked))} refused with {self.spec.error}"

    def undo(self) -> None:
        """Disarm the rules."""
        for rule in self.rules():
            self.ground.sandbox.arm(rule.name, False)

    def refusals(self) -> list[float]:
        """When an open was refused, in the history's seconds."""
        names = {rule.name for rule in self.rules()}
        return [
            event.t
            for event in self.ground.history.of("syscall")
            if event["rule"] in names and event["action"] == "errno"
        ]

    def bite(self) -> list[str]:
        """Refused opens, as the supervisor answered them."""
        count = len(self.refusals())
        return [f"{count} opens refused with {self.spec.error}"] if count else []


class Denied(_OnFiles[PermissionDenied]):
    """Mode 000, and the job without the capabilities that override modes."""

    mechanism = "chmod 000, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH dropped"
    cause = r"permission denied|EACCES|EPERM|not permitted|access denied|forbidden|denied"
    drop_dac = True

    def prepare(self) -> None:
        """Pick the files; the repository is denied as a whole, at its root."""
        on_source = self.spec.place == "source"
        self.picked = self.choose(self.spec.pick, self.spec.files) if on_source else []
        root = self.ground.source
        self._targets = [f"{root}/{path}" for path in self.picked] or [self.ground.repository]

    def rules(self) -> Sequence[SyscallRule]:
        """Watch the opens, where that can be had, as proof that the job tried."""
        if "syscalls" not in self.ground.sandbox.capabilities:
            return ()
        below = self.spec.place == "repository"
        paths = tuple(_literal(path) for path in self._targets) + tuple(
            f"{_literal(path)}/**" for path in self._targets if below
        )
        return [
            SyscallRule(name=f"{self.name}.watch", calls=("open",), paths=paths, action="observe", armed=True)
        ]

    def cause_pattern(self) -> str:
        """Words for a refusal, or the file's name."""
        return f"{self.cause}|{self.names()}" if self.picked else self.cause

    def apply(self) -> str:
        """Take all permissions away."""
        self._modes = [
            self.ground.sandbox.call("chmod", path=path, mode=0)["before"] for path in self._targets
        ]
        what = ", ".join(map(repr, self.picked)) if self.picked else "the repository"
        return f"no permissions on {what}"

    def verify(self) -> None:
        """The file system shows mode 000."""
        for path in self._targets:
            mode = self.ground.sandbox.call("stat", path=path)["mode"]
            if mode & 0o7777:
                raise HarnessBroken(f"{path} still has mode {mode & 0o7777:o}")

    def undo(self) -> None:
        """Give every mode back, each even if another fails."""
        errors = []
        for path, mode in zip(self._targets, self._modes, strict=True):
            try:
                self.ground.sandbox.call("chmod", path=path, mode=mode)
            except HarnessBroken as error:
                errors.append(str(error))
        if errors:
            raise HarnessBroken("; ".join(errors))

    def verify_undone(self) -> None:
        """The file system shows the modes of before."""
        for path, mode in zip(self._targets, self._modes, strict=True):
            now = self.ground.sandbox.call("stat", path=path)["mode"]
            if now & 0o7777 != mode & 0o7777:
                raise HarnessBroken(f"{path} has mode {now & 0o7777:o}, not {mode & 0o7777:o}")

    def bite(self) -> list[str]:
        """Opens of the forbidden path seen, or the job said so."""
        start, end = self.window()
        opens = [
            e
            for e in self.ground.events("syscall", since=start)
            if e["rule"] == f"{self.name}.watch" and e.t <= end
        ]
        facts = []
        if opens:
            facts.append(f"{len(opens)} opens of a path with mode 000")
        told = [
            event
            for event in self.ground.events("log", "service", since=start)
            if event.t <= end + SETTLE and re.search(self.cause, event["text"], re.IGNORECASE)
        ]
        if told:
            facts.append(f"{len(told)} messages about permissions, first: {told[0]['text'][:300]!r}")
        return facts


def _literal(path: str) -> str:
    """The path with the pattern characters of fnmatch escaped."""
    return re.sub(r"([*?[])", r"[\1]", path)
