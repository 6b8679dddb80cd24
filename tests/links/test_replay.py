"""The same seed gives the same faults at the same bytes: what a link's log tells, but for times, is the same again."""

from __future__ import annotations

from typing import Any

from tests.links.hostbox import HostBox, links_on
from tests.links.support import Log, Server, dial, echo

from backupchaos.links.model import LinkEvent

_BLOCK = bytes(range(256)) * 32
_BLOCKS = 30
_VARIES = {"peer_port", "ms", "lost_up", "lost_down", "open", "listen", "upstream", "total_up", "total_down"}
"""Times, ports, totals over conversations, and what was on its way when one was cut."""


def told(event: LinkEvent) -> list[tuple[Any, ...]]:
    """An event without what no seed can repeat; of hits the first, because later ones are told by the clock."""
    later = event.ev == "fault_hit" and not event.data.get("first")
    if event.ev in ("bytes", "silence") or later:
        return []
    data = {key: value for key, value in event.data.items() if key not in _VARIES}
    if event.ev == "fault_hit" and event.data["what"] == "delayed":
        data["ms"] = event.data["ms"]  # drawn, not measured
    return [(event.ev, event.conn, sorted(data.items(), key=str))]


def log_of(seed: int, *, connections: int = 10) -> list[tuple[Any, ...]]:
    """What a link with every toxic that draws lots tells of the same conversations."""
    box, server = HostBox(), Server(echo)
    try:
        links = links_on(box, seed=seed)
        link = links.create("store", server.port)
        link.toxic("slicer", "upstream", 0.5, name="sliced", average_size=2000, size_variation=900)
        link.toxic("latency", "downstream", 0.5, name="late", latency=2, jitter=2)
        link.toxic("limit_data", "downstream", 0.3, name="ended", bytes=90_001)
        link.afflict("corrupt", "bent", bits=4)
        for _ in range(connections):
            _talk(link.port)
        log = Log(links)
        log.until("close", count=connections)
        links.close()
    finally:
        server.close()
        box.close()
    # The end of one conversation and the beginning of the next are in no order.
    return [line for event in sorted(log.seen, key=lambda event: event.conn) for line in told(event)]


def _talk(port: int) -> None:
    """Say a block, wait for its echo, and so on, until it is enough or the link has ended it."""
    with dial(port) as sock:
        for _ in range(_BLOCKS):
            sock.sendall(_BLOCK)
            left = len(_BLOCK)
            while left:
                data = sock.recv(left)
                if not data:
                    return
                left -= len(data)


def test_same_seed_same_log() -> None:
    first = log_of(11)
    kinds = {line[0] for line in first}
    assert {"draw", "fault_hit", "flip", "close"} <= kinds
    assert log_of(11) == first


def test_another_seed_another_log() -> None:
    assert log_of(12, connections=6) != log_of(13, connections=6)
