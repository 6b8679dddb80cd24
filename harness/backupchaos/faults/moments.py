"""Moments of a run that decide what counts as proof."""

from __future__ import annotations

from backupchaos.history import History

LAG = 0.1
"""Seconds after which the tap has told of a refusal: it counts them every 25 ms."""


def in_company(history: History, name: str) -> bool:
    """Whether other faults than this one were in force in the run too: a job that fails may fail because of them."""
    return any(event["name"] != name for event in history.of("fault"))


def job_end(history: History) -> float:
    """When the job under the faults ended; what the engine tries out afterwards is no proof that the job met them."""
    ended = next((event for event in history.of("job.end") if event["job"] == "fault"), None)
    return ended.t if ended is not None else history.now()
