"""A wall clock that is wrong for some processes: readings are answered, deadlines are translated.

The kernel's clock stays as it is. Who reads a shifted clock computes absolute deadlines from it
(``pthread_cond_timedwait``, ``sem_timedwait``, ``clock_nanosleep``), and the kernel would let it wait for the length
of the shift. So the deadline in the caller's memory is shifted back before the kernel reads it, and set
right again when the thread comes back to look at a clock.

Not shifted: times that the kernel writes itself (of files), ``timer_settime`` and ``timerfd_settime`` with an absolute
time, ``adjtimex``.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable, Sequence

from backupchaos.syscalls.decode import Memory
from backupchaos.syscalls.tables import Call

_SECOND = 10**9
_TIME = struct.Struct("qq")
_FUTEX_COMMAND = 0x7F
_ABSOLUTE_WAITS = (9, 11, 13)
"""FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2; a plain FUTEX_WAIT has a relative timeout."""
_REMEMBERED = 10_000


class Clocks:
    """Answers the readings of all supervised processes."""

    def __init__(self, memory: Memory, now: Callable[[int], int] = time.clock_gettime_ns) -> None:
        self._memory = memory
        self._now = now
        self._moved: dict[int, tuple[int, bytes, bytes]] = {}
        """Thread -> address, original and translated deadline."""

    def answer(self, call: Call, tid: int, args: Sequence[int], shift: float) -> int:
        """Write a reading that is ``shift`` seconds late into the caller's memory; what the call returns.

        Raises ``OSError`` with EFAULT for a bad pointer, and EPERM where the memory cannot be written.
        """
        self.restore(tid)
        clock = args[0] & 0xFFFFFFFF if call.name == "clock_gettime" else time.CLOCK_REALTIME
        seconds, rest = divmod(self._now(clock) + round(shift * _SECOND), _SECOND)
        if call.name == "time":
            if args[0]:
                self._memory.write(tid, args[0], struct.pack("q", seconds))
            return seconds
        if call.name == "gettimeofday":
            if args[0]:
                self._memory.write(tid, args[0], _TIME.pack(seconds, rest // 1000))
            if args[1]:
                self._memory.write(
                    tid, args[1], bytes(8)
                )  # the time zone, which no kernel has set for decades
            return 0
        self._memory.write(tid, args[1], _TIME.pack(seconds, rest))
        return 0

    def translate(self, call: Call, tid: int, args: Sequence[int], shift: float) -> None:
        """Shift the deadline that a waiting call is about to hand to the kernel.

        Raises ``OSError`` where the memory cannot be written.
        """
        self.restore(tid)
        if call.name == "futex" and args[1] & _FUTEX_COMMAND not in _ABSOLUTE_WAITS:
            return
        address = args[3] if call.name == "futex" else args[2]
        original = self._memory.read(tid, address, _TIME.size)
        if len(original) < _TIME.size:
            return
        seconds, rest = _TIME.unpack(original)
        if seconds < 0 or not 0 <= rest < _SECOND:
            return  # the kernel will say EINVAL
        moved = max(0, seconds * _SECOND + rest - round(shift * _SECOND))
        translated = _TIME.pack(*divmod(moved, _SECOND))
        self._memory.write(tid, address, translated)
        while len(self._moved) >= _REMEMBERED:
            del self._moved[next(iter(self._moved))]
        self._moved[tid] = address, original, translated

    def restore(self, tid: int) -> None:
        """The thread's last wait is over: give back its deadline, unless it has written another one."""
        if tid not in self._moved:
            return
        address, original, translated = self._moved.pop(tid)
        try:
            if self._memory.read(tid, address, _TIME.size) == translated:
                self._memory.write(tid, address, original)
        except OSError as problem:
            if problem.errno not in (errno.EFAULT, errno.ESRCH, errno.EIO, errno.EPERM, errno.EACCES):
                raise
