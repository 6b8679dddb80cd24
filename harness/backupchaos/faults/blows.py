"""When a fault struck: what the law *loud* asks where several did, since a failure must tell of the last one.

Each kind answers from what its mechanism tells: the tap's events, the server's or gate's strikes, the supervisor's calls,
the moments of our own signals. What nobody can know is said to be so (``untimed``), and never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from backupchaos.history import Event

How = Literal["refusal", "silence", "burden", "untimed"]
"""``refusal``: something was refused or ended, at these moments. ``silence``: something waited in vain, for these spans.
``burden``: nothing was refused, it was late, slow or otherwise than usual. ``untimed``: it struck, some time in these spans."""
Span = tuple[float, float]

TOGETHER: dict[How, float] = {"refusal": 0.05, "silence": 1.0, "burden": 1.0, "untimed": 0.0}
"""Seconds between two blows that are told as one span. Who waits is looked at every 50 ms, and each packet is a look."""
REPORTED = 1000
"""Calls of one rule that the supervisor reports one by one."""
KEPT = 200
"""So many spans are told, the newest and the first of all."""


@dataclass(frozen=True)
class Blows:
    """Spans in the history's seconds, in order and apart."""

    how: How
    spans: tuple[Span, ...]

    def fields(self) -> dict[str, Any]:
        """For the history."""
        return {"how": self.how, "spans": [[round(a, 6), round(b, 6)] for a, b in self.spans]}


def blows(how: How, moments: Iterable[float | Span]) -> Blows:
    """Moments, or spans, put in order and joined; without any, an empty one: it was not seen to strike."""
    given = sorted(m if isinstance(m, tuple) else (m, m) for m in moments)
    joined: list[Span] = []
    for start, end in given:
        if joined and start - joined[-1][1] <= TOGETHER[how]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return Blows(how, tuple(joined if len(joined) <= KEPT else [joined[0], *joined[1 - KEPT :]]))


def refusals(calls: Iterable[Event], *, until: float) -> Blows:
    """Calls that were refused, as the supervisor told; ``until`` is when the last one can have been, if it told no more."""
    found = list(calls)
    moments = [event.t for event in found]
    counts = Counter(str(event["rule"]) for event in found)
    if any(count >= REPORTED for count in counts.values()):
        return blows("untimed", [(min(moments), max(until, *moments))])
    return blows("refusal", moments)
