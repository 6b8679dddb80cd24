"""Toxics that come and go, and servers that are reset, under load: nothing hangs, and nothing is left."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.links.crowd import Crowd
from tests.links.support import Log, dial, noise, receive

from backupchaos.links.links import Link, Links, Stream

STREAMS: tuple[Stream, ...] = ("upstream", "downstream")
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("latency", {"latency": 50, "jitter": 40}),
    ("bandwidth", {"rate": 0}),
    ("slicer", {"average_size": 500, "size_variation": 100, "delay": 500}),
    ("slow_close", {"delay": 60_000}),
    ("timeout", {"timeout": 60_000}),
    ("reset_peer", {"timeout": 60_000}),
    ("limit_data", {"bytes": 10_000}),
    ("noop", {}),
]
ANSWER = 5.0
"""Seconds within which every call must be answered; on a quiet machine they take a millisecond or two."""


@contextmanager
def pressing(link: Link, count: int) -> Iterator[None]:
    """So many clients that send and receive all the time, and come again when they are thrown out."""
    over = threading.Event()
    data = noise(20_000)

    def press() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection((link.host, link.port), timeout=0.5) as sock:
                while not over.is_set():
                    sock.sendall(data)
                    if receive(sock, len(data)) != data:
                        break

    threads = [threading.Thread(target=press) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def census(links: Links) -> dict[str, Any]:
    found = links.process.request("census")
    return {key: found[key] for key in ("descriptors", "tasks", "objects")}


def nothing_left(links: Links, link: Link) -> dict[str, Any]:
    """The census once every connection has ended."""
    deadline = time.monotonic() + 10
    while link.state()["open"]:
        assert time.monotonic() < deadline, f"connections that do not end: {link.state()}"
        links.events()
    return census(links)


@pytest.fixture
def link(links: Links) -> Iterator[Link]:
    with Crowd() as crowd:
        yield links.create("store", crowd.port)


@pytest.fixture
def before(links: Links, link: Link) -> dict[str, Any]:
    """The census when the HTTP side is loaded and its one connection is open."""
    assert link.toxics() == {}
    return census(links)


@pytest.mark.slow
def test_every_toxic_is_removed_under_load(
    links: Links, link: Link, before: dict[str, Any], log: Log
) -> None:
    slowest = 0.0
    with pressing(link, 16):
        log.until("first_byte", 32)
        for (kind, attributes), stream in itertools.product(KINDS, STREAMS):
            begin = time.monotonic()
            made = link.toxic(kind, stream, **attributes)
            neighbour = link.toxic("noop", stream, name="neighbour")
            made.update(toxicity=0.5)
            made.remove()
            neighbour.remove()
            slowest = max(slowest, (time.monotonic() - begin) / 5)
        assert link.toxics() == {}
    assert slowest < ANSWER
    assert nothing_left(links, link) == before
    with dial(link.port) as sock:
        sock.sendall(b"still there")
        assert receive(sock, 11) == b"still there"


@pytest.mark.slow
def test_a_reset_under_load_leaves_nothing(
    links: Links, link: Link, before: dict[str, Any], log: Log
) -> None:
    client = link.client
    with pressing(link, 16):
        log.until("first_byte", 32)
        for number in range(4):
            for (kind, attributes), stream in itertools.product(KINDS, STREAMS):
                link.toxic(kind, stream, **attributes)
            if number % 2:
                client.update("store", enabled=False)
            begin = time.monotonic()
            client.reset()
            assert time.monotonic() - begin < ANSWER
            assert link.toxics() == {}
            assert client.get_proxy("store").enabled
            with dial(link.port) as sock:
                sock.sendall(b"at once")
                assert receive(sock, 7) == b"at once"
    assert nothing_left(links, link) == before


def test_a_proxy_is_deleted_under_load(links: Links, link: Link, before: dict[str, Any]) -> None:
    with pressing(link, 16):
        for kind, attributes in KINDS:
            link.toxic(kind, "upstream", 0.5, **attributes)
        begin = time.monotonic()
        link.client.destroy("store")
        assert time.monotonic() - begin < ANSWER
        assert link.client.proxies() == {}
    left = census(links)
    assert (left["objects"], left["tasks"]) == (0, before["tasks"])
