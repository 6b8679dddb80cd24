"""What is done with a call instead of making it: a part of it, an answer of ours, the end of its caller."""

from __future__ import annotations

import errno
import os
import signal
from functools import partial

from backupchaos.syscalls import shortening
from backupchaos.syscalls.clocks import Clocks
from backupchaos.syscalls.decode import Memory, group_of
from backupchaos.syscalls.listener import CONTINUE, Listener
from backupchaos.syscalls.reports import Reports
from backupchaos.syscalls.rules import Rule
from backupchaos.syscalls.tables import Call

Due = tuple[Rule, Call, bytes]
"""The rule that decides about a call, the call, and its path."""


class Acts:
    """Each gives the caller an answer in any case: what is impossible is left undone, and said."""

    def __init__(self, memory: Memory, reports: Reports) -> None:
        self._memory = memory
        self._clocks = Clocks(memory)
        self._reports = reports

    def shorten(self, listener: Listener, ident: int, tid: int, args: list[int], due: Due) -> None:
        """Write a part in the caller's stead; what cannot be cut short is made whole, and said."""
        rule, call, path = due
        try:
            count = shortening.perform(
                self._memory, call, tid, args, size=rule.size, waits=partial(listener.waits, ident)
            )
        except shortening.CannotShorten as problem:
            rule.acted -= 1
            if listener.waits(ident):
                self._reports.cannot(rule, f"{call.name} on {os.fsdecode(path)} was not cut short: {problem}")
            listener.answer(ident, flags=CONTINUE)
        except OSError as problem:  # a full disk, say: the caller would have heard the same
            rule.acted -= 1
            listener.answer(ident, problem.errno or errno.EIO)
        else:
            self._reports.hit(rule, call.name, path, tid)
            listener.answer(ident, value=count)

    def tell_time(self, listener: Listener, ident: int, tid: int, args: list[int], due: Due) -> None:
        """Answer a reading of the clock, or translate a deadline that comes from one."""
        rule, call, path = due
        reads = "clock" in call.families
        try:
            if reads:
                value = self._clocks.answer(call, tid, args, rule.delay)
            else:
                self._clocks.translate(call, tid, args, rule.delay)
        except OSError as problem:  # a bad pointer: the kernel will say so
            rule.acted -= reads
            if problem.errno not in (errno.EFAULT, errno.EIO, errno.ESRCH):
                self._reports.cannot(rule, f"{call.name} was not shifted: {problem.strerror}")
            reads = False
        if not reads:
            listener.answer(ident, flags=CONTINUE)
            return
        self._reports.hit(rule, call.name, path, tid)
        listener.answer(ident, value=value)

    def kill(self, listener: Listener, ident: int, tid: int, due: Due) -> None:
        """SIGKILL instead of an answer: the call is never made."""
        rule, call, _ = due
        try:
            handle = os.pidfd_open(group_of(tid))
            try:
                if listener.waits(ident):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
        except OSError as problem:
            if listener.waits(ident):  # else it is dead already
                rule.acted -= 1
                self._reports.cannot(rule, f"the caller of {call.name} cannot be killed: {problem.strerror}")
                listener.answer(ident, flags=CONTINUE)
