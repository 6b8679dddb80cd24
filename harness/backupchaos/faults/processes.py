"""Faults of the job's processes: a signal to the job or to one of its helpers, a pause of all of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backupchaos.durations import measured
from backupchaos.environments.base import ProcessInfo
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import signalled_jobs, too_often
from backupchaos.faults.base import Fault, Ground, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.heeding import PROMPT, awaited, declined, heeded, mortal, queued
from backupchaos.faults.moments import ended
from backupchaos.model.faults.processes import ProcessKill, ProcessPause

PATIENCE = 5.0
"""Seconds in which the kernel must have acted on a signal; it takes it microseconds."""
STEP = 0.002
USED = 0.05
"""Seconds of processor time that a stopped tree may have used: ticks are 10 ms, and a call may have been under way."""


class OnJob(Fault[Spec]):
    """Looks at the job's processes."""

    def job(self) -> int:
        """Its pid."""
        if self.ground.job_pid is None:
            raise HarnessBroken(f"fault {self.name}: the job has no process yet")
        return self.ground.job_pid

    def members(self) -> list[ProcessInfo]:
        """All live processes that the job consists of, daemons that left it included."""
        return [p for p in self.ground.sandbox.processes() if p.role in {"target", "orphan"}]

    def helpers(self) -> list[ProcessInfo]:
        """The processes that the job's own process has started, the oldest first."""
        job = self.job()
        return sorted((p for p in self.members() if p.parent == job), key=lambda p: p.pid)

    def gone(self) -> bool:
        """The job's own process has ended."""
        job = self.job()
        return all(p.pid != job for p in self.ground.sandbox.processes())

    def held(self) -> bool:
        """Whether a call of the job is held by us, at which the fault was to strike.

        Its thread stops only when it is let go, which is right after the fault was applied.
        """
        totals: Mapping[str, Mapping[str, int]] = getattr(self.ground.sandbox, "totals", dict)()
        return any(counts.get("held") for counts in totals.values())

    @staticmethod
    def soon(holds: Callable[[], bool]) -> bool:
        """Whether it holds within ``PATIENCE``."""
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(STEP)
        return True


class Kill(OnJob[ProcessKill]):
    """One signal.

    KILL to the job goes to its whole process tree, as when a machine takes a service away; any other
    signal goes to the process alone that the harness started, as from ``kill`` or a service manager. A helper is
    the oldest process that the job itself has started, and nobody else is hit. With ``who: server`` this makes a
    ``ServerKill`` instead.
    """

    mechanism = "signal by pidfd"
    cause = r"\bsignal|killed|terminated|interrupt|\bSIG[A-Z]{2,}|cancel|\babort"
    helper_cause = (
        r"\bsignal|killed|broken pipe|\bEOF\b|connection (was )?(lost|closed|reset)|closed|exit(ed)? (status|code)|"
        r"subprocess|child process|helper|\bssh\b|unexpectedly"
    )

    def __new__(cls, name: str, spec: ProcessKill, ground: Ground) -> Kill:
        """Whose process is hit decides."""
        if spec.who == "server":
            from backupchaos.faults.processes_served import ServerKill

            return super().__new__(ServerKill)
        return super().__new__(cls)

    def __init__(self, name: str, spec: ProcessKill, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._facts: list[str] = []
        self._struck = self._found = self._mortal = self._awaited = False
        self._queued: list[tuple[float, float]] = []
        """When it was sent to a job that had it blocked, and since when that one could take it, in the history's seconds."""
        self._victim: ProcessInfo | None = None
        self._strokes = 0

    @property
    def number(self) -> int:
        """Of the signal."""
        return int(getattr(signal, f"SIG{self.spec.signal}"))

    def cause_pattern(self) -> str:
        """Whoever lost a helper sees a broken pipe or an exit status, not the signal."""
        return self.helper_cause if self.spec.who == "helper" else self.cause

    def apply(self) -> str:
        """Send it, to a process that lives."""
        self._strokes += 1
        return self._to_helper() if self.spec.who == "helper" else self._to_job()

    def _to_job(self) -> str:
        job, word = self.job(), f"SIG{self.spec.signal}"
        self._victim = self._look(job)
        struck = self.ground.sandbox.signal(job, self.number, tree=self.spec.signal == "KILL")
        self._struck |= struck
        if not struck:
            self._victim = None
        elif self._victim is not None and queued(self._victim, self.number):
            self._queued.append((self.windows[-1][0], self.ground.history.now()))
        return f"{word} to the job" + (" and all its processes" if self.spec.signal == "KILL" else "")

    def _to_helper(self) -> str:
        found = self.helpers()
        if not found:
            self._victim = None
            return "nobody was hit: the job has started no other process"
        victim = self._look(found[0].pid) or found[0]
        hit = self.ground.sandbox.signal(victim.pid, self.number)
        self._victim = victim if hit else None
        self._found |= hit
        return f"SIG{self.spec.signal} to process {victim.pid} alone: {victim.command[:100]}"

    def _look(self, pid: int) -> ProcessInfo | None:
        """A process as it is now; None if it is gone."""
        return next((p for p in self.ground.sandbox.processes() if p.pid == pid), None)

    def verify(self) -> None:
        """KILL ends it; what any other signal does is the receiver's affair, and looked for."""
        if self.spec.who == "helper":
            if self._victim is None:
                return
            job = self.job()
            who = f"process {self._victim.pid} ({self._victim.command[:80]})"
            self._facts += self._outcome(self._victim, who, lambda: self._alive(job))
        elif self.spec.signal == "KILL":
            if not self.soon(self.gone):
                raise HarnessBroken(f"the job survived SIGKILL for {PATIENCE:g} s")
        elif self._victim is not None:
            waits = queued(self._victim, self.number) and self.held()
            words = heeded(self._victim, self.number, self._look, self._soon_or_held if waits else self.soon)
            if waits:
                self._queued[-1] = (self._queued[-1][0], self.ground.history.now())
            if declined(self._victim, self.number):
                words = "which ignores it and goes on"
            if words:
                who = f"the running job, process {self._victim.pid}"
                self._facts.append(f"SIG{self.spec.signal} delivered to {who}, {words}")
            self._mortal |= mortal(self._victim, self.number)
            self._awaited |= awaited(self._victim, self.number)

    def _soon_or_held(self, holds: Callable[[], bool]) -> bool:
        """Whether another thread than the one that we hold does it; that one takes nothing before it is let go."""
        end = time.monotonic() + PROMPT
        return self.soon(lambda: holds() or time.monotonic() > end) and holds()

    def _alive(self, job: int) -> str:
        after = "lived on" if self._look(job) is not None else "had reacted and ended by then"
        return f"; the job, process {job}, {after}"

    def _outcome(self, victim: ProcessInfo, who: str, then: Callable[[], str]) -> list[str]:
        """What one process, other than the job's own, did with the signal that went to it and to nobody else."""
        word = f"SIG{self.spec.signal}"
        if words := heeded(victim, self.number, self._look, self.soon):
            return [f"{word} delivered to {who}, and to no other, {words}"]
        if not mortal(victim, self.number):
            return []
        if self.soon(lambda: self._look(victim.pid) is None):
            return [f"{who} died of {word}, sent to it alone{then()}"]
        if self.spec.signal == "KILL":
            raise HarnessBroken(f"{who} survived SIGKILL for {PATIENCE:g} s")
        return []

    def after_job(self) -> None:
        """A job that works alone has no helper that could die: raises ``MissingCapability``."""
        if self.spec.who == "helper" and self.windows and not self._found:
            reason = "the job had started no other process when one was to be hit"
            raise MissingCapability("helper process", reason)

    def strays(self) -> list[str]:
        """A signal that was not due, or one of ours that reached a job without faults."""
        strokes = too_often(self, self._strokes, f"SIG{self.spec.signal} was sent")
        return strokes + signalled_jobs(self.ground, self.number)

    def bite(self) -> list[str]:
        """That it died of the signal, as its exit status tells, or was seen to heed it: to be sent one is no proof."""
        if self.spec.who == "job" and self._died():
            return [*self._facts, f"the job was ended by SIG{self.spec.signal}"]
        if not self._facts and (words := self._own_end()):
            return [words]
        return self._facts

    def _own_end(self) -> str:
        """How a job ended that waited for a signal, and was too quick to be seen when it had taken it; empty if none did."""
        end, word = ended(self.ground.history), f"SIG{self.spec.signal}"
        if end is None or end.get("timed_out") or end.get("hung"):
            return ""
        code = int(end["returncode"])
        if code >= 0 and self._awaited:
            return f"the job slept until {word} came, and then ended with {code}"
        if code >= 0 and any(sent <= end.t <= could + PROMPT for sent, could in self._queued):
            return f"the job had {word} blocked, and took it from its queue: it ended at once, with {code}"
        return ""

    def blows(self) -> Blows:
        """When it was sent."""
        return blows("refusal", [start for start, _ in self.windows])

    def _died(self) -> bool:
        """By our signal, not by the one with which the harness ends a job at a deadline."""
        end = ended(self.ground.history)
        if end is None or end["returncode"] != -self.number:
            return False
        ours = not end.get("timed_out") and not end.get("hung")
        return self._struck if self.spec.signal == "KILL" else self._mortal and ours


@dataclass
class _Stand:
    """One pause: who stood still at its end, for how long, and how much processor time went by."""

    stopped: int
    moving: int
    seconds: float
    cpu: float


def still(members: Sequence[ProcessInfo]) -> set[int]:
    """Who is stopped, and who waits for a stopped child that it has just begun (vfork): it cannot move either."""
    stopped = {p.pid for p in members if p.state in "Tt"}
    parents = {p.parent for p in members if p.pid in stopped}
    return stopped | {p.pid for p in members if p.state == "D" and p.pid in parents}


class Pause(OnJob[ProcessPause]):
    """The whole process tree stands still for a while: a suspended laptop, a frozen virtual machine."""

    mechanism = "SIGSTOP and SIGCONT to the process tree"
    cause = r"time[d -]?out|connection|\blost\b|clock|suspend"

    def __init__(self, name: str, spec: ProcessPause, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._stands: list[_Stand] = []
        self._cpu: dict[int, float] = {}
        self._before: set[int] = set()

    def apply(self) -> str:
        """Stop the tree."""
        job = self.job()
        self._before = {p.pid for p in self.members() if p.state in "Tt"}
        self.ground.sandbox.signal(job, signal.SIGSTOP, tree=True)
        for orphan in self._orphans():
            self.ground.sandbox.signal(orphan, signal.SIGSTOP)
        return f"SIGSTOP to process {job} and all that it has started"

    def _orphans(self) -> list[int]:
        """Daemons that the target has left running, perhaps in an earlier job: whatever suspends the one stops the others."""
        return [p.pid for p in self.members() if p.role == "orphan"]

    def verify(self) -> None:
        """The kernel reports every process as stopped."""
        if not self.soon(lambda: still(members := self.members()) >= {p.pid for p in members} or self.held()):
            raise HarnessBroken(f"the job does not stand still {PATIENCE:g} s after SIGSTOP")
        self._cpu = {p.pid: p.cpu for p in self.members()}

    def undo(self) -> None:
        """See whether it still stands, then let it go on."""
        start = self.windows[-1][0]
        now = [p for p in self.members() if p.pid in self._cpu]
        stopped = still(now)
        used = sum(p.cpu - self._cpu[p.pid] for p in now)
        seconds = self.ground.history.now() - start
        if self._cpu:
            self._stands.append(_Stand(len(stopped), len(now) - len(stopped), seconds, used))
        if self.ground.job_pid is not None:
            self.ground.sandbox.signal(self.ground.job_pid, signal.SIGCONT, tree=True)
        for orphan in set(self._orphans()) - self._before:
            self.ground.sandbox.signal(orphan, signal.SIGCONT)

    def verify_undone(self) -> None:
        """Nobody whom we stopped is left standing."""
        ours = set(self._cpu) - self._before
        if not self.soon(lambda: not any(p.pid in ours and p.state in "Tt" for p in self.members())):
            raise HarnessBroken(f"the job still stands still {PATIENCE:g} s after SIGCONT")

    def bite(self) -> list[str]:
        """Processes that the kernel had as stopped at the end of the pause."""
        return [
            f"{stand.stopped} process{'es' * (stand.stopped != 1)} of the job stood still for {measured(stand.seconds)} "
            f"(state T at the end, {measured(stand.cpu)} of processor time used)"
            for stand in self._stands
            if stand.stopped
        ]

    def blows(self) -> Blows:
        """While it stood still."""
        return blows("burden", self.spans())

    def strays(self) -> list[str]:
        """It ran although it was stopped: somebody else must have continued it."""
        return [
            f"in a pause of {measured(stand.seconds)} {stand.moving} processes did not stand still at its end, "
            f"and {measured(stand.cpu)} of processor time were used"
            for stand in self._stands
            if stand.stopped and (stand.moving or stand.cpu > USED)
        ]


MECHANISMS = {"process.kill": Kill, "process.pause": Pause}
