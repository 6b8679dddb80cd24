"""Which of a job's records can be about the faults."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from backupchaos.checks.case import Case
from backupchaos.history import Event


def since_the_faults(case: Case, records: Sequence[Event], names: Container[str]) -> list[Event]:
    """Those from after the first of these faults came; all, if none did."""
    comes = [e.t for e in case.of("fault") if e["name"] in names and e["status"] == "applying"]
    return [event for event in records if event.t >= min(comes, default=event.t)]


def unusual(case: Case, records: Sequence[Event]) -> list[Event]:
    """Those that the control job did not write as well.

    Who says at each start what a full disk would look like has told nothing when the disk is full.
    """
    usual = {_shape(event) for event in case.logs("control")}
    return [event for event in records if _shape(event) not in usual]


def _shape(event: Event) -> str:
    """Its words, whatever the numbers of the day."""
    return re.sub(r"\d+", "0", event["text"])
