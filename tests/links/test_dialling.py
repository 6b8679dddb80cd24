"""Reaching an upstream: the next address, a full queue, no answer, and nothing left of an abandoned attempt."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.links import dialling
from backupchaos.links.dialling import Dial
from backupchaos.links.registry import Registry
from backupchaos.links.watcher import Watcher


class Bench:
    """A loop and what a ``Dial`` needs of a registry. ``told`` are sockets that were reached, and reasons."""

    def __init__(self) -> None:
        self.watcher = Watcher()
        self.loop = asyncio.SelectorEventLoop(self.watcher)
        self.registry = SimpleNamespace(loop=self.loop, watcher=self.watcher, dialling=0, own_refusals=0)
        self.told: list[socket.socket | str] = []

    def dial(self, where: str) -> Dial:
        made = Dial(cast(Registry, self.registry), self._tell, self._tell)
        made.begin(where)
        return made

    def _tell(self, what: socket.socket | str) -> None:
        self.told.append(what)
        self.loop.stop()

    def run(self) -> socket.socket | str:
        """Until it is told something; within five seconds."""
        if not self.told:
            self.loop.call_later(5, self.loop.stop)
            self.loop.run_forever()
        (told,) = self.told
        assert self.registry.dialling == 0
        return told


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for told in made.told:
        if isinstance(told, socket.socket):
            told.close()
    made.loop.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_on_a_loopback_the_answer_is_there_at_once(bench: Bench, server: socket.socket) -> None:
    bench.dial(f"127.0.0.1:{server.getsockname()[1]}")
    (sock,) = bench.told
    assert isinstance(sock, socket.socket)
    assert sock.getpeername() == server.getsockname()
    assert (sock.gettimeout(), sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == (0, 1)


def test_a_refusal_is_told_and_counted_as_our_own(bench: Bench) -> None:
    bench.dial(f"127.0.0.1:{unused()}")
    assert bench.told == ["Connection refused"]
    assert bench.registry.own_refusals == 1


def test_all_addresses_of_a_name_are_tried(
    bench: Bench, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.getsockname()[1]
    asked: list[tuple[Any, ...]] = []

    async def look_up(*arguments: Any, **_: Any) -> list[Any]:
        asked.append(arguments)
        kind = (socket.SOCK_STREAM, 6, "")
        return [
            (socket.AF_INET6, *kind, ("::1", port, 0, 0)),
            (socket.AF_INET, *kind, ("127.0.0.1", unused())),
            (socket.AF_INET, *kind, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(bench.loop, "getaddrinfo", look_up)
    bench.dial(f"some.name:{port}")
    sock = bench.run()
    assert isinstance(sock, socket.socket)
    assert sock.getpeername() == ("127.0.0.1", port)
    assert (asked, bench.registry.own_refusals) == ([("some.name", port)], 1)


def test_a_name_that_does_not_exist(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(bench.loop, "getaddrinfo", look_up)
    bench.dial("none.invalid:80")
    assert "Name or service not known" in str(bench.run())


def test_no_answer_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "TIMEOUT", 0.1)
    with socket.socket() as hole, socket.socket() as filler:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        filler.connect(hole.getsockname())
        bench.dial(f"127.0.0.1:{hole.getsockname()[1]}")
        assert bench.registry.dialling == 1
        assert bench.run() == "timed out"


def test_an_abandoned_attempt_tells_nothing(bench: Bench) -> None:
    with socket.socket() as hole, socket.socket() as filler:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        filler.connect(hole.getsockname())
        attempt = bench.dial(f"127.0.0.1:{hole.getsockname()[1]}")
        attempt.abandon()
        attempt.abandon()
        hole.listen(8)
    bench.loop.call_later(0.1, bench.loop.stop)
    bench.loop.run_forever()
    assert (bench.told, bench.registry.dialling) == ([], 0)


def test_a_full_queue_of_a_unix_socket_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as filler:
        server.bind(path)
        server.listen(0)
        filler.connect(path)
        bench.dial(f"unix:{path}")
        assert bench.told == []
        server.accept()[0].close()
        assert isinstance(bench.run(), socket.socket)


@pytest.mark.parametrize(
    ("there", "words"), [(False, errno.ENOENT), (True, errno.ECONNREFUSED)], ids=["missing", "nobody listens"]
)
def test_unix_sockets_that_answer_nobody(bench: Bench, tmp_path: Path, there: bool, words: int) -> None:
    path = str(tmp_path / "s")
    if there:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
    bench.dial(f"unix:{path}")
    assert bench.told == [os.strerror(words)]
    assert bench.registry.own_refusals == 0, "none that the kernel counts for this network"
