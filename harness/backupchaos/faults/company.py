"""Others beside the job: a second job on the same repository, a producer that dies."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import replace
from typing import Any

from backupchaos.commands import Command
from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import came_back, too_often
from backupchaos.faults.base import Fault, Ground, JobShape, Means, Stream
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.files import literal
from backupchaos.model.faults.processes import ProcessConcurrent, ProcessStdinDies
from backupchaos.targets.base import Target, Workspace
from backupchaos.units import format_size

REACH = 10.0
"""Seconds for which a held job waits until the other has come as far as the repository."""
STEP = 0.02
PRODUCER = 60.0
"""Seconds that a producer may take to print the source of a run into memory."""
GRACE = 5.0
"""Seconds between TERM and KILL for somebody who does not end."""


class Company(Fault[Any]):
    """Starts somebody beside the job."""

    def means(self) -> Means:
        """What the engine does for us."""
        if self.ground.means is None:
            raise HarnessBroken(f"fault {self.name}: nobody can start a process beside the job")
        return self.ground.means

    def target(self) -> tuple[Target, Workspace]:
        """Who is to be started, and where it works."""
        if self.ground.target is None or self.ground.workspace is None:
            raise HarnessBroken(f"fault {self.name}: there is no target")
        return self.ground.target, self.ground.workspace

    def clock(self, monotonic: float) -> float:
        """A moment of ``time.monotonic`` in the history's seconds."""
        return monotonic - self.ground.history.t0


class Concurrent(Company):
    """Somebody else works on the same repository: a second backup, a prune or a check.

    It starts at the trigger, and a job that is held at its trigger goes on when the other has come as far as the
    repository: else it might be over by then. After the job it is waited for, before anybody looks at
    the repository. Whoever does not end in ``patience`` is ended, and that is the hang of one of the two.
    """

    spec: ProcessConcurrent
    cause = r"\block(s|ed|ing)?\b|already (running|in use|exists)|\bin use\b|another|\bbusy\b|concurrent|exclusive"

    def __init__(self, name: str, spec: ProcessConcurrent, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self.mechanism = f"a {spec.what} of the same target, started beside the job"
        self._started: list[tuple[int, float, str]] = []
        self._waited: set[int] = set()
        self._job: int | None = None
        self._job_started = 0.0

    def available(self) -> None:
        """The target must have such a command."""
        if self._command() is None:
            target, _ = self.target()
            raise MissingCapability(self.spec.what, f"target {target.name} has no {self.spec.what} command")

    def _command(self) -> Command | None:
        target, work = self.target()
        if self.spec.what == "backup":
            return target.backup(self._beside(target, work))
        return target.prune(work) if self.spec.what == "prune" else target.check(work)

    @staticmethod
    def _beside(target: Target, work: Workspace) -> Workspace:
        """The same place; but a job that keeps its own states is asked for those of the newest one, and that
        must remain the job under judgement."""
        if target.profile.states != "own":
            return work
        return replace(work, state=f"{work.state}/beside")

    def apply(self) -> str:
        """Start it; it works on while the job does."""
        command = self._command()
        assert command is not None
        target, work = self.target()
        own = self._beside(target, work).state
        if own != work.state:
            self.ground.sandbox.call("make_directory", path=own)
        watched = "syscalls" in self.ground.sandbox.capabilities
        rule = f"{self.name}.{len(self._started)}"
        pid = self.means().start(command, what=self.spec.what, rules=[self._contact(rule)] if watched else ())
        self._started.append((pid, self.ground.history.now(), rule if watched else ""))
        end = time.monotonic() + REACH
        while watched and not self.syscalls(rule) and time.monotonic() < end:
            if self.means().wait(pid, STEP) is not None:
                break
        return f"a {self.spec.what} on the same repository, process {pid}"

    def _contact(self, name: str) -> SyscallRule:
        """The first time that it opens something in the repository, or connects to its server."""
        _, work = self.target()
        if work.location.kind == "local":
            return SyscallRule(name, ("open",), (f"{literal(work.location.path)}/**",), times=1, armed=True)
        return SyscallRule(
            name, ("connect",), (f"{work.location.host}:{work.location.port}",), times=1, armed=True
        )

    def after_job(self) -> None:
        """Wait for it, so that what it does is not taken for something that happens by itself later."""
        means = self.means()
        self._job, self._job_started = self.ground.job_pid, self.ground.started_at
        for pid, _, _ in self._started:
            if pid in self._waited:
                continue
            self._waited.add(pid)
            code = means.wait(pid, self.spec.patience)
            killed = code is None
            if killed:
                code = self._end(pid)
            self.ground.history.append(
                "beside.end",
                what=self.spec.what,
                pid=pid,
                returncode=code,
                killed=killed,
                patience=self.spec.patience,
            )

    def _end(self, pid: int) -> int:
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.ground.sandbox.signal(pid, number, tree=True)
            code = self.means().wait(pid, GRACE)
            if code is not None:
                self.ground.sandbox.signal(pid, signal.SIGKILL, tree=True)  # what it left
                return code
        raise HarnessBroken(f"process {pid}, the {self.spec.what} beside the job, survived SIGKILL")

    def blows(self) -> Blows:
        """While both lived: from when the other came to the repository."""
        ends = self.means().exits
        lives = [
            (calls[0].t if (calls := self.syscalls(rule)) else start, self.clock(ends[pid][1]))
            for pid, start, rule in self._started
            if pid in ends
        ]
        return blows("burden", [(begun, max(begun, ended)) for begun, ended in lives])

    def strays(self) -> list[str]:
        """Somebody who was started without being due, or who still works beside the jobs that come after."""
        exits = self.means().exits
        alive = [pid for pid, _, _ in self._started if pid in self._waited and pid not in exits]
        facts = [f"process {pid}, the {self.spec.what} beside the job, still lives" for pid in alive]
        return [
            *too_often(self, len(self._started), f"a {self.spec.what} was started beside the job"),
            *facts,
        ]

    def bite(self) -> list[str]:
        """Both lived at the same time, by the kernel's reports of their ends; and the other came as far as the
        repository while the job was running, by the supervisor."""
        exits = self.means().exits
        if self._job not in exits:
            return []
        ended = self.clock(exits[self._job][1])
        facts = []
        for pid, started, rule in self._started:
            reached = self.syscalls(rule)
            if pid not in exits or (rule and (not reached or reached[0].t > ended)):
                continue
            both = min(ended, self.clock(exits[pid][1])) - max(self._job_started, started)
            if both > 0:
                facts.append(
                    f"the job and a {self.spec.what} (process {pid}, exit {exits[pid][0]}) ran at the same time for "
                    f"{both * 1000:.0f} ms"
                    + (f"; it came to {reached[0]['path'][:100]!r} meanwhile" if reached else "")
                )
        return facts


class StdinDies(Company):
    """``producer | job``, and the producer is killed when it has written a share of what it had to write.

    To the job the pipe just ends, as if all had been said. Whether that is a backup is judged by what the
    producer would have written, which is found out before.
    """

    spec: ProcessStdinDies
    mechanism = "seccomp user notification on the producer's writes, SIGKILL at the byte"
    needs = frozenset({"syscalls"})
    cause = (
        r"standard input|\bstdin\b|unexpected(ly)? (end|eof)|\beof\b|truncated|incomplete|broken pipe|"
        r"ended (early|without|too soon)|producer"
    )

    def __init__(self, name: str, spec: ProcessStdinDies, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._producer: int | None = None
        self._read_end = -1

    def available(self) -> None:
        """The target must be able to store its standard input."""
        self._pipeline()

    def _pipeline(self) -> tuple[Command, Command]:
        target, work = self.target()
        found = target.pipeline(work)
        if found is None:
            raise MissingCapability(
                "standard input", f"target {target.name} does not store its standard input"
            )
        return found

    def prepare(self) -> None:
        """Let the producer run to its end once, and keep what it says."""
        producer, _ = self._pipeline()
        with open(os.memfd_create("stream"), "w+b") as file:
            pid = self.ground.sandbox.spawn(producer, role="tool", stdout=file.fileno())
            code = self.means().wait(pid, PRODUCER)
            if code != 0:
                raise HarnessBroken(f"fault {self.name}: the producer ended with {code}, without any fault")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.stream = Stream(os.fstat(file.fileno()).st_size, digest)
        self._last = int(self.stream.size * self.spec.share)

    def command(self, command: Command) -> Command:
        """The job is the right side of the pipeline."""
        return self._pipeline()[1]

    def apply(self) -> str:
        """Start the producer; it waits for its reader."""
        producer, _ = self._pipeline()
        rule = SyscallRule(
            self.name, ("write",), ("pipe:*",), "kill", skip=self._last, times=1, measure="bytes", armed=True
        )
        self._read_end, write_end = os.pipe()
        try:
            self._producer = self.ground.sandbox.spawn(producer, role="tool", stdout=write_end, rules=[rule])
        finally:
            os.close(write_end)
        return f"the job's standard input ends after at most {format_size(self._last)}"

    def shape(self) -> JobShape:
        """The pipe's end for the job."""
        return JobShape(stdin=self._read_end)

    def undo(self) -> None:
        """End a producer that is still waiting for its reader, and forget the pipe."""
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1
        if self._producer is not None and self._producer not in self.means().exits:
            self.ground.sandbox.signal(self._producer, signal.SIGKILL, tree=True)
            self.means().wait(self._producer, GRACE)

    def verify_undone(self) -> None:
        """Nobody writes any more."""
        if self._producer is not None and self._producer not in self.means().exits:
            raise HarnessBroken(f"the producer, process {self._producer}, survived SIGKILL")

    def blows(self) -> Blows:
        """When the producer was killed; what it had written may still be read after that."""
        return blows("refusal", [event.t for event in self.syscalls(self.name, action="kill")])

    def strays(self) -> list[str]:
        """A producer that was killed at another time, or that still writes."""
        return [*self.out_of_window(self.name, action="kill"), *came_back(self)]

    def bite(self) -> list[str]:
        """The supervisor killed it in the middle of its output, and the kernel says that it died of that."""
        killed = self.syscalls(self.name, action="kill")
        exits = self.means().exits
        if not killed or self._producer is None or self.stream is None:
            return []
        if exits.get(self._producer, (0, 0.0))[0] != -signal.SIGKILL:
            return []
        return [
            f"the producer was killed at its write number {killed[0]['ordinal']}, before it had written more than "
            f"{self._last} of its {self.stream.size} bytes"
        ]


MECHANISMS: dict[str, type[Fault[Any]]] = {"process.concurrent": Concurrent, "process.stdin_dies": StdinDies}
