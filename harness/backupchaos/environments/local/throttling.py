"""A slow processor without control groups: the target's processes are stopped most of the time.

The agent does it, by a timer of the kernel's in its own loop: the harness may be busy, and a duty cycle
that waits for a busy harness is none.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable

from backupchaos.environments.local.kernel import libc
from backupchaos.environments.local.processes import Registry, runnable, send

PERIOD = 0.1
"""Seconds of one turn: some of it running, the rest standing still."""
_MONOTONIC, _FLAGS = 1, os.O_CLOEXEC | os.O_NONBLOCK
_ROUNDS = 3
"""Listings until nobody new is found; a forker outruns a stop now and then, and is caught in the next turn."""


class Throttle:
    """Stops and continues what has the role ``target``, until ``end``."""

    def __init__(
        self,
        registry: Registry,
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._registry, self._watch, self._unwatch = registry, watch, unwatch
        self._timer = -1
        self._share = 1.0
        self._stopped: set[tuple[int, int]] = set()
        self._count = 0

    def begin(self, share: float) -> None:
        """From now on the target runs ``share`` of the time; raises OSError if there are no timers."""
        self.end()
        self._share = share
        self._timer = _timer()
        self._watch(self._timer, self._turn)
        self._wait(share * PERIOD)

    def end(self) -> int:
        """Let everybody go on; how often since ``begin`` somebody was stopped who wanted to run.

        A process that sleeps loses nothing when it is stopped.
        """
        if self._timer >= 0:
            self._unwatch(self._timer)
            os.close(self._timer)
            self._timer = -1
        self._go_on()
        count, self._count = self._count, 0
        return count

    def _turn(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return
        if self._stopped:
            self._go_on()
            self._wait(self._share * PERIOD)
        else:
            self._stand_still()
            self._wait((1 - self._share) * PERIOD if self._stopped else self._share * PERIOD)

    def _stand_still(self) -> None:
        hungry = False
        for _ in range(_ROUNDS):
            fresh = [p for p in self._registry.of_role("target") if p.state not in "Tt"]
            fresh = [p for p in fresh if (p.pid, p.started) not in self._stopped]
            if not fresh:
                break
            hungry |= any(runnable(process.pid) for process in fresh)
            self._stopped |= {(p.pid, p.started) for p in fresh if send(p, signal.SIGSTOP)}
        self._count += hungry and bool(self._stopped)

    def _go_on(self) -> None:
        """Only those that we stopped: others may have been stopped by somebody else, and for longer."""
        if self._stopped:
            for process in self._registry.of_role("target"):
                if (process.pid, process.started) in self._stopped:
                    send(process, signal.SIGCONT)
        self._stopped.clear()

    def _wait(self, seconds: float) -> None:
        nanoseconds = max(1, int(seconds * 1e9))
        when = struct.pack("4l", 0, 0, nanoseconds // 10**9, nanoseconds % 10**9)
        if libc.timerfd_settime(self._timer, 0, when, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")


def _timer() -> int:
    fd = int(libc.timerfd_create(_MONOTONIC, _FLAGS))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "timerfd_create")
    return fd
