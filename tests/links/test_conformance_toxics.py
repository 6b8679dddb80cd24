"""The toxics on the wire (cases 42-70). Lower time bounds are exact, upper ones loose."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import suppress

import pytest
from tests.links.support import (
    EOF,
    RESET,
    Backend,
    best_trip,
    end_of,
    noise,
    quiet,
    receive,
    round_trip,
    sender,
    sink,
    within,
)
from tests.links.test_conformance_links import exchange


def wait_for_data(api: Backend, port: int) -> tuple[socket.socket, float]:
    sock = api.dial(port)
    sock.sendall(b"x")
    return sock, time.monotonic()


def test_42_latency_adds_up(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    sock = api.dial(port)
    round_trip(sock)
    api.toxic(name, "latency", latency=100)
    assert 0.1 <= round_trip(sock) < 0.14
    api.toxic(name, "latency", "upstream", latency=50)
    assert 0.15 <= round_trip(sock) < 0.2
    api.toxic(name, "latency", name="second", latency=100)
    assert 0.25 <= round_trip(sock) < 0.31


def test_43_live_changes(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    sock = api.dial(port)
    round_trip(sock)
    path = api.toxic(name, "latency", latency=100)
    assert 0.1 <= best_trip(sock) < 0.15
    api("PATCH", path, {"attributes": {"latency": 200}})
    assert 0.2 <= best_trip(sock) < 0.25
    api("DELETE", path)
    assert best_trip(sock) < 0.05


def test_44_removal_delivers_at_once(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    path = api.toxic(name, "latency", latency=3000)
    sock = api.dial(port)
    sock.sendall(b"hello")
    server.wait(lambda: bool(server.seen and server.seen[0] == b"hello"))
    assert quiet(sock, 0.1)
    with within(0, 0.2):
        api("DELETE", path)
        assert receive(sock, 5) == b"hello"


def test_45_jitter(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", latency=50, jitter=20)
    sock = api.dial(port)
    samples = [round_trip(sock) * 1000 for _ in range(30)]
    assert min(samples) >= 30
    assert sorted(samples)[-3] < 90  # a busy machine may be late once or twice
    assert max(samples) - min(samples) > 15


def test_46_latency_is_not_per_chunk(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", latency=100)
    sock = api.dial(port)
    data = noise(300_000)
    with within(0.1, 0.3):
        assert exchange(sock, data) == data


def test_47_latency_and_limit(api: Backend) -> None:
    server = api.server(sink)
    name, port = api.proxy(server.address)
    api.toxic(name, "latency", "upstream", latency=100)
    api.toxic(name, "limit_data", "upstream", bytes=3)
    sock = api.dial(port)
    with within(0.1, 0.3):
        sock.sendall(b"abcdef")
        server.wait(lambda: server.ends == [EOF])
    assert server.seen == [b"abc"]


def test_48_bandwidth(api: Backend) -> None:
    server = api.server(sender(10_000_000))
    name, port = api.proxy(server.address)
    api.toxic(name, "bandwidth", rate=1000)
    sock = api.dial(port)
    begin, count = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < 2:
        count += len(sock.recv(1 << 16))
    assert 930 <= count / passed / 1000 <= 1070


def test_49_bandwidth_is_per_connection(api: Backend) -> None:
    server = api.server(sender(10_000_000))
    name, port = api.proxy(server.address)
    api.toxic(name, "bandwidth", rate=500)
    socks = [api.dial(port), api.dial(port)]
    counts = [0, 0]
    begin = time.monotonic()

    def take(index: int) -> None:
        while time.monotonic() - begin < 1.5:
            counts[index] += len(socks[index].recv(1 << 16))

    threads = [threading.Thread(target=take, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - begin
    for count in counts:
        assert 430 <= count / passed / 1000 <= 570


def test_50_rate_zero_withholds(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    path = api.toxic(name, "bandwidth", rate=0)
    sock = api.dial(port)
    sock.sendall(b"hello")
    server.wait(lambda: bool(server.seen and server.seen[0] == b"hello"))
    assert quiet(sock, 0.3)
    api("DELETE", path)
    assert receive(sock, 5) == b"hello"
    round_trip(sock)


def test_51_removal_from_a_dead_connection(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    path = api.toxic(name, "bandwidth", rate=0)
    sock = api.dial(port)
    sock.sendall(b"hello")
    server.wait(lambda: bool(server.seen and server.seen[0] == b"hello"))
    sock.close()
    with within(0, 6):
        assert api("DELETE", path).status == 204


def test_52_limit_data(api: Backend) -> None:
    server = api.server(sink)
    name, port = api.proxy(server.address)
    api.toxic(name, "limit_data", "upstream", bytes=100_000)
    sock = api.dial(port)
    with suppress(OSError):
        sock.sendall(b"x" * 300_000)
    server.wait(lambda: server.ends == [EOF])
    assert len(server.seen[0]) == 100_000
    sock = api.dial(port)
    sock.sendall(b"x" * 99_999)
    server.wait(lambda: len(server.seen) == 2 and len(server.seen[1]) == 99_999)
    assert quiet(sock, 0.1)
    sock.sendall(b"y")
    server.wait(lambda: len(server.ends) == 2)
    assert len(server.seen[1]) == 100_000
    assert end_of(sock) in (EOF, RESET)


def test_53_limit_zero(api: Backend) -> None:
    server = api.server(sink)
    name, port = api.proxy(server.address)
    api.toxic(name, "limit_data", "upstream", bytes=0)
    sock = api.dial(port)
    assert quiet(sock, 0.1)
    sock.sendall(b"x")
    server.wait(lambda: server.ends == [EOF])
    assert server.seen == [b""]


def test_54_limit_on_a_live_link(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    sock = api.dial(port)
    round_trip(sock, b"before")
    api.toxic(name, "limit_data", "upstream", bytes=3)
    sock.sendall(b"after!")
    server.wait(lambda: len(server.ends) == 1)
    assert server.seen == [b"beforeaft"]


def test_55_timeout(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    api.toxic(name, "timeout", timeout=200)
    sock = api.dial(port)
    sock.sendall(b"x")
    with within(0.19, 0.3):
        assert end_of(sock) == EOF
    server.wait(lambda: len(server.ends) == 1)  # the other side ends too, while the client is still there


def test_56_timeout_restarts_with_data(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "timeout", timeout=300)
    sock = api.dial(port)
    begin = time.monotonic()
    for number in range(6):
        assert quiet(sock, max(0.0, begin + number * 0.1 - time.monotonic()))
        sock.sendall(b"x")
    assert end_of(sock) == EOF
    assert 0.78 <= time.monotonic() - begin <= 1.1


def test_57_timeout_zero(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    path = api.toxic(name, "timeout", timeout=0)
    sock = api.dial(port)
    sock.sendall(b"x")
    assert quiet(sock, 0.3)
    api("DELETE", path)
    assert end_of(sock) == EOF


def test_58_reset_ends_timed_out_links(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "timeout", timeout=0)
    sock = api.dial(port)
    sock.sendall(b"x")
    assert quiet(sock, 0.1)
    api("POST", "/reset")
    assert end_of(sock) == EOF


def test_59_timeout_of_one_stream(api: Backend) -> None:
    name, port = api.proxy(api.server(sender(50_000)).address)
    api.toxic(name, "timeout", "upstream", timeout=0)
    sock = api.dial(port)
    sock.sendall(b"x")
    assert len(receive(sock, 50_000)) == 50_000


def test_60_toxicity_by_patch(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    path = api.toxic(name, "timeout", toxicity=0, timeout=100)
    sock = api.dial(port)
    round_trip(sock)
    api("PATCH", path, {"toxicity": 1})
    with within(0.05, 0.25):
        assert end_of(sock) == EOF


def test_61_reset_peer(api: Backend) -> None:
    server = api.server(sink)
    name, port = api.proxy(server.address)
    api.toxic(name, "reset_peer", "upstream", timeout=0)
    sock = api.dial(port)
    assert quiet(sock, 0.1)
    sock.sendall(b"x")
    assert end_of(sock) == RESET
    server.wait(lambda: server.ends == [RESET])
    assert server.seen == [b""]


def test_62_reset_peer_later(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "reset_peer", timeout=300)
    sock = api.dial(port)
    with within(0.29, 0.4):
        sock.sendall(b"x")
        assert end_of(sock) == RESET


def test_63_slow_close_upstream(api: Backend) -> None:
    server = api.server(sink)
    name, port = api.proxy(server.address)
    api.toxic(name, "slow_close", "upstream", delay=300)
    sock = api.dial(port)
    sock.sendall(b"data")
    server.wait(lambda: server.seen == [b"data"], 0.2)
    begin = time.monotonic()
    sock.close()
    server.wait(lambda: server.ends == [EOF])
    assert 0.29 <= server.end_times[0] - begin <= 0.4


def test_64_slow_close_downstream(api: Backend) -> None:
    name, port = api.proxy(api.server(sender(1000)).address)
    api.toxic(name, "slow_close", delay=300)
    sock = api.dial(port)
    begin = time.monotonic()
    assert len(receive(sock, 1000)) == 1000
    assert time.monotonic() - begin < 0.2
    assert end_of(sock) == EOF
    assert 0.28 <= time.monotonic() - begin <= 0.4


def test_65_slicer(api: Backend) -> None:
    name, port = api.proxy(api.server(sender(5000)).address)
    api.toxic(name, "slicer", average_size=100, size_variation=20, delay=2000)
    sock = api.dial(port)
    pieces = []
    with within(0.1, 0.4):
        while piece := sock.recv(1 << 16):
            pieces.append(len(piece))
    assert sum(pieces) == 5000
    assert 40 <= sum(pieces) / len(pieces) <= 160


def test_66_toxicity_is_a_chance(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "timeout", toxicity=0.5, timeout=0)
    socks = [api.dial(port) for _ in range(200)]
    for sock in socks:
        sock.sendall(b"x")
    deadline = time.monotonic() + 1.0
    answered = sum(not quiet(sock, max(0.0, deadline - time.monotonic())) for sock in socks)
    assert 65 <= answered <= 135


def test_67_toxicity_zero(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", toxicity=0, latency=500)
    assert round_trip(api.dial(port)) < 0.2


def test_68_toxicity_is_fixed_per_connection(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", toxicity=0.5, latency=50)
    for _ in range(10):
        sock = api.dial(port)
        assert len({round_trip(sock) >= 0.05 for _ in range(4)}) == 1


def test_69_changes_lose_nothing(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    data = noise(4 << 20)
    sock = api.dial(port)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(exchange(sock, data)))
    thread.start()
    for stream in itertools.cycle(("upstream", "downstream")):
        api("DELETE", api.toxic(name, "latency", stream, latency=10))
        if not thread.is_alive():
            break
    thread.join()
    assert got == [data]


@pytest.mark.parametrize("size", [100_000])
def test_70_three_toxics(api: Backend, size: int) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", "upstream", latency=20, jitter=10)
    api.toxic(name, "slicer", "upstream", average_size=1000, size_variation=100, delay=10)
    api.toxic(name, "bandwidth", rate=1000)
    data = noise(size)
    assert exchange(api.dial(port), data) == data
