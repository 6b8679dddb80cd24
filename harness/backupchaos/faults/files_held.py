"""Source files that somebody holds locked, in the way that Linux knows: nobody has to ask."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence

from backupchaos.commands import Command
from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.files import Locked, literal
from backupchaos.targets.interpreter import python_paths

PATIENCE = 20.0
"""Seconds that the helper has to take its locks, and to end."""
HOLDER = """
import fcntl, os, signal, sys
held = [os.open(path, os.O_RDWR | os.O_NOFOLLOW) for path in sys.argv[1:]]
for fd in held:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.write(1, b"held")
signal.pause()
"""


class Held(Locked):
    """A process beside the job holds ``flock`` and ``fcntl`` locks on the file, exclusively.

    On Linux such locks bind only those who ask for them, and backup tools do not ask: the right outcome
    is a success with the whole file. What the fault brings to light is a tool that waits for the lock without
    end, or that leaves the file out. It bites when the job opens the file while the lock is held, which
    is asked of the kernel before the job starts and once more when it has ended.
    """

    mechanism = "flock and fcntl locks held by a helper process"
    cause = r"\block(ed)?\b|EAGAIN|EWOULDBLOCK|temporarily unavailable|in use"

    _pid = 0
    _stdout = -1
    _kept = False

    def rules(self) -> Sequence[SyscallRule]:
        """Watch the opens, as proof that the job came by."""
        paths = tuple(literal(self.full(path)) for path in self.picked)
        return [SyscallRule(name=f"{self.name}.opens", calls=("open",), paths=paths, action="observe")]

    def apply(self) -> str:
        """Start the helper; when this returns it holds the locks."""
        command = Command((sys.executable, "-IS", "-c", HOLDER, *map(self.full, self.picked)))
        self._stdout, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = self.ground.sandbox.spawn(
                command, role="tool", stdout=theirs, expose=python_paths("backupchaos")
            )
        finally:
            os.close(theirs)
        if self._said() != b"held":
            raise HarnessBroken(f"the helper (pid {self._pid}) could not lock {self.shown()}")
        self.arm()
        return f"process {self._pid} holds flock and fcntl locks on {self.shown()}"

    def verify(self) -> None:
        """The kernel refuses both locks to everybody else."""
        for path in self.picked:
            state = self.ground.sandbox.call("lock_state", path=self.full(path))
            free = [kind for kind, held in state.items() if not held]
            if free:
                raise HarnessBroken(f"{path} is not locked: {' and '.join(free)} can be had")

    def undo(self) -> None:
        """End the helper; the locks go with it. That they were still held until now is part of the proof."""
        try:
            self.verify()
            self._kept = True
        finally:
            try:
                self._let_go()
            finally:
                super().undo()

    def verify_undone(self) -> None:
        """Both locks can be had."""
        for path in self.picked:
            state = self.ground.sandbox.call("lock_state", path=self.full(path))
            if any(state.values()):
                raise HarnessBroken(f"{path} is still locked")

    def bite(self) -> list[str]:
        """Opens by the job between the two looks at the lock."""
        opens = [event for event in self.syscalls(f"{self.name}.opens") if self.in_force(event.t, slack=0.0)]
        if not opens or not self._kept:
            return []
        return [
            f"{len(opens)} opens of {self.shown()} while process {self._pid} held the locks, "
            f"the first at {opens[0].t:.3f} s"
        ]

    def blows(self) -> Blows:
        """When files were opened that bear a lock; only who asks for it is held up by it."""
        opens = [event.t for event in self.syscalls(f"{self.name}.opens")]
        return blows("burden", [t for t in opens if self.in_force(t, slack=0.0)])

    def strays(self) -> list[str]:
        """Locks that somebody holds again, or a helper that lives, when it was undone."""
        alive = any(process.pid == self._pid for process in self.ground.sandbox.processes())
        still = [f"process {self._pid}, which held the locks, still lives"] if self._pid and alive else []
        return [*(still if self.undone_at is not None else []), *came_back(self)]

    def _let_go(self) -> None:
        if self._stdout < 0:
            return
        try:
            self.ground.sandbox.signal(self._pid, signal.SIGKILL)
            if self._said() != b"":
                raise HarnessBroken(f"the helper that holds the locks (pid {self._pid}) does not end")
        finally:
            os.close(self._stdout)
            self._stdout = -1

    def _said(self) -> bytes | None:
        """What the helper wrote; empty when it has ended, None when it is silent for too long."""
        ready, _, _ = select.select([self._stdout], [], [], PATIENCE)
        return os.read(self._stdout, 100) if ready else None
