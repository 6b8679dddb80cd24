"""What a process does with a signal, by the kernel's own books: that it was sent proves nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from backupchaos.environments.base import ProcessInfo

STOPS = frozenset({signal.SIGSTOP, signal.SIGTSTP})
"""They stop a process that does not catch them; TSTP is dropped without a word in an orphaned process group."""

DEATH = 1.0
"""Seconds in which whoever dies of a signal is gone, or at least dying."""

ASKS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""They ask a process to end. The sandbox starts a job with all signals at their defaults: to ignore these is its own answer,
and it is judged by what it does then. Others are ignored by runtimes that never thought of them (PIPE by Python)."""

TAKEN = "which took it from its queue"
PROMPT = 0.5
"""Seconds in which a job that takes a blocked signal has ended, if it does so at once: too fast for us to see it taken."""
STEP = 0.002


def _bit(number: int) -> int:
    return 1 << (number - 1)


def mortal(before: ProcessInfo, number: int) -> bool:
    """Whether the signal could end a process that was as this before it: it neither catches nor ignores it."""
    return number not in STOPS and not (before.caught | before.ignored) & _bit(number)


def awaited(before: ProcessInfo, number: int) -> bool:
    """Whether the process slept until a signal comes, and has left this one to that."""
    return before.awaits and mortal(before, number)


def queued(before: ProcessInfo, number: int) -> bool:
    """Whether the signal waits in a queue until somebody takes it: a thread in sigwait, a reader of a signalfd."""
    return bool(before.blocked & ~before.caught & _bit(number)) and number not in STOPS


def declined(before: ProcessInfo, number: int) -> bool:
    """Whether the process had chosen not to end when it is asked to."""
    return number in ASKS and bool(before.ignored & _bit(number))


def heeded(
    before: ProcessInfo,
    number: int,
    look: Callable[[int], ProcessInfo | None],
    soon: Callable[[Callable[[], bool]], bool],
) -> str:
    """What a process was seen to do with the signal that it has just got, in words; empty if nothing.

    ``before`` is the process before the signal, ``look`` finds it as it is now. Its death is not told here: of
    the job the exit status tells it, of others that they are gone. A signal that is blocked waits until the process takes
    it from its queue (signalfd, sigwait in a thread), as some do instead of a handler. Who sits in sigwait itself has it
    unblocked meanwhile, by the kernel's doing; such a one has taken it if it lives on.
    """
    bit, pid = _bit(number), before.pid
    if before.caught & bit:
        return "which caught it"
    if number in STOPS and not before.ignored & bit:
        stands = soon(lambda: (now := look(pid)) is None or now.state in "Tt") and look(pid) is not None
        return "which was stopped" if stands else ""
    if before.blocked & bit:
        taken = soon(lambda: (now := look(pid)) is None or not now.pending & bit) and look(pid) is not None
        return TAKEN if taken else ""
    return TAKEN if awaited(before, number) and _lives_on(before, bit, look) else ""


def _lives_on(before: ProcessInfo, bit: int, look: Callable[[int], ProcessInfo | None]) -> bool:
    """Whether somebody is there when he would be dead; his signals blocked again, he has come out of sigwait alive."""
    end = time.monotonic() + DEATH
    while (now := look(before.pid)) is not None and not now.blocked & bit:
        if time.monotonic() > end:
            return not now.pending & bit and now.state in "RST"
        time.sleep(STEP)
    return now is not None
