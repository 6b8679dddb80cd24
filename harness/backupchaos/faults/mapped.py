"""Files that are written through mapped memory: no call is refused on a full volume, the kernel sends SIGBUS instead."""

from __future__ import annotations

import signal
from typing import Any

from backupchaos.environments.base import Place
from backupchaos.faults.base import Fault
from backupchaos.faults.moments import ended, in_company
from backupchaos.history import Event

NO_ROOM = 2 * 4096
"""A volume with no more free bytes than these has no room left."""
LATELY = 0.1
"""Seconds before the job's end in which the volume was looked at for certain, if it changed."""


def ended_by_bus(fault: Fault[Any]) -> Event | None:
    """The end of the fault job, if it died of SIGBUS while this fault was in force, and not by a signal of ours."""
    end = ended(fault.ground.history)
    if end is None or end.get("returncode") != -signal.SIGBUS or not fault.in_force(end.t):
        return None
    ours = any((pid, number) == (fault.ground.job_pid, signal.SIGBUS) for _, pid, number in _sent(fault))
    return None if ours else end


def lacked_a_page(fault: Fault[Any], place: Place, left: int, behind: int | None) -> Event | None:
    """The end of a job that wanted a page of a mapped file for which the volume had no room.

    ``left`` is what the fault left free, ``behind`` what was free right after the job's end, None if nobody looked.
    Where nothing was left from the start, and other faults may have been the reason (a mapped file of the
    source that was cut off), a SIGBUS tells nothing.
    """
    end = ended_by_bus(fault)
    if end is None or (left <= NO_ROOM and in_company(fault.ground.history, fault.name)):
        return None
    samples = [
        (t, usage.free)
        for t, where, usage in fault.ground.free_space
        if where == place and fault.in_force(t, slack=0.0)
    ]
    earlier = [free for t, free in samples if t < end.t - LATELY][-1:]  # told only when it changes
    seen = earlier + [free for t, free in samples if t >= end.t - LATELY]
    least = min([*seen, *([] if behind is None else [behind])], default=None)
    return end if least is not None and least <= NO_ROOM else None


def _sent(fault: Fault[Any]) -> list[tuple[float, int, int]]:
    return list(getattr(fault.ground.sandbox, "sent", ()))
