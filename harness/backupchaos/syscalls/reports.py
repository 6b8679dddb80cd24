"""What the supervisor tells the agent: hits one by one as long as they are few, then totals."""

from __future__ import annotations

import os
import select
import time
from typing import Any

from backupchaos.environments.local.channel import Channel
from backupchaos.syscalls.decode import group_of
from backupchaos.syscalls.rules import Rule

REPORTS = 1000
"""So many hits of a rule are reported one by one; then only every 1000th, as totals."""
_REMEMBERED = 10_000
FEW = 20
"""The same of readings of the clock, which are many and all alike."""


BATCH = 64
"""So many events wait for each other, unless nothing happens for ``PATIENCE`` seconds."""
PATIENCE = 0.002
"""Telling one by one would wake the agent and the harness at every call, and cost more than the call."""


class Reports:
    """Gathers events and sends them whenever the agent listens; it never waits for it."""

    def __init__(self, control: Channel, epoll: select.epoll) -> None:
        self._control = control
        self._epoll = epoll
        self._writing = False
        self._said: set[tuple[str, str]] = set()
        self._complaints = 0
        self._groups: dict[int, int] = {}
        self._gathered: list[dict[str, Any]] = []

    def hit(self, rule: Rule, call: str, path: bytes, tid: int) -> None:
        """A rule acts on a call."""
        rule.reported += 1
        if rule.reported > (FEW if rule.action == "clock" else REPORTS) and rule.action != "hold":
            if rule.reported % REPORTS == 0:
                self.totals(rule)
            return
        self._event(
            "syscall",
            rule=rule.name,
            call=call,
            path=os.fsdecode(path),
            action=rule.action,
            ordinal=rule.matched,
            pid=self._group(tid),
        )
        if rule.action == "hold" or len(self._gathered) >= BATCH:
            self.send()

    def totals(self, rule: Rule) -> None:
        """How often a rule has matched and acted."""
        totals = rule.totals()
        text = f"rule {rule.name}: {totals['matched']} calls matched, {rule.action} on {totals['acted']}"
        self._event("supervisor", message=text, rule=rule.name, **totals)
        self.send()

    def cannot(self, rule: Rule, text: str) -> None:
        """Something that a rule wants is impossible here; said once a rule."""
        if (rule.name, rule.action) not in self._said:
            self._said.add((rule.name, rule.action))
            text = f"rule {rule.name}: {text}"
            self._event("supervisor", message=text, rule=rule.name, cannot=rule.action)
            self.send()

    def uncovered(self, text: str) -> None:
        """A program escapes; said of the first of them."""
        self._complaints += 1
        if self._complaints <= FEW:
            self._event("supervisor", message=text, cannot="hide_vdso")
            self.send()

    def answer(self, value: Any) -> None:
        """Answer the agent's request, after all that came before it."""
        self.send()
        self._control.queue({"answer": value})
        self.flush()

    def caught_up(self) -> None:
        """Say that nothing is left to tell."""
        self.send()
        self._control.queue({"caught up": True})
        self.flush()

    def timeout(self) -> float:
        """Seconds after which ``send`` should be called if nothing else happens; -1 for never."""
        return PATIENCE if self._gathered else -1

    def send(self) -> None:
        """Send what was gathered."""
        if self._gathered:
            self._control.queue({"events": self._gathered})
            self._gathered = []
            self.flush()

    def flush(self) -> None:
        """Send what can be sent; the loop calls this when the agent listens again."""
        waiting = not self._control.flush()
        if waiting != self._writing:
            self._writing = waiting
            self._epoll.modify(self._control.fileno(), select.EPOLLIN | (select.EPOLLOUT if waiting else 0))

    def _event(self, kind: str, **data: Any) -> None:
        self._gathered.append({"kind": kind, "t": time.monotonic(), "data": data})

    def _group(self, tid: int) -> int:
        """The process of a thread; what was found once is only checked."""
        known = self._groups.get(tid)
        try:
            if known is None or not os.path.exists(f"/proc/{known}/task/{tid}"):
                if len(self._groups) > _REMEMBERED:
                    self._groups.clear()
                known = self._groups[tid] = group_of(tid)
        except OSError:
            return tid
        return known
