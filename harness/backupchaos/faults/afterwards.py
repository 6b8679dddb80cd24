"""What shows, at the end of a run, that a fault struck while it was not in force.

A limit that came back, a job of another time that was born with it, a blow that fell once too often: each is an
error of the harness, since what the tool did then was judged as if nothing had been in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Ground
from backupchaos.history import Event

JOB = "fault"
"""The job that runs under the faults; the others must meet none."""


def came_back(fault: Fault[Any]) -> list[str]:
    """What ``verify_undone`` finds if it looks once more: a state that was taken away, and is there again."""
    if fault.spec.instant or not fault.windows or fault.undone_at is None:
        return []
    try:
        fault.verify_undone()
    except HarnessBroken as found:
        return [f"it was undone, and is in force again at the end of the run: {found}"]
    return []


def too_often(fault: Fault[Any], strokes: int, what: str) -> list[str]:
    """A blow has no end that could be missed; but it must not fall without being due."""
    due = len(fault.windows)
    return [f"{what} {strokes} times, and was due {due} times"] if strokes > due else []


def other_jobs(ground: Ground) -> Iterator[tuple[Event, Mapping[str, Any]]]:
    """The start of each job without faults, and what ``/proc`` said of its process then; {} if not known."""
    for event in ground.history.of("job.start"):
        if event["job"] != JOB:
            yield event, ground.sandbox.birth(event["pid"])


def born_alike(
    ground: Ground, limited: Callable[[Mapping[str, Any]], bool], what: str, ordinary: Mapping[str, Any]
) -> list[str]:
    """Other jobs that were started as only the fault job should be.

    ``ordinary`` is how a job is born here without any fault: a machine's own limit may be the same.
    """
    if ordinary and limited(ordinary):
        return []
    return [
        f"the {event['job']} job, process {event['pid']}, was born with {what}"
        for event, born in other_jobs(ground)
        if born and limited(born)
    ]


def ordinary_birth(ground: Ground) -> Mapping[str, Any]:
    """How the job before the fault job was born; {} before any."""
    births = [born for _, born in other_jobs(ground)]
    return births[-1] if births else {}


def signalled_jobs(ground: Ground, number: int) -> list[str]:
    """Other jobs that got a signal from us while they ran, by the sandbox's own list of what it sent.

    What the engine sends to a job beyond its deadline is no fault's doing.
    """
    ends = {event["job"]: event for event in ground.history.of("job.end")}
    facts = []
    for start, _ in other_jobs(ground):
        end = ends.get(start["job"])
        if end is None or end["timed_out"] or end["hung"]:
            continue
        for sent, pid, what in ground.sandbox.sent:
            t = sent - ground.history.t0
            if (pid, what) == (start["pid"], number) and t <= end.t:
                facts.append(
                    f"signal {number} was sent to the {start['job']} job, process {pid}, at {t:.3f} s"
                )
    return facts
