"""Which of several faults struck last, as far as anybody knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backupchaos.checks.case import Case
from backupchaos.results import JobResult

AT_ONCE = 0.1
"""Seconds between blows whose order means nothing: threads, and the time it takes to count a refused connection."""
PATIENCE = 1.0
"""Seconds before which nobody gives up waiting: a delay that came later than so is not what ended the job."""
ENDURED = 5.0
"""Seconds after the last blow from which on a delay may have ended the job, whenever it began."""
BLOWS = frozenset({"unfit", "over", "refused"})
FEIGNED = frozenset({"lost"})
"""Rules by their names, in runs that were recorded before faults told of their blows: of the kernel's refusals, and of
calls that were answered as if they had been made."""


@dataclass(frozen=True)
class Struck:
    """One fault and its spans of blows before the job's end; ``how`` as in ``faults.blows``."""

    name: str
    pattern: str
    how: str
    spans: Sequence[tuple[float, float]]

    @property
    def first(self) -> float:
        """Its first blow."""
        return self.spans[0][0]

    @property
    def last(self) -> float:
        """The end of its last one."""
        return self.spans[-1][1]

    @property
    def since(self) -> float:
        """The moment that counts when blows are put in order: a delay begins, a silence falls, a refusal is given."""
        return {"burden": self.first, "silence": self.spans[-1][0]}.get(self.how, self.last)


class Last(NamedTuple):
    """``timed`` struck last, all at once if they are several. ``perhaps`` may have struck after them: nobody knows."""

    timed: Sequence[Struck]
    perhaps: Sequence[Struck]


def last_blows(case: Case, job: JobResult) -> Last | None:
    """What may have ended the job; None if there was only one fault, or nothing is known of any."""
    if len(case.causes()) < 2:
        return None
    end = _end(case, job)
    found = _struck(case, end)
    if job.outcome == "partial":
        found = _of_the_source(case, found) or found
    if not found:
        return None
    timed = [f for f in found if f.how != "untimed" and (f.how != "burden" or end - f.first >= PATIENCE)]
    latest = max((f.since for f in timed), default=0.0)
    late = [f for f in timed if (f.since if f.how == "burden" else f.last) >= latest - AT_ONCE]
    perhaps = [f for f in found if f.how == "untimed" and f.last >= latest - AT_ONCE]
    if job.outcome == "failure" and end - latest >= ENDURED:
        perhaps += [f for f in found if f.how == "burden" and f not in late and f.last >= latest]
    return Last(late, perhaps)


def _end(case: Case, job: JobResult) -> float:
    """When the job had failed, if it keeps states; what struck it on its way out did not end it."""
    states = case.states()
    failed = states[-1].t if states and states[-1].state == "FAILED" else job.ended
    return min(failed, job.ended) if failed >= job.started else job.ended


def _struck(case: Case, end: float) -> list[Struck]:
    causes = dict(case.causes())
    told = case.of("blows")
    if not told:
        return _by_calls(case, causes, end)
    found = []
    for event in told:
        spans = [(a, min(b, end + AT_ONCE)) for a, b in event["spans"] if a <= end + AT_ONCE]
        if spans and event["name"] in causes:
            found.append(Struck(event["name"], causes[event["name"]], event["how"], spans))
    return found


def _by_calls(case: Case, causes: dict[str, str], end: float) -> list[Struck]:
    """From the supervisor's reports alone."""
    when: dict[str, list[tuple[float, float]]] = {}
    for event in case.of("syscall"):
        name, _, part = event["rule"].rpartition(".")
        struck = part in BLOWS or (event["action"] == "errno" and part not in FEIGNED)
        if name in causes and struck and event.t <= end:
            when.setdefault(name, []).append((event.t, event.t))
    return [Struck(name, causes[name], "refusal", sorted(spans)) for name, spans in when.items()]


def _of_the_source(case: Case, found: Sequence[Struck]) -> list[Struck]:
    """Those by which files are left out: a job that came to its end without them has survived the others."""
    of_files = {e["name"] for e in case.of("cause") if e.get("paths")}
    of_files |= {
        name for name, spec in case.scenario.faults.items() if getattr(spec, "place", "") == "source"
    }
    return [f for f in found if f.name in of_files and f.how != "burden"]
