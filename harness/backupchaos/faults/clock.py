"""A clock that jumps or is wrong: of the job and of all that it starts, of nobody else.

Times that the kernel itself writes (of files) stay right; see ``backupchaos.syscalls.clocks``.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from backupchaos.commands import Command
from backupchaos.durations import format_duration
from backupchaos.environments.base import SyscallRule
from backupchaos.errors import HarnessBroken
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.base import SETTLE, Fault, JobShape
from backupchaos.faults.blows import Blows, blows
from backupchaos.model.faults.processes import ClockJump, ClockSkew

ClockSpec = TypeVar("ClockSpec", ClockJump, ClockSkew)

CAUSE = (
    r"\bclocks?\b|\btime[- ]?(skew|jump|drift|shift|travel)|\bskewed\b|in the (future|past)\b"
    r"|\b(system|wall|server|local) time\b|not yet valid|\bexpired\b"
)
_READ = "import time; print(time.time())"
_PATIENCE = 20.0
_DATE = re.compile(r"\b(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d)?")
_NEAR = 60.0
"""Seconds between a line's own date and its arrival, for programs that buffer; shorter shifts are not seen so."""


class _Shifted(Fault[ClockSpec]):
    """Readings of the wall clock are answered later or earlier; the monotonic clocks are left alone."""

    mechanism = (
        "vDSO hidden at each exec, readings of the wall clock answered by seccomp user notification; "
        "file times stay the kernel's"
    )
    needs = frozenset({"syscalls", "clock"})
    cause = CAUSE

    _answered = 0
    _stray = 0
    _baseline: int | None = 0
    """Answered readings when it was last taken away; None while it is in force."""

    @property
    def shift(self) -> float:
        """Seconds, negative for back."""
        return self.spec.by if self.spec.direction == "forward" else -self.spec.by

    @property
    def rule(self) -> str:
        """The name of the supervisor's rule."""
        return f"{self.name}.clock"

    def rules(self) -> Sequence[SyscallRule]:
        """One, for all ways to read the clock."""
        return [SyscallRule(self.rule, ("clock",), ("*",), "clock", delay=self.shift)]

    def shape(self) -> JobShape:
        """Without the vDSO every reading is a call."""
        return JobShape(hide_vdso=True)

    def apply(self) -> str:
        """Arm the rule, for the job that runs or the one that will be started."""
        self._stray += self._while_away()
        self._baseline = None
        self.ground.sandbox.arm(self.rule, True)
        way = "ahead" if self.shift > 0 else "back"
        return f"the job's clock is {format_duration(self.spec.by)} {way}"

    def verify(self) -> None:
        """A program of ours under the same rule, by another name, reads the wrong time."""
        if not self.spec.whole_job and self._counts()["armed"] == 0:  # else there is no job yet
            raise HarnessBroken("the supervisor does not shift the job's clock")
        read = self._read_clock()
        now = time.time()
        if abs(read - now - self.shift) > _PATIENCE:
            raise HarnessBroken(
                f"a program that should read a clock {self.shift:+g} s off reads one {read - now:+.1f} s off"
            )

    def undo(self) -> None:
        """Disarm it; readings are right again at once."""
        self.ground.sandbox.arm(self.rule, False)
        self._baseline = self._counts()["acted"]
        self._answered += self._baseline

    def verify_undone(self) -> None:
        """The supervisor itself says that the rule is off, for every process."""
        if self._counts()["armed"]:
            raise HarnessBroken("the supervisor still shifts the job's clock")

    def bite(self) -> list[str]:
        """How many readings were answered, as the supervisor counts them; and dates in the job's own words."""
        answered = self._answered + (self._counts()["acted"] if self._baseline is None else 0)
        if not answered:
            return []
        return [f"{answered} readings of the clock answered {self.shift:+g} s off", *self._wrong_dates()]

    def blows(self) -> Blows:
        """All the time: nothing is refused."""
        return blows("burden", self.spans())

    def strays(self) -> list[str]:
        """Readings that were answered before the fault came or after it had gone."""
        stray = self._stray + self._while_away()
        outside = [e for e in self.syscalls(self.rule) if not self.in_force(e.t)]
        facts = [f"{stray} readings of the clock answered while the fault was away"] if stray else []
        if outside:
            facts.append(f"a reading of the clock answered at {outside[0].t:.2f} s, outside of the fault")
        return facts + came_back(self)

    def _counts(self) -> dict[str, int]:
        found = self.ground.sandbox.totals().get(self.rule, {})
        return {"acted": found.get("acted", 0), "armed": found.get("armed", 0)}

    def _while_away(self) -> int:
        """Readings answered since the fault was taken away, or before it ever came."""
        return 0 if self._baseline is None else self._counts()["acted"] - self._baseline

    def _read_clock(self) -> float:
        rule = SyscallRule(f"{self.name}.verify", ("clock",), ("*",), "clock", delay=self.shift, armed=True)
        read, write = os.pipe()
        try:
            try:
                command = Command((sys.executable, "-ISc", _READ))
                self.ground.sandbox.spawn(command, role="tool", stdout=write, rules=[rule], hide_vdso=True)
            finally:
                os.close(write)
            text = b""
            while select.select([read], [], [], _PATIENCE)[0] and (chunk := os.read(read, 100)):
                text += chunk
        finally:
            os.close(read)
        try:
            return float(text)
        except ValueError:
            raise HarnessBroken("a program that should have read the clock did not answer") from None

    def _wrong_dates(self) -> list[str]:
        """Lines of the job's log that carry the date of the wrong clock, and not the right one."""
        if abs(self.shift) < 2 * _NEAR:
            return []
        zero = time.time() - self.ground.history.now()
        found = [
            (event["text"], date)
            for event in self.ground.history.of("log")
            if event["job"] == "fault" and self.in_force(event.t, SETTLE)
            if (date := _dated(event["text"])) is not None and abs(date - zero - event.t - self.shift) < _NEAR
        ]
        if not found:
            return []
        return [f"{len(found)} log lines carry the wrong time, first: {found[0][0][:200]!r}"]


class Jump(_Shifted[ClockJump]):
    """The clock is set while the job runs."""


class Skew(_Shifted[ClockSkew]):
    """The clock is wrong from the job's start to its end."""


def _dated(text: str) -> float | None:
    """The first date with a time in a line, as seconds since 1970; by the local time zone unless it says."""
    match = _DATE.search(text)
    if match is None:
        return None
    try:
        year, month, day, clock, zone = match.groups()
        return datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{zone or ''}").timestamp()
    except (ValueError, OverflowError):
        return None


MECHANISMS: dict[str, type[Fault[Any]]] = {"clock.jump": Jump, "clock.skew": Skew}
