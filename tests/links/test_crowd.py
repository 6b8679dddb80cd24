"""A thousand connections at once, ten thousand in a row, and one more than there are descriptors for."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Iterator

import pytest
from tests.links.crowd import Crowd, Process, allow
from tests.links.support import DEADLINE, Log, dial, memory, quiet, receive

from backupchaos.links.links import Links


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    allow(8192)
    with Crowd() as made:
        yield made


def census(links: Links) -> dict[str, int]:
    """What the link process holds on to."""
    found = links.process.request("census")
    return {key: found[key] for key in ("descriptors", "tasks", "objects")}


def test_a_thousand_at_once(links: Links, crowd: Crowd, log: Log) -> None:
    before = census(links)
    link = links.create("store", crowd.port)
    socks = [dial(link.port) for _ in range(1000)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%04d" % number)
    assert [receive(sock, 4) for sock in socks] == [b"%04d" % number for number in range(1000)]
    log.until("dial_ok", 1000)
    assert link.stats().open == 1000
    assert census(links)["objects"] == 3000, "a connection and its two directions"
    for sock in socks:
        sock.close()
    log.until("close", 1000)
    stats = link.stats()
    assert (stats.connections, stats.open, stats.up_bytes, stats.down_bytes) == (1000, 0, 4000, 4000)
    links.remove("store")
    assert census(links) == before


def test_a_thousand_are_cut_at_once(links: Links, crowd: Crowd, log: Log) -> None:
    link = links.create("store", crowd.port)
    before = census(links)
    socks = [dial(link.port) for _ in range(1000)]
    log.until("dial_ok", 1000)
    begin = time.monotonic()
    link.down("reset")
    assert time.monotonic() - begin < 2
    assert len(log.until("close", 1000)) == 1000
    for sock in socks:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    link.up()
    assert census(links) == before


@pytest.mark.slow
def test_ten_thousand_in_a_row_leave_nothing(links: Links, log: Log) -> None:
    server = Process("serve", "echo")
    link = links.create("store", int(server.line()))

    def some(count: int) -> None:
        clients = Process("connections", link.port, count, 50)
        while not select.select([clients.stdout], [], [], 0)[0]:
            select.select([clients.stdout.fileno(), links.fileno()], [], [], DEADLINE)
            links.events()
        assert clients.line(), "a connection failed"
        clients.end()

    def settled() -> None:
        deadline = time.monotonic() + DEADLINE
        while link.stats().open:
            assert select.select([links], [], [], deadline - time.monotonic())[0]
            links.events()

    some(1000)
    settled()
    before, size = census(links), memory(links.process.pid)
    assert before["objects"] == 0
    some(9000)
    settled()
    server.end()
    assert link.stats().connections == 10_000
    assert census(links) == before
    assert memory(links.process.pid) - size < 4 << 20


def test_without_descriptors_it_waits_and_goes_on(links: Links, crowd: Crowd, log: Log) -> None:
    """The rest stay in the queue; nothing spins, and they are served when the others have gone."""
    link = links.create("store", crowd.port)
    pid = links.process.pid
    limit = census(links)["descriptors"] + 20
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    first = [dial(link.port) for _ in range(8)]
    for sock in first:
        sock.sendall(b"x")
        assert receive(sock, 1) == b"x"
    rest = [dial(link.port) for _ in range(16)]
    (told, *_) = log.until("exhausted")
    assert "Too many open files" in told.data["error"]
    assert quiet(rest[-1], 0.5)
    links.process.request("ping")
    log.seen += links.events()
    assert sum(event.ev == "exhausted" for event in log.seen) < 20, "it does not try all the time"
    for sock in first:
        sock.close()
    served = sum(answered(sock) for sock in rest)
    assert served >= 8, "some may have been taken when there was a descriptor for one side only"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert answered(dial(link.port))


def answered(sock: socket.socket) -> bool:
    """Whether its echo comes; it is closed then."""
    with sock:
        try:
            sock.sendall(b"y")
            return receive(sock, 1) == b"y"
        except OSError:
            return False
