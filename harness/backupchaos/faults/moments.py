"""Moments of a run that decide what counts as proof."""

from __future__ import annotations

from backupchaos.history import Event, History

LAG = 0.1
"""Seconds after which the tap has told of a refusal: it counts them every 25 ms."""


def in_company(history: History, name: str) -> bool:
    """Whether other faults than this one were in force in the run too: a job that fails may fail because of them."""
    return any(event["name"] != name for event in history.of("fault"))


def ended(history: History) -> Event | None:
    """The end of the job under the faults, once it has come."""
    return next((event for event in history.of("job.end") if event["job"] == "fault"), None)


def job_end(history: History) -> float:
    """When the job under the faults ended; what the engine tries out afterwards is no proof that the job met them."""
    found = ended(history)
    return found.t if found is not None else history.now()
