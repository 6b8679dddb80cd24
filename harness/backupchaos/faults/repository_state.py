"""A repository that is older, locked, another one, or closed to the password; a cache that is damaged or gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backupchaos.commands import Command
from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import too_often
from backupchaos.faults.base import Fault, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.contact import Contact, RepositoryContact
from backupchaos.faults.repository_copies import Rollback, Swapped
from backupchaos.faults.repository_lock import StaleLock
from backupchaos.model.faults.repository import CacheCorrupt, CacheLost, RepositoryWrongPassword
from backupchaos.targets.base import Workspace

WRONG = "tin hare bucket nail"
HOW = {"bit": "bitflip", "zeros": "zero", "half": "truncate", "empty": "empty"}


class WrongPassword(RepositoryContact[RepositoryWrongPassword]):
    """The adapter is given a workspace with another password for the repository's encryption."""

    mechanism = "another password in the job's command, environment or input"
    cause = r"pass(word|phrase)|wrong key|no key found|(cannot|could not|failed to|unable to) (decrypt|unlock)|decryption"
    given = False

    def available(self) -> None:
        """A tool whose command is the same with any password uses none."""
        super().available()
        commands = self.target.backup(self.workspace(self.work)), self.target.backup(self.work)
        wrong, right = ((one.argv, dict(one.env), one.stdin, one.cwd) for one in commands)
        if wrong == right:
            raise MissingCapability(
                "password", f"target {self.target.name} uses no password for its repository"
            )

    def workspace(self, work: Workspace) -> Workspace:
        """The same with the wrong password."""
        return replace(work, password=WRONG)

    def command(self, command: Command) -> Command:
        """What is really going to be run: the right password must stand nowhere in it."""
        texts = [*command.argv, *command.env.values(), command.stdin.decode("utf-8", "replace")]
        self.given = not any(self.work.password in text for text in texts)
        return command

    def apply(self) -> str:
        """The command was made with it already."""
        return "the job has a wrong password; every other command has the right one"

    def verify(self) -> None:
        """The right one is not in the command that was made."""
        if not self.given:
            raise HarnessBroken("the job's command still carries the right password")

    def strays(self) -> list[str]:
        """A command that the adapter makes for a workspace with the right password, and that has the wrong one.

        Which commands are given which workspace is the engine's code; only an adapter could remember.
        """
        commands = (
            self.target.backup(self.work),
            self.target.snapshots(self.work),
            self.target.check(self.work),
        )
        texts = [
            text
            for command in commands
            if command is not None
            for text in (*command.argv, *command.env.values(), command.stdin.decode("utf-8", "replace"))
        ]
        wrong = [text for text in texts if WRONG in text]
        facts = [f"{len(wrong)} words of later commands carry the wrong password"] if wrong else []
        if self.work.password == WRONG:
            facts.append("the workspace of all jobs has the wrong password")
        return facts

    def bite(self) -> list[str]:
        """The job was started with it and went to the repository."""
        met = self.repository_met() if self.windows else []
        return ["the job was started with the wrong password", *met] if met else []


class _OnCache(Contact[Spec]):
    """Acts on the regular files in the directories that the tool says are its cache."""

    cause = r"cache|index"
    files: list[str]
    strokes = 0

    def blows(self) -> Blows:
        """It is there all the time; a cache can be made anew."""
        return blows("burden", self.spans())

    def strays(self) -> list[str]:
        """A blow that was not due."""
        return too_often(self, self.strokes, "the cache was struck")

    def available(self) -> None:
        """Only the supervisor sees what the job does to its cache."""
        self.need_a_witness(of_repository=False)

    def roots(self) -> list[str]:
        """The cache's directories."""
        return [path.rstrip("/") for path in self.target.cache_files(self.work)]

    def found(self) -> list[str]:
        """All files with content below them."""
        sandbox, every = self.ground.sandbox, 1_000_000
        there = [root for root in self.roots() if self._is_directory(root)]
        return [
            path
            for root in there
            for path in sandbox.call("pick_files", root=root, pick="first", count=every)
        ]

    def _is_directory(self, path: str) -> bool:
        try:
            return bool(self.ground.sandbox.call("stat", path=path)["type"] == "directory")
        except OSError:
            return False

    def prepare(self) -> None:
        """Look what there is; raises ``MissingCapability`` for a tool without a cache."""
        self.files = self.found()
        if not self.files:
            raise MissingCapability("cache", f"target {self.target.name} keeps no cache")


class Corrupt(_OnCache[CacheCorrupt]):
    """Each file is damaged in place, times and size (where nothing is cut) as before."""

    mechanism = "cache files changed in place"
    cause = r"cache|corrupt|damage|checksum|integrity|\bhash|mismatch|invalid data|rebuil|ciphertext|unexpected (EOF|end)"

    def rules(self) -> Sequence[SyscallRule]:
        """Watch what the job does to the files."""
        return self.witness([f"{root}/**" for root in self.roots()])

    def apply(self) -> str:
        """Damage them all."""
        self.strokes += 1
        call, how = self.ground.sandbox.call, HOW[self.spec.how]
        seed = f"{self.ground.seed}/{self.name}"
        records: list[dict[str, Any]] = [call("damage", path=path, how=how, seed=seed) for path in self.files]
        self.after = {r["path"]: r["after"] for r in records if r["after"] != r["before"]}
        if not self.after:
            raise HarnessBroken("no file of the cache is different from before")
        return f"{how} in all {len(self.after)} files of the cache, such as {self.files[0]}"

    def verify(self) -> None:
        """They are damaged."""
        for path, digest in self.after.items():
            if self.ground.sandbox.call("digest", path=path) != digest:
                raise HarnessBroken(f"{path} is not damaged as it should be")

    def after_job(self) -> None:
        """Which of them the job has replaced or thrown away."""
        self.seen = {path: self.ground.sandbox.call("digest", path=path) for path in self.after}
        self.replaced = [path for path, was in self.after.items() if self.seen[path] != was]

    def strays(self) -> list[str]:
        """Damage that is there again, although the job had replaced the file."""
        call, facts = self.ground.sandbox.call, super().strays()
        if not self.windows or self.spec.how == "empty":  # an empty file may be the job's own
            return facts
        mended = [path for path in self.replaced if self.seen[path] is not None]
        again = [path for path in mended if call("digest", path=path) == self.after[path]]
        return facts + [f"{path} had been replaced, and is damaged again" for path in again[:3]]

    def bite(self) -> list[str]:
        """The job opened damaged files, or replaced or removed them."""
        if not self.windows:
            return []
        opens = {event["path"] for event in self.touches() if event["call"].startswith(("open", "creat"))}
        opened = [path for path in self.after if path in opens]
        facts = [f"the job opened {len(opened)} damaged files, first {opened[0]}"] if opened else []
        if self.replaced:
            facts.append(
                f"the job replaced or removed {len(self.replaced)} of them, first {self.replaced[0]}"
            )
        return facts


class Lost(_OnCache[CacheLost]):
    """The cache's directories are emptied."""

    mechanism = "cache directories emptied"

    def rules(self) -> Sequence[SyscallRule]:
        """Watch whether the job looks for anything there."""
        return self.witness([f"{root}/**" for root in self.roots()], ("open", "stat", "access", "mkdir"))

    def apply(self) -> str:
        """Remove everything in them."""
        self.strokes += 1
        for root in self.roots():
            if self._is_directory(root):
                self.ground.sandbox.call("remove_tree", path=root)
        return f"{len(self.files)} files of the cache removed"

    def verify(self) -> None:
        """Nothing is left."""
        left = self.found()
        if left:
            raise HarnessBroken(f"{left[0]} is still there")

    def after_job(self) -> None:
        """What the job has made anew."""
        self.made = self.found()

    def bite(self) -> list[str]:
        """The job missed a file that had been there, or made its cache anew."""
        if not self.windows:
            return []
        missed = [path for path in self.files if any(event["path"] == path for event in self.touches())]
        facts = [f"the job looked for {missed[0]}, which is gone"] if missed else []
        if self.made:
            facts.append(f"the job made {len(self.made)} files of its cache anew, first {self.made[0]}")
        return facts


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "repository.rollback": Rollback,
    "repository.stale_lock": StaleLock,
    "repository.swapped": Swapped,
    "repository.wrong_password": WrongPassword,
    "cache.corrupt": Corrupt,
    "cache.lost": Lost,
}
