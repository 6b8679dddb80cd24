"""The gaps between retries: do they grow?"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from backupchaos.checks.case import Case
from backupchaos.checks.rows import row
from backupchaos.results import CheckResult, Retry

NOTHING = 0.05
"""Seconds below which a gap between retries is no pause."""
WORK = 64 * 1024
"""Bytes to the server after which the job was at work again: more than a greeting and a login take."""


def growing(gaps: Sequence[float]) -> bool:
    """Gaps grow as a whole: the last is half as long again as the first, and few steps shrink.

    Jitter may make single steps shrink, and a cap makes the last ones equal; neither is held
    against the tool. Gaps below ``NOTHING`` seconds are no pause at all: they are how long a refusal takes.
    """
    shrinking = sum(1 for a, b in pairwise(gaps) if b < 0.7 * a and a > NOTHING)
    grown = len(gaps) >= 2 and gaps[-1] >= max(1.5 * gaps[0], NOTHING)
    return grown and shrinking <= len(gaps) // 3


def grouped(seen: Sequence[Retry]) -> dict[str, list[Retry]]:
    """By the link that they were for; those of which nobody knows it under an empty name."""
    found: dict[str, list[Retry]] = {}
    for retry in seen:
        found.setdefault(retry.link, []).append(retry)
    return found


def backoff(case: Case, seen: Sequence[Retry], law: str) -> CheckResult:
    """Each link has gaps of its own: who waits for one does not wait for the other.

    The time in which the job was at work between two troubles is no gap: each trouble is judged by itself.
    """
    shown, judged = [], []
    for link, mine in grouped(seen).items():
        every = [[b.t - a.t for a, b in pairwise(series)] for series in _series(case, mine)]
        told = [" ".join(f"{gap:.2f}" for gap in gaps[:12]) + " s" for gaps in every if gaps]
        words = ", then ".join(told) or f"{len(mine)} retries"
        shown.append(f"{link}: {words}" if link and case.scenario.services else words)
        judged += [growing(gaps) for gaps in every if len(gaps) >= 2]
    holds = all(judged) if judged else None
    return row(
        "backoff",
        "gaps between retries",
        "growing",
        "; ".join(shown) or "0 retries",
        holds,
        law=law,
        reason="" if holds is not None else "fewer than three retries of one trouble: no two gaps to compare",
    )


def _series(case: Case, mine: Sequence[Retry]) -> list[list[Retry]]:
    """Retries of one link, cut apart where it carried the job's work in between."""
    totals = _sent(case, mine[0].link)
    times = [t for t, _ in totals]
    found = [[mine[0]]]
    for before, after in pairwise(mine):
        sent = [totals[n - 1][1] if (n := bisect_right(times, r.t)) else 0 for r in (before, after)]
        if sent[1] - sent[0] >= WORK:
            found.append([])
        found[-1].append(after)
    return found


def _sent(case: Case, link: str) -> list[tuple[float, int]]:
    """(moment, bytes up the link by then); of the only one if its name is not known, else nothing."""
    events = [event for event in case.of("link") if event["ev"] in {"bytes", "close"}]
    if not link:
        names = {event.get("link") for event in events}
        link = str(names.pop()) if len(names) == 1 else ""
    totals = [
        (event.t, event.get("up" if event["ev"] == "bytes" else "total_up", 0))
        for event in events
        if link and event.get("link") == link
    ]
    return sorted(totals)
