"""A signal to the process that serves the job on the server's side, and to no other."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from backupchaos.environments.base import ProcessInfo
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Ground
from backupchaos.faults.blows import Blows
from backupchaos.faults.heeding import heeded
from backupchaos.faults.processes import Kill
from backupchaos.faults.service import GONE, _Away
from backupchaos.faults.service import PATIENCE as NOTICE
from backupchaos.model.faults.processes import ProcessKill


class ServerKill(_Away[ProcessKill], Kill):
    """``who: server``.

    A server that has a process for each client loses the one that it has started for the job, and lives on. Any other
    server is hit itself; if the signal ends it, whoever started it starts it again at once, as service
    managers do, and its port refuses until it answers. If it does not end it, the signal was its to handle.
    """

    mechanism = "signal by pidfd to the server's process; started again if that ends it"
    cause = GONE

    def __init__(self, name: str, spec: ProcessKill, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._before: frozenset[int] = frozenset()
        self._worker: ProcessInfo | None = None

    def prepare(self) -> None:
        """Note who serves already; whoever is new when it strikes is there for the job."""
        super().prepare()
        self._before = frozenset(self._served_by())

    def apply(self) -> str:
        """Hit the job's own server process, or the server."""
        self._strokes += 1
        fresh = {pid: found for pid, found in self._served_by().items() if pid not in self._before}
        self._worker = fresh[min(fresh)] if fresh else None
        word = f"SIG{self.spec.signal}"
        if self._worker is None:
            return self._hit_server(word)
        if not self.ground.sandbox.signal(self._worker.pid, self.number):
            raise HarnessBroken(f"the server's process {self._worker.pid} had ended before it was hit")
        return f"{word} to process {self._worker.pid} alone, which the server had started for the job"

    def _served_by(self) -> Mapping[int, ProcessInfo]:
        """The processes that the server has started, and theirs."""
        every = {process.pid: process for process in self.ground.sandbox.processes()}
        family, found = {self.server.pid}, dict[int, ProcessInfo]()
        while grown := {pid: p for pid, p in every.items() if p.parent in family and pid not in found}:
            found |= grown
            family |= grown.keys()
        return found

    def _hit_server(self, word: str) -> str:
        if self.spec.signal == "KILL":
            self.stop(signal.SIGKILL)
            self.start()
            return f"{word} to the server, process {self._pid}, which was started again"
        pid = self._pid = self.server.pid or 0
        before = self._look(pid)
        begin, connections = self.ground.history.now(), int(self.link.state()["open"])
        if not self.ground.sandbox.signal(pid, self.number):
            raise HarnessBroken("the server was not running any more")
        if not self._ends(NOTICE):
            words = heeded(before, self.number, self._look, self.soon) if before else ""
            if connections and words:
                lives = f"which lives and had {connections} connections"
                self._facts.append(f"{word} delivered to the server, process {pid}, {words}, {lives}")
            return f"{word} to the server, process {pid}"
        self._away.append((begin, None))
        try:
            self.link.down("refused", cause=self.name)
        finally:
            self.start()
        return f"{word} to the server, process {pid}, which ended and was started again"

    def verify(self) -> None:
        """Who was killed is gone; a server that ended runs again, and listens."""
        worker = self._worker
        if worker is None:
            self.verify_undone()
            return
        who = f"process {worker.pid} ({worker.command[:80]}), started by the server for the job,"
        self._facts += self._outcome(worker, who, lambda: "")

    def bite(self) -> list[str]:
        """What was hit; of a server that ended, its exit status, and that the job's connections died with it."""
        died = _Away.bite(self) if self._away else []
        if self.spec.signal == "KILL" and self._away and self.means.exits[self._pid][0] != -self.number:
            died = []  # somebody else was faster
        return [*self._facts, *died]

    def blows(self) -> Blows:
        """What a server that ended took along; else when the signal was sent."""
        return _Away.blows(self) if self._away else Kill.blows(self)

    def strays(self) -> list[str]:
        """What both look for: a signal that was not due, a server that is away at another time."""
        return [*_Away.strays(self), *Kill.strays(self)]
