"""Programs started by supervised processes: their vDSO is hidden before they make a step."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from backupchaos.environments.local import vdso
from backupchaos.syscalls.decode import Memory
from backupchaos.syscalls.listener import CONTINUE
from backupchaos.syscalls.parking import Stopped


class Execs:
    """Follows each exec from its call to the stop after it. All calls are made by one thread, the tracer."""

    def __init__(self, memory: Memory, complain: Callable[[str], None]) -> None:
        self._memory = memory
        self._complain = complain
        self._seized: set[int] = set()
        self._wake, self._wake_end = socket.socketpair()
        for end in (self._wake, self._wake_end):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable when ``look`` has something to do."""
        return self._wake.fileno()

    def close(self) -> None:
        """Give the descriptors back."""
        signal.set_wakeup_fd(-1)
        self._wake.close()
        self._wake_end.close()

    def let_go(self, stopped: Stopped) -> None:
        """Let an exec call be made, and catch what comes of it."""
        tid = stopped.tid
        if tid not in self._seized and stopped.waits():
            try:
                vdso.seize(tid)
                self._seized.add(tid)
            except OSError as problem:
                self._failed(tid, f"it cannot be traced ({problem.strerror})")
        stopped.listener.answer(stopped.ident, flags=CONTINUE)
        if tid in self._seized:
            vdso.nudge(tid)

    def look(self) -> None:
        """Serve all that have stopped."""
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            pass
        for tid, status in vdso.stops():
            if not os.WIFSTOPPED(status):
                self._seized.discard(tid)
                continue
            if vdso.after_exec(status):
                self._hide(tid)
            self._seized.discard(tid)
            vdso.let_go(tid, status)

    def _hide(self, pid: int) -> None:
        try:
            self._seized.discard(vdso.former(pid))
            vdso.hide(pid, self._memory.read, self._memory.write)
        except vdso.StillThere as problem:
            self._failed(pid, str(problem))
        except OSError as problem:
            self._failed(pid, f"ptrace fails ({problem.strerror})")

    def _failed(self, pid: int, why: str) -> None:
        self._complain(f"the clock of {_program(pid)} is not under control: {why}")


def _program(pid: int) -> str:
    try:
        return f"{os.readlink(f'/proc/{pid}/exe')} (process {pid})"
    except OSError:
        return f"process {pid}"
