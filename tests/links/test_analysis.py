"""The questions that are asked of a link's event log."""

from __future__ import annotations

from typing import Any

import pytest

from backupchaos.links import analysis
from backupchaos.links.model import LinkEvent, LinkStats


def event(t: float, ev: str, conn: int = 0, **data: Any) -> LinkEvent:
    return LinkEvent(int(t * 1000), t, ev, "a", conn, data)


def refused(t: float, count: int = 1, exact: bool = True) -> LinkEvent:
    return event(t, "refused", mode="refused", count=count, exact=exact)


LOG = [
    event(1.0, "open", 1, peer_port=1),
    event(1.1, "first_byte", 1, dir="up"),
    event(2.0, "down", mode="refused"),
    event(2.0, "close", 1, reason="down", up=500, down=20, lost_up=7),
    refused(3.0),
    refused(3.05, 2, exact=False),
    refused(5.0),
    refused(9.0),
    event(9.5, "up", was="refused"),
    event(17.0, "open", 2, peer_port=2),
    event(17.01, "silence", 2, seconds=15.2),
    event(17.1, "first_byte", 2, dir="up"),
    event(17.2, "first_byte", 2, dir="down"),
    event(18.0, "close", 2, reason="client_fin", up=900, down=30),
]


def test_attempts_after_the_fault() -> None:
    found = analysis.attempts(LOG, after=2.0)
    assert [(item.t, item.count, item.accepted) for item in found] == [
        (3.0, 1, False),
        (3.05, 2, False),
        (5.0, 1, False),
        (9.0, 1, False),
        (17.0, 1, True),
    ]
    assert [item.exact for item in found] == [True, False, True, True, True]


def test_gaps_are_between_bursts() -> None:
    assert analysis.gaps(LOG, after=2.0) == pytest.approx([2.0, 4.0, 8.0])
    assert analysis.gaps([], after=2.0) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0, 4.0, 8.0], True),
        ([2.0, 1.95, 4.0], True),
        ([2.0, 2.0, 2.0], False),
        ([4.0, 1.0, 8.0], False),
        ([2.0], False),
        ([], False),
    ],
)
def test_growing(values: list[float], expected: bool) -> None:
    assert analysis.growing(values) is expected


def test_longest_silence() -> None:
    assert analysis.longest_silence(LOG, 2.0, 18.0) == pytest.approx(8.0)
    assert analysis.longest_silence([], 1.0, 4.0) == 3.0


def test_a_late_sample_does_not_shorten_a_measured_silence() -> None:
    log = [event(1.0, "open", 1), event(2.05, "bytes", up=5, down=0), event(4.0, "silence", 1, seconds=2.0)]
    assert analysis.longest_silence(log, 1.0, 4.0) == pytest.approx(2.0)


def test_bytes() -> None:
    assert analysis.bytes_passed(LOG) == 1400
    assert analysis.bytes_resent(LOG, unique=900) == 500
    assert analysis.bytes_resent(LOG, unique=5000) == 0
    assert analysis.bytes_cut(LOG) == 7


def test_give_up_and_recovery() -> None:
    assert analysis.give_up_time(LOG[:9], since=2.0) == pytest.approx(7.0)
    assert analysis.give_up_time(LOG, since=17.5) is None
    assert analysis.recovered_after(LOG, since=9.5) == pytest.approx(7.7)
    assert analysis.recovered_after(LOG[:10], since=9.5) is None


def test_faults_hit_counts_connections() -> None:
    log = [event(1, "fault_hit", conn, by="toxic:slow", first=True) for conn in (1, 1, 2)]
    assert analysis.faults_hit([*log, event(2, "fault_hit", 1, by="hold", first=True)]) == {
        "toxic:slow": 2,
        "hold": 1,
    }


def test_stats_follow_the_events() -> None:
    stats = LinkStats()
    for item in LOG:
        stats.apply(item)
    stats.apply(event(19, "bytes", up=1400, down=50, open=0))
    assert (stats.connections, stats.open, stats.refused, stats.refused_exact) == (2, 0, 5, False)
    assert (stats.up_bytes, stats.down_bytes, stats.lost_up) == (1400, 50, 7)
