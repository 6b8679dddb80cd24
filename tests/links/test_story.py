"""What the event log tells of one connection: opened, refused, first byte, bytes, half-close, end, and by whom."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.links.conftest import Make
from tests.links.support import (
    EOF,
    RESET,
    Log,
    Server,
    dial,
    echo,
    end_of,
    fate,
    receive,
    reply_after_eof,
    round_trip,
    stuck,
)

from backupchaos.links.links import Link, Links


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def hanging_up(server: Server, conn: socket.socket, data: bytearray) -> None:
    conn.sendall(conn.recv(100))


def resetting(server: Server, conn: socket.socket, data: bytearray) -> None:
    conn.sendall(conn.recv(100))
    conn.recv(100)
    reset(conn)


Way = Callable[[Link, socket.socket], Any]


def remove(link: Link, sock: socket.socket) -> None:
    link._links.remove(link.name)


def move(link: Link, sock: socket.socket) -> None:
    link.client.update(link.name, upstream="127.0.0.1:1")


def disable(link: Link, sock: socket.socket) -> None:
    link.client.update(link.name, enabled=False)


def cut_after(link: Link, sock: socket.socket) -> None:
    link.afflict("cut_after", "scissors", bytes=3)
    sock.sendall(b"abcdef")


def half_open(link: Link, sock: socket.socket) -> None:
    link.afflict("half_open", "dead")
    link.relieve("dead")


def toxic(kind: str, stream: Any, **attributes: int) -> Way:
    def way(link: Link, sock: socket.socket) -> None:
        link.toxic(kind, stream, name="poison", **attributes)
        with suppress(OSError):
            sock.sendall(b"abcdef")

    return way


def close(link: Link, sock: socket.socket) -> None:
    sock.close()


def close_after(link: Link, sock: socket.socket) -> None:
    assert end_of(sock) == EOF
    sock.close()


WAYS: list[tuple[str, Callable[..., None], Way, dict[str, Any], str]] = [
    ("the client closes", echo, close, {"reason": "client_fin", "rst": False}, EOF),
    (
        "the client resets",
        echo,
        lambda link, sock: reset(sock),
        {"reason": "client_rst", "rst": True, "error": "ECONNRESET"},
        RESET,
    ),
    ("the server closes", hanging_up, close_after, {"reason": "upstream_fin", "rst": False}, EOF),
    (
        "the server resets",
        resetting,
        lambda link, sock: sock.sendall(b"x"),
        {"reason": "upstream_rst", "rst": True, "error": "ECONNRESET"},
        EOF,
    ),
    (
        "a limit",
        echo,
        toxic("limit_data", "upstream", bytes=2),
        {"reason": "toxic:poison", "rst": False, "lost_up": 4},
        EOF,
    ),
    (
        "a time-out",
        echo,
        toxic("timeout", "upstream", timeout=20),
        {"reason": "toxic:poison", "rst": False, "lost_up": 6},
        EOF,
    ),
    (
        "a reset_peer",
        echo,
        toxic("reset_peer", "upstream"),
        {"reason": "toxic:poison", "rst": True, "lost_up": 6},
        RESET,
    ),
    (
        "the link is shut",
        echo,
        lambda link, sock: link.down("refused", "storm"),
        {"reason": "down", "rst": False, "cause": "storm"},
        EOF,
    ),
    (
        "the link resets",
        echo,
        lambda link, sock: link.reset("storm"),
        {"reason": "down", "rst": True, "cause": "storm"},
        RESET,
    ),
    ("somebody disables the proxy", echo, disable, {"reason": "down", "rst": False}, EOF),
    ("somebody moves the proxy", echo, move, {"reason": "moved", "rst": False}, EOF),
    ("the link is removed", echo, remove, {"reason": "removed", "rst": False}, EOF),
    (
        "it has sent too much",
        echo,
        cut_after,
        {"reason": "cut_after", "rst": True, "cause": "scissors", "lost_up": 3},
        RESET,
    ),
    ("it was half open", echo, half_open, {"reason": "half_open", "rst": True, "cause": "dead"}, RESET),
]


@pytest.mark.parametrize("case", WAYS, ids=[case[0] for case in WAYS])
def test_who_ended_it(make: Make, log: Log, case: tuple[Any, ...]) -> None:
    _, handler, way, told, seen = case
    link, server = make(handler)
    sock = dial(link.port)
    round_trip(sock)
    way(link, sock)
    (event,) = log.until("close")
    data = dict(event.data)
    assert data.pop("ms") >= 0
    up = data.pop("up")
    assert (data.pop("total_up"), data.pop("down"), data.pop("total_down")) == (up, 4, 4)
    assert data == told
    server.wait(lambda: bool(server.ends))
    assert server.ends == [seen], "and so it looks from the server"


def test_nobody_is_there(links: Links, log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = links.create("dead", port)
    assert fate(link.port) == EOF
    (event,) = log.until("close")
    assert (event.data["reason"], event.data["rst"]) == ("dial_fail", False)
    assert [event.ev for event in log.seen if event.conn] == ["open", "dial_fail", "close"]


def test_who_was_turned_away(make: Make, log: Log) -> None:
    link, _ = make()
    link.fail_first(1)
    assert fate(link.port) == RESET
    link.down("reset", "storm")
    assert fate(link.port) == RESET
    first, second = log.until("refused", 2)
    assert first.data["mode"] == "fail_first"
    assert {key: second.data[key] for key in ("mode", "count", "exact", "cause")} == {
        "mode": "reset",
        "count": 1,
        "exact": True,
        "cause": "storm",
    }


def test_half_a_close_is_told_for_each_side(make: Make, log: Log) -> None:
    link, _ = make(reply_after_eof)
    sock = dial(link.port)
    sock.sendall(b"12345")
    sock.shutdown(socket.SHUT_WR)
    assert receive(sock, 100) == b"got 5"
    log.until("close")
    story = [(event.ev, event.data.get("dir")) for event in log.seen if event.conn == 1]
    assert story == [
        ("open", None),
        ("dial_ok", None),
        ("first_byte", "up"),
        ("eof", "up"),
        ("first_byte", "down"),
        ("eof", "down"),
        ("close", None),
    ]


def test_each_connections_bytes_are_sampled_while_it_lives(make: Make, log: Log) -> None:
    link, _ = make()
    one, two = dial(link.port), dial(link.port)
    round_trip(one, b"x" * 10)
    round_trip(two, b"y" * 20)

    def latest() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for event in log.seen:
            if event.ev == "bytes":
                found |= event.data.get("each", {})
        return found

    while latest() != {"1": [10, 10], "2": [20, 20]}:
        log.until("bytes", sum(event.ev == "bytes" for event in log.seen) + 1)
    assert "close" not in [event.ev for event in log.seen]
    count = len(log.seen)
    round_trip(two, b"z" * 5)
    while latest()["2"] != [25, 25]:
        log.until("bytes", sum(event.ev == "bytes" for event in log.seen) + 1)
    fresh = [event.data["each"] for event in log.seen[count:] if event.ev == "bytes"]
    assert all(list(each) == ["2"] for each in fresh), "only of those on which something has passed"


def test_bytes_that_wait_are_not_counted_as_passed(make: Make, log: Log) -> None:
    link, server = make(stuck)
    link.toxic("bandwidth", "upstream", rate=0)
    sock = dial(link.port)
    sock.sendall(b"x" * 1000)
    log.until("fault_hit")
    sock.close()
    log.until("eof")
    assert link.stats().up_bytes == 0
    link.toxics()["bandwidth_upstream"].remove()
    server.release.set()
    close = log.until("close")[0].data
    assert (close["up"], "lost_up" in close) == (1000, False)
