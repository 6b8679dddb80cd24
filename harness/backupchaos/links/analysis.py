"""What the event log says about a tool's behaviour: pure functions over link events.

An *attempt* is a connection that was opened or refused. A retry on a kept-alive connection opens
none, and tools with several workers dial in parallel; group attempts in *bursts* before reading
gaps as backoff.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backupchaos.links.model import LinkEvent


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to connect, or ``count`` of them that were seen together.

    ``exact`` is false when the count may contain failures that had nothing to do with this link.
    """

    t: float
    count: int
    accepted: bool
    exact: bool


def of_link(events: Iterable[LinkEvent], link: str) -> list[LinkEvent]:
    """The events of one link."""
    return [event for event in events if event.link == link]


def attempts(events: Iterable[LinkEvent], after: float = float("-inf")) -> list[Attempt]:
    """Attempts to connect after a moment, in order."""
    found = []
    for event in events:
        if event.t <= after:
            continue
        if event.ev == "open":
            found.append(Attempt(event.t, 1, accepted=True, exact=True))
        elif event.ev == "refused":
            found.append(Attempt(event.t, event.data["count"], accepted=False, exact=event.data["exact"]))
    return found


def bursts(moments: Iterable[float], apart: float = 0.2) -> list[float]:
    """Start times of groups of moments with less than ``apart`` seconds between neighbours."""
    starts: list[float] = []
    last = float("-inf")
    for moment in sorted(moments):
        if moment - last >= apart:
            starts.append(moment)
        last = moment
    return starts


def gaps(events: Iterable[LinkEvent], after: float = float("-inf"), apart: float = 0.2) -> list[float]:
    """Seconds between the bursts of attempts after a moment."""
    starts = bursts((attempt.t for attempt in attempts(events, after)), apart)
    return [later - earlier for earlier, later in pairwise(starts)]


def growing(values: Sequence[float], tolerance: float = 0.1) -> bool:
    """Whether gaps grow: never much smaller than the one before, and the last clearly above the first."""
    if len(values) < 2:
        return False
    steady = all(later >= earlier * (1 - tolerance) for earlier, later in pairwise(values))
    return steady and values[-1] > values[0] * (1 + tolerance)


def longest_silence(events: Sequence[LinkEvent], begin: float, end: float) -> float:
    """The longest time within [begin, end] in which no byte passed and nobody tried to connect.

    Exact where the log has a ``silence`` event, else within one sample (50 ms).
    """
    silences = [(event.t - event.data["seconds"], event.t) for event in events if event.ev == "silence"]
    signs = [begin, end, *(moment for silence in silences for moment in silence)]
    for event in events:
        # A sample of totals comes up to 50 ms after the bytes, so inside a measured silence it is late news.
        late = event.ev == "bytes" and any(start < event.t < stop for start, stop in silences)
        if event.ev in ("open", "refused", "first_byte", "bytes", "eof", "close") and not late:
            signs.append(event.t)
    inside = sorted(t for t in signs if begin <= t <= end)
    return max((later - earlier for earlier, later in pairwise(inside)), default=0.0)


def bytes_passed(events: Iterable[LinkEvent], direction: str = "up") -> int:
    """All bytes that passed in a direction, over all ended connections."""
    return sum(event.data[direction] for event in events if event.ev == "close")


def bytes_resent(events: Iterable[LinkEvent], unique: int, direction: str = "up") -> int:
    """Bytes beyond ``unique`` (what the control run needed): the price of the retries, at least 0."""
    return max(0, bytes_passed(events, direction) - unique)


def bytes_cut(events: Iterable[LinkEvent]) -> int:
    """Bytes that one side had sent and the other never got, because a fault ended the connection."""
    return sum(
        event.data.get("lost_up", 0) + event.data.get("lost_down", 0)
        for event in events
        if event.ev == "close"
    )


def give_up_time(events: Iterable[LinkEvent], since: float) -> float | None:
    """Seconds from ``since`` to the last attempt or hang-up after it; None if there was none."""
    last = [event.t for event in events if event.t > since and event.ev in ("open", "refused", "hangup")]
    return max(last) - since if last else None


def recovered_after(events: Iterable[LinkEvent], since: float) -> float | None:
    """Seconds from ``since`` to the first data on a connection opened after it; None if there was none."""
    fresh: set[tuple[str, int]] = set()
    for event in events:
        if event.t <= since:
            continue
        if event.ev == "open":
            fresh.add((event.link, event.conn))
        elif event.ev == "first_byte" and (event.link, event.conn) in fresh and event.data["dir"] == "down":
            return event.t - since
    return None


def faults_hit(events: Iterable[LinkEvent]) -> dict[str, int]:
    """What acted (``down:refused``, ``hold``, ``toxic:<name>``) -> connections it touched."""
    found: dict[str, set[tuple[str, int]]] = {}
    for event in events:
        if event.ev == "fault_hit":
            found.setdefault(event.data["by"], set()).add((event.link, event.conn))
    return {by: len(conns) for by, conns in found.items()}
