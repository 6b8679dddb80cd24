"""Whether what a job claims is in the repository: a restore may come from a spool that burns with the machine.

While a restore runs, source, cache and temp are hidden, but not the home where keys and configuration live, nor what a tool
keeps elsewhere on the machine. The change of the source brings fresh random bytes, which neither compress nor repeat what was
stored before. So many must have gone up the link, or have come to the repository's volume, whoever moved them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupchaos.checks.case import Case
from backupchaos.checks.rows import row
from backupchaos.results import CheckResult, Evidence
from backupchaos.units import format_size

TITLE = "what it claims is in the repository"
SHARE = 0.9
"""Of the fresh bytes: what a tool may spare by means that nobody has thought of."""


def stored(case: Case) -> list[CheckResult]:
    """A row only where too little arrived; a claim whose restore is not equal has been judged already.

    Over a link nothing else explains it. On a volume a tool may have had room reserved before: nobody knows.
    """
    end, restore, fresh = case.end(), case.restore("newest"), _fresh(case)
    if end is None or not case.claims_success or restore is None or not restore.equal or not fresh:
        return []
    if end.get("link_bytes") is not None:
        arrived, where, holds = end["link_bytes"], "went up the link", False
    elif (came := _came(case, end.data)) is not None:
        arrived, where, holds = came, "came to the repository", None
    else:
        return []
    if arrived >= SHARE * fresh:
        return []
    observed = f"{format_size(arrived)} {where}, and yet it restores"
    reason = (
        "what it restored must have lain outside of the repository, or in room that it had reserved before"
    )
    return [
        row(
            "honest.stored",
            TITLE,
            f"the {format_size(fresh)} of fresh data",
            observed,
            holds,
            law="honest",
            reason=reason if holds is None else "what it restored must have lain outside of the repository",
            evidence=[Evidence(observed, (end.seq,), end.t)],
        )
    ]


def _fresh(case: Case) -> int:
    """How many bytes the job cannot have spared; 0 if nobody knows.

    It may have had nothing to store where the source was struck or was another one, and less where a dead job's share of
    the same data lay in the repository, or where it stores elsewhere with leave.
    """
    scenario = case.scenario
    faults = scenario.faults.values()
    aside = any(f.layer == "repository" or getattr(f, "place", "") == "source" for f in faults)
    piped = any(f.kind == "process.stdin_dies" for f in faults)
    if aside or piped or scenario.allow is not None or case.of("source.leniency"):
        return 0
    return max((int(event["new_bytes"]) for event in case.of("change")), default=0)


def _came(case: Case, end: Mapping[str, Any]) -> int | None:
    """By how much the repository's volume grew; all that a mirror holds, since it also removes. None if it has none."""
    held = end.get("held")
    if held is None:
        return None
    return int(end["grown"] if case.profile.history else held)
