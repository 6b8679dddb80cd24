"""A reader that stalls while 200 MB wait for it: the link process keeps a bounded part, and nothing is lost."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.links.conftest import Make
from tests.links.support import Server, dial, flood, memory, stuck

from backupchaos.links.links import Links

SIZE = 200_000_000
MB = 1 << 20
BOUNDS: list[tuple[str, dict[str, int], int]] = [
    ("", {}, 3 * MB),
    ("latency", {"latency": 1}, 40 * MB),
    ("bandwidth", {"rate": 10_000_000}, 3 * MB),
    ("slicer", {"average_size": 60_000, "size_variation": 1000}, 3 * MB),
    ("noop", {}, 3 * MB),
]
"""Toxic, attributes, and the bytes by which the process may grow. Latency keeps 1024 pieces of 32 KiB, as the original does."""


def sending(server: Server, conn: socket.socket, data: bytearray) -> None:
    """Send all of it; ``seen`` has a byte for each quarter of a megabyte that was taken."""
    piece = bytes(250_000)
    for _ in range(SIZE // len(piece)):
        conn.sendall(piece)
        server.note(data, b"x")


def stalled(server: Server) -> int:
    """Quarters of a megabyte that were taken when no more are."""
    with server.changed:
        while server.changed.wait(0.3):
            pass
        return len(server.seen[0])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "attributes", "bound"), BOUNDS, ids=[kind or "none" for kind, *_ in BOUNDS])
def test_downstream(links: Links, make: Make, kind: str, attributes: dict[str, Any], bound: int) -> None:
    link, server = make(sending)
    if kind:
        link.toxic(kind, "downstream", **attributes)
    before = memory(links.process.pid)
    with dial(link.port) as sock:
        server.wait(lambda: bool(server.seen))
        assert stalled(server) < SIZE // 250_000, "it was to wait"
        assert memory(links.process.pid) - before < bound
        count, buffer = 0, bytearray(1 << 20)
        while more := sock.recv_into(buffer):
            count += more
    assert count == SIZE


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "attributes", "bound"), BOUNDS, ids=[kind or "none" for kind, *_ in BOUNDS])
def test_upstream(links: Links, make: Make, kind: str, attributes: dict[str, Any], bound: int) -> None:
    link, server = make(stuck)
    if kind:
        link.toxic(kind, "upstream", **attributes)
    before = memory(links.process.pid)
    with dial(link.port) as sock:
        sent = flood(sock, SIZE)
        assert sent < SIZE, "it was to wait"
        assert memory(links.process.pid) - before < bound
        links.process.request("ping")
        server.release.set()
        sock.settimeout(30)
        sock.sendall(bytes(SIZE - sent))
        sock.shutdown(socket.SHUT_WR)
        server.wait(lambda: bool(server.ends), 30)
    assert len(server.seen[0]) == SIZE
