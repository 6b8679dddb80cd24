"""Calls that wait longer than for a decision: held until they are released, or delayed."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence

from backupchaos.syscalls.listener import Listener


class Stopped:
    """A call whose answer is not given at once."""

    __slots__ = ("args", "every", "ident", "listener", "number", "seen", "tid")

    def __init__(self, listener: Listener, ident: int, tid: int, number: int, args: Sequence[int]) -> None:
        self.listener, self.ident, self.tid, self.number = listener, ident, tid, number
        self.args = tuple(args[:3])
        """Those that tell calls apart; what follows may be left over in registers that the call does not use."""
        self.every = list(args)
        self.seen: set[int] = set()
        """Rules that need not look at it again when it is released, by identity."""

    def waits(self) -> bool:
        """Whether its caller is still there."""
        return self.listener.waits(self.ident)


class Parking:
    """All stopped calls of all listeners; ``go_on`` lets one be made."""

    def __init__(self, go_on: Callable[[Stopped], None]) -> None:
        self._go_on = go_on
        self._held: dict[str, list[Stopped]] = {}
        self._delayed: list[tuple[float, int, Stopped]] = []
        self._numbers = itertools.count()
        self._interruptible: dict[tuple[Listener, int], Stopped] = {}

    def hold(self, rule: str, stopped: Stopped) -> None:
        """Until ``release``."""
        self._remember(stopped)
        self._held.setdefault(rule, []).append(stopped)

    def delay(self, seconds: float, stopped: Stopped) -> None:
        """Until the time is over."""
        self._remember(stopped)
        heapq.heappush(self._delayed, (time.monotonic() + seconds, next(self._numbers), stopped))

    def comes_again(self, again: Stopped) -> bool:
        """Whether this is a parked call that a signal had aborted, and that its thread makes anew.

        That happens before Linux 5.19. It is the same call: not to be counted twice, and still parked.
        """
        parked = self._interruptible.get((again.listener, again.tid))
        if parked is None:
            return False
        if (parked.number, parked.args) == (again.number, again.args) and not parked.waits():
            parked.ident = again.ident
            return True
        del self._interruptible[again.listener, again.tid]
        return False

    def release(self, rule: str) -> int:
        """Let go of what a rule holds; how many callers were still there."""
        held = [stopped for stopped in self._held.pop(rule, []) if stopped.waits()]
        for stopped in held:
            self._let_go(stopped)
        return len(held)

    def held(self, rule: str) -> int:
        """How many callers a rule holds now."""
        held = self._held.get(rule, [])
        held[:] = [stopped for stopped in held if stopped.waits()]
        return len(held)

    def timeout(self) -> float:
        """Seconds until ``look`` has something to do; -1 if it has nothing."""
        return max(0.0, self._delayed[0][0] - time.monotonic()) if self._delayed else -1

    def look(self) -> None:
        """Let go of what was delayed long enough."""
        while self._delayed and self._delayed[0][0] <= time.monotonic():
            self._let_go(heapq.heappop(self._delayed)[2])

    def forget(self, listener: Listener) -> None:
        """All its processes are gone."""
        for held in self._held.values():
            held[:] = [stopped for stopped in held if stopped.listener is not listener]
        self._delayed = [item for item in self._delayed if item[2].listener is not listener]
        heapq.heapify(self._delayed)
        for key in [key for key in self._interruptible if key[0] is listener]:
            del self._interruptible[key]

    def _remember(self, stopped: Stopped) -> None:
        if not stopped.listener.killable:
            self._interruptible[stopped.listener, stopped.tid] = stopped

    def _let_go(self, stopped: Stopped) -> None:
        self._interruptible.pop((stopped.listener, stopped.tid), None)
        self._go_on(stopped)
