"""Limits on memory, descriptors, processes and processor time, and a poor environment.

Control groups where the machine lets us make one, since the kernel counts there what it refused; else
what comes nearest and can still be proved. What was taken stands in ``mechanism``.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.commands import Command
from backupchaos.environments.base import SyscallRule
from backupchaos.errors import MissingCapability
from backupchaos.faults.base import SETTLE, Fault, Ground, JobShape
from backupchaos.faults.blows import Blows, blows, refusals
from backupchaos.faults.limits import GROUP, Born, InGroup, is_go, limit_in
from backupchaos.model.faults.processes import (
    ProcessCpu,
    ProcessFds,
    ProcessMinimalEnv,
    ProcessOom,
    ProcessPids,
)
from backupchaos.units import format_size


class Oom(InGroup[ProcessOom]):
    """The job may use no more memory. What it writes to the volumes of the sandbox, which are memory, counts too.

    Without a control group the address space is limited, and allocations fail instead of the kernel killing: not for
    Go, which reserves hundreds of megabytes and never touches them. The kernel counts no refusal then, and
    no system call is there to see: proof is the limit in force and the job's own words.
    """

    controller = "memory"
    ways = (GROUP, "a limit on the address space")
    cause = r"out of memory|memory|ENOMEM|cannot allocate|bad_alloc|\bkilled\b|oom|map segment|cannot map"
    told = (
        r"out of memory|MemoryError|ENOMEM|cannot allocate memory|bad_alloc|failed to map segment|cannot map"
    )

    def available(self) -> None:
        """A control group, or a program that does without."""
        reason = self.find_group()
        if not reason:
            return
        self.mechanism = "RLIMIT_AS, a limit on the address space"
        if self.ground.target is None or self.ground.workspace is None:
            return
        word = self.ground.target.backup(self.ground.workspace).argv[0]
        if is_go(shutil.which(word) or word):
            raise MissingCapability(
                "cgroup memory", f"{reason}; and a Go program cannot live with a limit on its address space"
            )

    def apply(self) -> str:
        """Limit the group; without one, the job is born with its limit."""
        if self._group is not None:
            self.limit(self.spec.memory)
        return f"the job may use {format_size(self.spec.memory)} of memory"

    def shape(self) -> JobShape | None:
        """In the group, or with the resource limit."""
        return super().shape() or JobShape(rlimits={"as": self.spec.memory})

    def limited(self, born: Mapping[str, Any]) -> bool:
        """By the limit on its address space."""
        return limit_in(born, "Max address space") == str(self.spec.memory)

    def bite(self) -> list[str]:
        """The kernel's count of processes that it killed for lack of memory."""
        if self._group is not None:
            return [f"the kernel killed for lack of memory: oom_kill {self._hits}"] if self._hits else []
        start, end = self.window()
        said = [
            event["text"]
            for event in self.ground.events("log", since=start)
            if event.t <= end + SETTLE and re.search(self.told, event["text"], re.IGNORECASE)
        ]
        limit = limit_in(self.born, "Max address space")
        if not said or limit != str(self.spec.memory):
            return []
        return [f"with a limit of {limit} bytes on its address space the job said: {said[0][:200]!r}"]


class Pids(InGroup[ProcessPids]):
    """The job can start no more processes and threads.

    Not by RLIMIT_NPROC: root is exempt from it, it counts all processes of the user, and no refusal by
    it can be seen. Without a control group the supervisor refuses what would start one.
    """

    controller = "pids"
    ways = (GROUP, "the system call supervisor")
    cause = r"fork|EAGAIN|resource temporarily unavailable|thread|cannot start|no more processes|pthread_create|clone"

    def available(self) -> None:
        """A control group, or the supervisor."""
        reason = self.find_group()
        if reason and "syscalls" not in self.ground.sandbox.capabilities:
            raise MissingCapability("cgroup pids", f"{reason}; and there is no system call supervisor")
        if reason:
            self.mechanism = "seccomp user notification on clone, fork and vfork"

    def rules(self) -> Sequence[SyscallRule]:
        """Let ``limit`` of them pass, and refuse the rest as the kernel would."""
        if self._group is not None:
            return ()
        calls, number = ("process",), errno.EAGAIN
        return [SyscallRule(self.name, calls, ("*",), "errno", number, skip=self.spec.limit, armed=True)]

    def apply(self) -> str:
        """The job's own first process counts in a control group."""
        if self._group is not None:
            self.limit(1 + self.spec.limit)
        return f"the job may start {self.spec.limit} processes and threads"

    def undo(self) -> None:
        """Lift the limit."""
        super().undo()
        if self._group is None:
            self.ground.sandbox.arm(self.name, False)

    def strays(self) -> list[str]:
        """What the kernel counted, or the supervisor refused, when there was no limit."""
        return super().strays() if self._group is not None else self.out_of_window(self.name)

    def bite(self) -> list[str]:
        """Refusals, as the kernel counted them or the supervisor gave them."""
        if self._group is not None:
            return (
                [f"the kernel refused to start a process or thread: max {self._hits}"] if self._hits else []
            )
        refused = self.syscalls(self.name, action="errno")
        return [f"{len(refused)} times refused with EAGAIN, first: {refused[0]['call']}"] if refused else []

    def blows(self) -> Blows | None:
        """When the supervisor refused; the kernel only counts."""
        if self._group is not None:
            return super().blows()
        return refusals(self.syscalls(self.name, action="errno"), until=self.window()[1])


class Cpu(InGroup[ProcessCpu]):
    """The job gets a share of one processor.

    Without a control group the agent stops and continues its processes ten times a second.
    """

    controller = "cpu"
    ways = (GROUP, "stopping and continuing")
    cause = r"time[d -]?out|deadline|too slow|lost"

    def __init__(self, name: str, spec: ProcessCpu, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._stops = 0

    def available(self) -> None:
        """Stopping works wherever processes can be started."""
        if self.find_group():
            self.mechanism = "SIGSTOP and SIGCONT, ten times a second"

    def apply(self) -> str:
        """Set the quota, or begin to stop it."""
        if self._group is not None:
            self.limit(self.spec.share)
        else:
            self.ground.sandbox.throttle(self.spec.share)
        return f"the job gets {self.spec.share:.0%} of one processor"

    def undo(self) -> None:
        """Give it all."""
        super().undo()
        if self._group is None:
            self._stops += self.ground.sandbox.throttle(None)

    def strays(self) -> list[str]:
        """Periods after the limit was gone in which somebody had to wait; or stops, of which the agent knows."""
        if self._group is not None:
            return super().strays()
        stops = self.ground.sandbox.throttle(None) if self.undone_at is not None else 0
        return [f"the target's processes were stopped {stops} times after it was undone"] if stops else []

    def bite(self) -> list[str]:
        """Periods in which the job had used up its share and wanted more, or stops of a job that wanted to run."""
        if self._group is not None:
            return [f"the job had to wait for the processor: nr_throttled {self._hits}"] if self._hits else []
        return [f"the job was stopped {self._stops} times when it wanted to run"] if self._stops else []

    def blows(self) -> Blows:
        """It gets on, only later."""
        return blows("burden", self.spans())


class Fds(Born[ProcessFds]):
    """The job may have no more descriptors open at once.

    That an open fails is decided after the supervisor has seen it; that it must fail is known before: the
    caller has as many open as it may have.
    """

    mechanism = "RLIMIT_NOFILE"
    needs = frozenset({"syscalls"})
    cause = r"too many open files|EMFILE|file descriptor|descriptors|(failed with|errno[ =]) ?24\b"

    def rules(self) -> Sequence[SyscallRule]:
        """Calls that make a descriptor, by callers that have none left."""
        calls = ("open", "descriptor")
        return [SyscallRule(self.name, calls, ("*",), "observe", measure="descriptors", armed=True)]

    def apply(self) -> str:
        """The job is born with it."""
        return f"the job may have {self.spec.limit} descriptors open"

    def shape(self) -> JobShape:
        """The resource limit."""
        return JobShape(rlimits={"nofile": self.spec.limit})

    def undo(self) -> None:
        """It ended with the job; stop looking."""
        self.ground.sandbox.arm(self.name, False)

    def limited(self, born: Mapping[str, Any]) -> bool:
        """By its limit on open files."""
        return limit_in(born, "Max open files") == str(self.spec.limit)

    def strays(self) -> list[str]:
        """Callers that ran out of descriptors at another time, and jobs that were born to."""
        return [*self.out_of_window(self.name), *super().strays()]

    def bite(self) -> list[str]:
        """Calls that asked for one more, and could not be given it."""
        found = self.syscalls(self.name)
        limit = limit_in(self.born, "Max open files")
        if not found or not limit or int(limit) > self.spec.limit:
            return []
        first = found[0]
        where = f" of {first['path']!r}" if first["path"].startswith("/") else ""
        return [
            f"{len(found)} calls for one more descriptor with all {limit} in use, first: {first['call']}{where[:200]}"
        ]

    def blows(self) -> Blows:
        """When no descriptor was left."""
        return refusals(self.syscalls(self.name), until=self.window()[1])


class MinimalEnv(Born[ProcessMinimalEnv]):
    """As under cron or a service manager: no HOME, a short PATH, ``/`` as the directory, no terminal.

    What the adapter's command sets itself stays, as it would stand in the crontab: the repository, its password, a
    cache directory if the adapter names one, and the directory that it has to be run in (``cd DIR && tool``).
    What the sandbox gives to every process otherwise goes: HOME, TMPDIR, LANG and the XDG directories. A program
    that is named without a path is started by ``/bin/sh``, as cron does.
    """

    mechanism = "execve with an environment of its own"
    cause = (
        r"\$?HOME\b|XDG_|environment|\bPATH\b|not found|no such file|home directory|cache|working directory|"
        r"terminal|\btty\b|locale|read-only"
    )
    PATH = "/usr/bin:/bin"
    SHELL = "/bin/sh"
    _cwd = "/"

    def command(self, command: Command) -> Command:
        """A program that is not on the short PATH is the shell's to miss, not ours to refuse."""
        self._cwd = command.cwd or "/"
        if "/" in command.argv[0]:
            return command
        argv = (self.SHELL, "-c", 'exec "$0" "$@"', *command.argv)
        return Command(argv, command.env, command.cwd, command.stdin, command.secrets)

    def apply(self) -> str:
        """The job is born with it."""
        return f"no HOME, PATH={self.PATH}, SHELL={self.SHELL}, working directory {self._cwd}"

    def shape(self) -> JobShape:
        """Nothing of the sandbox's own environment."""
        own: dict[str, str | None] = {"PATH": self.PATH, "SHELL": self.SHELL, "HOME": None, "TERM": None}
        return JobShape(env=own, only_env=True, cwd=self._cwd)

    def limited(self, born: Mapping[str, Any]) -> bool:
        """No home, and the short PATH."""
        return "HOME" not in born["names"] and born["env"].get("PATH") == self.PATH

    def bite(self) -> list[str]:
        """What ``/proc`` said of the job right after its exec."""
        seen = self.born
        if not seen or not self.limited(seen):
            return []
        if seen["cwd"] != self._cwd:
            return []
        names = ", ".join(name for name in seen["names"] if not name.startswith("BACKUPCHAOS_R"))
        return [f"the job's working directory was {self._cwd} and its environment {names[:300]}"]

    def blows(self) -> Blows:
        """It is there all the time."""
        return blows("burden", self.spans())


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "process.oom": Oom,
    "process.fds": Fds,
    "process.pids": Pids,
    "process.cpu": Cpu,
    "process.minimal_env": MinimalEnv,
}
