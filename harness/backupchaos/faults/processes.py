"""Faults of the job's processes."""

from __future__ import annotations

import signal

from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault
from backupchaos.model.faults import ProcessKill, ProcessPause


class Kill(Fault[ProcessKill]):
    """A signal; KILL goes to the whole process tree, as when a machine loses power to one service."""

    mechanism = "signal by pidfd"
    cause = r"signal|killed|terminated|interrupt|SIG[A-Z]+|cancel"

    def apply(self) -> str:
        """Send it."""
        if self.ground.job_pid is None:
            raise HarnessBroken(f"fault {self.name}: the job has no process yet")
        number = getattr(signal, f"SIG{self.spec.signal}")
        self._hit = self.ground.sandbox.signal(self.ground.job_pid, number, tree=self.spec.signal == "KILL")
        return f"SIG{self.spec.signal} to the job"

    def bite(self) -> list[str]:
        """The job was alive when the signal came, and for KILL it died of it."""
        if self.spec.signal == "KILL":
            ended = next((e for e in self.ground.history.of("job.end") if e["job"] == "fault"), None)
            died = ended is not None and ended["returncode"] == -signal.SIGKILL
            return ["the job was ended by SIGKILL"] if died else []
        return [f"SIG{self.spec.signal} delivered to the running job"] if self._hit else []


class Pause(Fault[ProcessPause]):
    """The whole process tree stands still for a while."""

    mechanism = "SIGSTOP and SIGCONT"
    cause = r"time[d -]?out|connection|lost|clock"

    def apply(self) -> str:
        """Stop the tree."""
        if self.ground.job_pid is None:
            raise HarnessBroken(f"fault {self.name}: the job has no process yet")
        self._hit = self.ground.sandbox.signal(self.ground.job_pid, signal.SIGSTOP, tree=True)
        return "SIGSTOP to the job's processes"

    def undo(self) -> None:
        """Let it go on."""
        if self.ground.job_pid is not None:
            self.ground.sandbox.signal(self.ground.job_pid, signal.SIGCONT, tree=True)

    def bite(self) -> list[str]:
        """It was running when it was stopped."""
        start, end = self.window()
        return [f"the running job stood still for {end - start:.1f} s"] if self._hit else []
