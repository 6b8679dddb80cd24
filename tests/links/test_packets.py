"""Socket filters: what the kernel drops, and what it says about it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.links.support import dial

from backupchaos.links import packets


@pytest.fixture
def here() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def arrived(here: socket.socket, count: int) -> int:
    """How many of so many datagrams get through."""
    got = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        for _ in range(count):
            there.sendto(b"x", here.getsockname())
            with suppress(BlockingIOError):
                got += len(here.recv(1))
    return got


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_the_share_is_kept_and_counted(here: socket.socket, share: float) -> None:
    packets.lose(here, share)
    got = arrived(here, 4000)
    # Six standard deviations of 4000 throws: a wrong answer once in a billion runs.
    assert abs(got - 4000 * (1 - share)) < 6 * (4000 * share * (1 - share)) ** 0.5
    assert packets.dropped(here) == 4000 - got


def test_everything_nothing_and_what_the_kernel_says(here: socket.socket) -> None:
    assert not packets.filtered(here)
    packets.pass_all(here)
    assert arrived(here, 20) == 20
    packets.swallow(here)
    assert packets.filtered(here)
    assert arrived(here, 20) == 0
    packets.lose(here, 1.0)
    assert arrived(here, 20) == 0
    packets.pass_all(here)
    assert not packets.filtered(here)
    assert arrived(here, 20) == 20


def test_accepted_connections_inherit_the_listeners_filter() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        packets.lose(server, 1e-6)
        with dial(server.getsockname()[1]), server.accept()[0] as accepted:
            assert packets.filtered(accepted)


def test_a_kernel_that_ignores_filters_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packets.usable()
    monkeypatch.setattr(packets, "swallow", lambda sock: None)
    assert not packets.usable()


def test_a_kernel_that_gives_no_filter_to_a_stream_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As newer ones do for whoever has no rights on their network."""
    attach = packets.attach

    def refusing(sock: socket.socket, *more: Any) -> None:
        if sock.type is socket.SOCK_STREAM:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        attach(sock, *more)

    monkeypatch.setattr(packets, "attach", refusing)
    assert not packets.usable()
