"""Source files that change while the job reads them.

The supervisor stops the job at the very call that matters, the file is changed, and the job goes on: no
sleep, no luck. Each file changes once. When the job has ended the file is put back as it was, with its times and
those of its directory, since all that comes later is judged against the source of before.

What is fair to ask of a tool that is run on a living system, and what a claim of success without a word
about the file must then mean, is in ``engine.moved``; each class here says what its own change allows. A tool
that says in a warning or an error, after its last open of the file, that it changed, may hold anything of it:
it has told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from backupchaos.environments.base import SandboxEvent, SyscallRule
from backupchaos.errors import BackupChaosError, HarnessBroken
from backupchaos.faults.base import Fault, Ground, Leniency
from backupchaos.faults.blows import Blows, How, blows
from backupchaos.faults.files import FileSpec, LookedAt, OnFiles, literal
from backupchaos.faults.files_special import Planted
from backupchaos.faults.files_told import told
from backupchaos.model.faults.files import FileGrows, FileReplaced, FileTruncated, FileVanishes


class Changing(OnFiles[FileSpec]):
    """Holds the job at a call on a picked file, changes the file, and lets go."""

    needs = frozenset({"syscalls"})
    calls: ClassVar[tuple[str, ...]] = LookedAt
    how: ClassVar[str]
    leniency: ClassVar[Leniency]
    strikes_as: ClassVar[How] = "burden"

    def __init__(self, name: str, spec: FileSpec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._kept: dict[str, tuple[int, dict[str, Any]]] = {}
        self._changes: dict[str, str] = {}
        self._deaf: Callable[[], None] | None = None

    def prepare(self) -> None:
        """Pick the files, and keep what they are; in memory, for the source has no place that no tool sees."""
        spec: Any = self.spec
        self.picked = self.choose(spec.pick, spec.files)
        for path in self.picked:
            fd = os.memfd_create(f"kept by {self.name}")
            self._kept[path] = fd, self.ground.sandbox.call("set_aside", fds=(fd,), path=self.full(path))

    def rules(self) -> Sequence[SyscallRule]:
        """For each file one that stops the first call of the kind, and one that sees every open."""
        found = []
        for number, path in enumerate(self.picked):
            paths = (literal(self.full(path)),)
            found.append(SyscallRule(self._hold(number), self.calls, paths, "hold", times=1))
            found.append(SyscallRule(self._opens(number), ("open",), paths, "observe"))
        return found

    def apply(self) -> str:
        """Lie in wait; the change comes with the call."""
        if self.ground.means is None:
            raise HarnessBroken("nobody reports the job's calls")
        self._deaf = self.ground.means.on_sandbox(self._on_sandbox)
        for rule in self.rules():
            self.ground.sandbox.arm(rule.name, True)
        return f"{self.shown()}: {self.plan()}"

    def plan(self) -> str:
        """What will happen to each, in words."""
        raise NotImplementedError

    def alteration(self) -> Mapping[str, Any]:
        """More arguments of the operation ``alter``."""
        return {}

    def verify(self) -> None:
        """The files are there, unchanged, so that there is something to change."""
        for path in self.picked:
            self._compare(path)

    def changed(self) -> Mapping[str, Leniency]:
        """What really changed; the job's own words about a file excuse what it holds of it."""
        found: dict[str, Leniency] = {}
        for number, path in enumerate(self.picked):
            if path in self._changes:
                opens = self.syscalls(self._opens(number))
                since = opens[-1].t if opens else 0.0
                found[path] = "any" if told(self.ground.history, path, since=since) else self.leniency
        return found

    def undo(self) -> None:
        """Stop waiting, and put back each file, even if another fails."""
        if self._deaf is not None:
            self._deaf()
            self._deaf = None
        errors: list[str] = []
        for rule in self.rules():
            self._try(errors, lambda rule=rule: self.ground.sandbox.arm(rule.name, False))  # type: ignore[misc]
        for path in self._changes:
            self._try(errors, lambda path=path: self._put_back(path))  # type: ignore[misc]
        if errors:
            raise HarnessBroken("; ".join(errors))

    def verify_undone(self) -> None:
        """Content, mode, owner and times are those of before."""
        for path in self.picked:
            self._compare(path)
        for fd, _ in self._kept.values():
            os.close(fd)
        self._kept.clear()

    def bite(self) -> list[str]:
        """The calls that were stopped, and what was done to the file meanwhile."""
        facts = []
        for number, path in enumerate(self.picked):
            stopped = [
                e for e in self.syscalls(self._hold(number), action="hold") if self.in_force(e.t, slack=0.0)
            ]
            if stopped and path in self._changes:
                call, t = stopped[0]["call"], stopped[0].t
                facts.append(f"the job's {call} of {path!r} was stopped at {t:.3f} s, {self._changes[path]}")
        return facts

    def blows(self) -> Blows:
        """When files changed; a call fails only where the file is gone."""
        holds = [self._hold(number) for number in range(len(self.picked))]
        return blows(self.strikes_as, [event.t for event in self.syscalls(*holds, action="hold")])

    def strays(self) -> list[str]:
        """Calls that were stopped before or after."""
        return self.out_of_window(*map(self._hold, range(len(self.picked))), action="hold")

    # -- at the call -----------------------------------------------------------------------------

    def _on_sandbox(self, event: SandboxEvent) -> None:
        rules = {self._hold(number): path for number, path in enumerate(self.picked)}
        path = rules.get(str(event.data.get("rule"))) if event.kind == "syscall" else None
        if path is None:
            return
        try:
            self._change(path)
        finally:
            self.ground.sandbox.release(event.data["rule"])

    def _change(self, path: str) -> None:
        seed = f"{self.ground.seed}/{self.name}"
        done = self.ground.sandbox.call(
            "alter", path=self.full(path), how=self.how, seed=seed, **self.alteration()
        )
        self._changes[path] = self.words(done["before"], done["after"])
        self.ground.history.append("source.changed", name=self.name, path=path, how=self.how, **done)

    def words(self, before: int, after: int | None) -> str:
        """What was done, by its sizes."""
        return f"the file went from {before} to {after} bytes, and the call was let go"

    # -- and back --------------------------------------------------------------------------------

    def _put_back(self, path: str) -> None:
        fd, was = self._kept[path]
        self.ground.sandbox.call("put_back", fds=(fd,), path=self.full(path), was=was)

    def _compare(self, path: str) -> None:
        fd, was = self._kept[path]
        now = self.ground.sandbox.call("stat", path=self.full(path))
        owner, mtime = [now["uid"], now["gid"]], now["mtime_ns"]
        if (now["size"], now["mode"], owner, mtime) != (
            was["size"],
            was["mode"],
            was["owner"],
            was["times"][1],
        ):
            raise HarnessBroken(f"{path} is not what it was: {now}")
        digests = {
            self.ground.sandbox.call("prefix_digest", length=was["size"], path=self.full(path)),
            self.ground.sandbox.call("prefix_digest", fds=(fd,), length=was["size"]),
        }
        if len(digests) != 1:
            raise HarnessBroken(f"{path} has another content than before")

    @staticmethod
    def _try(errors: list[str], step: Callable[[], object]) -> None:
        try:
            step()
        except (BackupChaosError, OSError) as error:
            errors.append(str(error))

    def _hold(self, number: int) -> str:
        return f"{self.name}.{number}.hold"

    def _opens(self, number: int) -> str:
        return f"{self.name}.{number}.opens"


class Vanishes(Changing[FileVanishes]):
    """The file is deleted between the job's listing and its open.

    An everyday event: a temporary file, a rotated log. The backup may lack it, for at the end of the job
    there is no such file; or have it whole, for at the beginning there was. It may hold nothing else under
    that name, and it must not lose anything else: a job that ends at the first such file with a success has
    lost all that would have come after.
    """

    mechanism = "the job's open stopped by seccomp user notification, the file deleted, the open let go"
    cause = r"no such file|\bENOENT\b|vanished|disappeared"
    calls = ("open",)
    how = "vanish"
    leniency = "either"
    strikes_as = "refusal"

    def plan(self) -> str:
        """In words."""
        return "deleted when the job is about to open it"

    def words(self, before: int, after: int | None) -> str:
        """What was done."""
        return f"the file of {before} bytes was deleted, and the call was let go"


class Truncated(Changing[FileTruncated]):
    """The file loses its second half before the job's first read of its content.

    Fair is the whole, the half, and what a reader finds who gets over the middle before the cut. A file
    that is as long as it was, with zeros in place of what the job did not get, never existed.
    """

    mechanism = "the job's read stopped by seccomp user notification, the file cut, the read let go"
    cause = r"shr[aiu]nk|truncated|file (has )?changed|changed (while|during)|being updated|unexpected EOF"
    how = "truncate"
    leniency = "prefix"
    least = 2

    def plan(self) -> str:
        """In words."""
        return "cut to half when the job first reads it"


class Grows(Changing[FileGrows]):
    """The file grows at its end before the job's first read of its content, as every log does.

    Fair is what it was, what it became, and every length in between: an honest tool takes a picture of a
    growing file at some moment. Less than it ever had is a loss, and so is anything else in it. A tool need
    not notice the growth; but if it stores the old content under the new time, the next job will
    take the file for stored and never come back for the rest.
    """

    mechanism = "the job's read stopped by seccomp user notification, bytes appended, the read let go"
    cause = r"\bgr(ew|own|owing)\b|file (has )?changed|changed (while|during)|being updated"
    how = "grow"
    leniency = "prefix"

    def plan(self) -> str:
        """In words."""
        return f"{self.spec.by} bytes appended when the job first reads it"

    def alteration(self) -> Mapping[str, Any]:
        """How much."""
        return {"size": self.spec.by}


class Replaced(Changing[FileReplaced]):
    """Another file takes the name, in one step, before the job's first read of the one it has open.

    So does every careful editor and every package manager save. Both files were whole at all times, so
    that half of the one and half of the other is nobody's file: only a tool that opens the file
    more than once can make it. Whole is fair, be it the old one or the new one. The old content under the
    new one's time is not: it hides the new content from the next job, and from all that follow.
    """

    mechanism = (
        "the job's read stopped by seccomp user notification, another file renamed over it, the read let go"
    )
    cause = r"replaced|file (has )?changed|changed (while|during)|being updated"
    how = "replace"
    leniency = "either"

    def plan(self) -> str:
        """In words."""
        return "replaced by another file of that name when the job first reads it"

    def words(self, before: int, after: int | None) -> str:
        """What was done."""
        return f"another file of {after} bytes took the name of the one of {before} bytes, and the call was let go"


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "file.vanishes": Vanishes,
    "file.truncated": Truncated,
    "file.grows": Grows,
    "file.replaced": Replaced,
    "file.special": Planted,
}
