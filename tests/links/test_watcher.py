"""The selector under the event loop of the link process."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator

import pytest

from backupchaos.links.watcher import Watcher


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    for sock in (one, two):
        sock.setblocking(False)
    yield one, two
    one.close()
    two.close()


def test_both_directions_of_one_socket(watcher: Watcher, pair: tuple[socket.socket, socket.socket]) -> None:
    one, two = pair
    called: list[str] = []
    watcher.reading(one.fileno(), lambda: called.append("read"))
    assert (watcher.select(0), called) == ([], [])
    watcher.writing(one.fileno(), lambda: called.append("write"))
    watcher.select(1)
    two.send(b"x")
    watcher.select(1)
    watcher.writing(one.fileno(), None)
    watcher.select(1)
    watcher.reading(one.fileno(), None)
    watcher.reading(one.fileno(), None)
    watcher.select(0)
    assert called == ["write", "read", "write", "read"]


def test_what_a_callback_stops_is_not_called_in_the_same_turn(
    watcher: Watcher, pair: tuple[socket.socket, socket.socket]
) -> None:
    called: list[int] = []

    def stop(own: int, other: int) -> None:
        called.append(own)
        watcher.forget(other)

    one, two = (sock.fileno() for sock in pair)
    watcher.writing(one, lambda: stop(one, two))
    watcher.writing(two, lambda: stop(two, one))
    watcher.select(1)
    assert len(called) == 1


def test_an_error_is_told_and_the_others_are_served(
    watcher: Watcher, pair: tuple[socket.socket, socket.socket]
) -> None:
    told: list[str] = []
    watcher.on_error = lambda error: told.append(str(error))

    def fail() -> None:
        raise ValueError("wrong")

    for sock in pair:
        watcher.writing(sock.fileno(), fail)
    watcher.select(1)
    assert told == ["wrong", "wrong"]
    watcher.on_error = None
    with pytest.raises(ValueError, match="wrong"):
        watcher.select(1)


@pytest.mark.parametrize("timeout", [0.0002, 0.0007, 0.0015])
def test_timers_are_exact_to_less_than_a_millisecond(timeout: float) -> None:
    """A millisecond would be as much as some toxics delay. The best of many, since a machine may be busy."""
    loop = asyncio.SelectorEventLoop(Watcher())
    late: list[float] = []
    for _ in range(50):
        due = time.monotonic() + timeout
        loop.call_at(due, loop.stop)
        loop.run_forever()
        late.append(time.monotonic() - due)
    loop.close()
    assert min(late) >= -1e-6
    assert min(late) < 0.0003


def test_asyncio_uses_it_as_its_own(watcher: Watcher) -> None:
    reader, writer = os.pipe()
    loop = asyncio.SelectorEventLoop(watcher)
    try:
        got: list[bytes] = []

        def readable() -> None:
            got.append(os.read(reader, 10))
            loop.remove_reader(reader)
            loop.stop()

        loop.add_reader(reader, readable)
        os.write(writer, b"word")
        loop.call_later(5, loop.stop)
        loop.run_forever()
        assert got == [b"word"]
    finally:
        os.close(reader)
        os.close(writer)
        loop.close()
