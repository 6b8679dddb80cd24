"""Another version of the tool does one job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.environments.base import InContainers, SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import JOB
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.contact import Contact
from backupchaos.model.faults.repository import VersionDrift
from backupchaos.targets.base import Workspace

HINT = "give one: {version.drift: target, program: /path/to/it}"


def exchanged(command: Command, own: Command, other: Command) -> Command:
    """``command`` with what is of ``own`` in it replaced by what ``other`` has; other faults may have wrapped it."""
    size = len(own.argv)
    if command.argv[-size:] != own.argv:
        raise HarnessBroken("the job's command is not what the adapter said: it cannot be another version's")
    env = {name: value for name, value in command.env.items() if name not in own.env or name in other.env}
    env |= {name: value for name, value in other.env.items() if own.env.get(name) != value}
    cwd = other.cwd if command.cwd == own.cwd else command.cwd
    argv = (*command.argv[:-size], *other.argv)
    return Command(argv, env, cwd, other.stdin, (*command.secrets, *other.secrets))


class OtherVersion(Contact[VersionDrift]):
    """The job's program is another one, or the target itself knows how another version would do the job.

    Everything else (lists, restores, checks, the other jobs) is done by the version that did the first job: it
    must be able to read what the other one has written, or the other one must refuse to write, loudly.
    """

    mechanism = "another program, or other settings, in the job's command"
    cause = (
        r"\bversion|unsupported|not supported|incompatib|unknown (format|feature|option|argument|flag|command)"
        r"|unrecogni[sz]ed|too (new|old)|upgrade|migrat"
    )
    difference = ""
    seen: Workspace | None = None
    program: str | None = None

    def available(self) -> None:
        """There must be another version, and somebody who sees it started."""
        self.need_a_witness(of_repository=False)
        wanted = self.spec.program
        if wanted is None:
            if self.target.drifted(self.work) is None:
                reason = f"target {self.target.name} knows of no other version of itself"
                raise MissingCapability("another version", reason, HINT)
            return
        found = self._found(wanted)
        # Images are searched by the name as well, and what is of that name there may be the version of all other jobs.
        if not found or ("/" in wanted and os.path.abspath(wanted) != found):
            place = " in the target's image" if self._contained else ""
            reason = f"{wanted} is not there{place}, or may not be executed"
            raise MissingCapability("another version", reason, HINT)
        self.program = found

    @property
    def _contained(self) -> InContainers | None:
        sandbox = self.ground.sandbox
        return sandbox if isinstance(sandbox, InContainers) else None

    def _found(self, program: str) -> str:
        """Where the sandbox has a program: on this machine, or in the target's image."""
        if self._contained:
            return self._contained.finds("target", program)
        found = shutil.which(program)
        return os.path.abspath(found) if found else ""

    def prepare(self) -> None:
        """Ask both for their version; two copies of the same program are no drift."""
        if self.program is None:
            return
        own = self.target.version()
        if self._same_file(own.argv[0], self.program):
            reason = f"{self.program} is the program that the target runs anyway"
            raise MissingCapability("another version", reason, HINT)
        self.program = self._shown(self.program)
        says = [self._says(command) for command in (own, Command((self.program, *own.argv[1:]), own.env))]
        self.difference = f"{self.program} says {says[1]!r}, the version of the other jobs {says[0]!r}"

    def _shown(self, program: str) -> str:
        """The program's path where the sandbox sees it; it may lie in a directory that the sandbox hides."""
        if self._contained:
            return program
        real = os.path.realpath(program)
        try:
            self._expose({program, real})
        except OSError:  # a link in a hidden directory that leads out of it
            self._expose({real})
            return real
        return program

    def _expose(self, paths: set[str]) -> None:
        """What the sandbox hides is shown to it with the first process that needs it."""
        pid = self.ground.sandbox.spawn(Command(("true",)), role="tool", expose=sorted(paths))
        self.means.wait(pid, 10.0)

    def _says(self, command: Command) -> str:
        return self.target.parse_version(self.means.run(command, what="version", timeout=20.0))[:200]

    def _same_file(self, one: str, other: str) -> bool:
        found = self._found(one)
        if self._contained:
            return found == other
        return bool(found) and os.path.realpath(found) == os.path.realpath(other)

    def workspace(self, work: Workspace) -> Workspace:
        """Remember what the job's own command is made from."""
        self.seen, self.own = work, self.target.backup(self.work)
        return work

    def command(self, command: Command) -> Command:
        """The other version's."""
        assert self.seen is not None
        own = self.target.backup(self.seen)
        if self.program is not None:
            return exchanged(
                command, own, Command((self.program, *own.argv[1:]), own.env, own.cwd, own.stdin)
            )
        other = self.target.drifted(self.seen)
        assert other is not None
        self.difference = describe(own, other)
        return exchanged(command, own, other)

    def rules(self) -> Sequence[SyscallRule]:
        """Watch the other program being executed."""
        assert self.seen is not None
        drifted = None if self.program else self.target.drifted(self.seen)
        name = self.program or (drifted.argv[0] if drifted else "")
        return self.witness([name if "/" in name else shutil.which(name) or name], ("exec",))

    def apply(self) -> str:
        """The command was made already."""
        return self.difference

    def verify(self) -> None:
        """There is a difference."""
        if not self.difference:
            raise HarnessBroken("the other version's command is the same as the target's own")

    def blows(self) -> Blows:
        """It is there all the time."""
        return blows("burden", self.spans())

    def strays(self) -> list[str]:
        """Another job that the other program has done, or an adapter that goes on as the other version."""
        facts = self.out_of_window(f"{self.name}.met")
        if self.seen is not None and self.windows:
            now = self.target.backup(self.seen)
            if now != self.own and now == self.target.drifted(self.seen):
                facts.append("the target's own command has become the other version's")
            others = [event for event in self.ground.history.of("job.start") if event["job"] != JOB]
            words = [event for event in others if self.program and self.program in event["command"].split()]
            facts += [f"the {event['job']} job was done by {self.program}" for event in words]
        return facts

    def bite(self) -> list[str]:
        """The kernel was asked to execute it, with what is different."""
        ran = self.touches()
        return [f"the job executed {ran[0]['path']}: {self.difference}"] if ran and self.windows else []


def describe(own: Command, other: Command) -> str:
    """What is different between two commands, secrets left out; empty if nothing is."""
    secrets = (*own.secrets, *other.secrets)
    parts = []
    if own.argv != other.argv:
        parts.append(f"arguments {' '.join(word for word in other.argv if word not in own.argv) or 'fewer'}")
    for name in sorted({*own.env, *other.env}):
        was, now = own.env.get(name), other.env.get(name)
        if was != now:
            hidden = any(secret and secret in (now or "") for secret in secrets)
            parts.append(f"{name}={'•••' if hidden else now}" if now is not None else f"no {name}")
    return ", ".join(parts)
