"""What the embedded server does better than the original, on purpose."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.links.hostbox import HostBox, links_on
from tests.links.support import (
    EOF,
    RESET,
    Backend,
    Server,
    best_trip,
    dial,
    echo,
    end_of,
    noise,
    quiet,
    receive,
    refused,
    reply_after_eof,
    round_trip,
    sender,
    sink,
    within,
)
from tests.links.test_conformance_links import exchange

from backupchaos.links.links import Links
from backupchaos.links.model import LinkEvent


@pytest.fixture(scope="module")
def running() -> Iterator[Backend]:
    box = HostBox()
    links = links_on(box, seed=7, server="embedded")
    yield Backend("embedded", links.process.api_port)
    links.close()
    box.close()


def test_a_stalled_reader_hangs_nothing(api: Backend) -> None:
    name, port = api.proxy(api.server(sender(50_000_000)).address)
    path = api.toxic(name, "latency", latency=1)
    sock = api.dial(port)
    assert select.select([sock], [], [], 5)[0]
    time.sleep(0.5)  # long enough for every buffer on the way to fill
    with within(0, 1):
        assert api("DELETE", path).status == 204
        assert api("GET", "/proxies").status == 200
        assert api("PATCH", f"/proxies/{name}", {"enabled": False}).status == 200
        assert api("DELETE", f"/proxies/{name}").status == 204


def test_an_upstream_that_does_not_answer_holds_up_nobody(api: Backend) -> None:
    with socket.socket() as hole, socket.socket() as filler:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        filler.connect(hole.getsockname())
        name, port = api.proxy(f"127.0.0.1:{hole.getsockname()[1]}")
        socks = [api.dial(port) for _ in range(5)]
        with within(0, 1):
            assert api("PATCH", f"/proxies/{name}", {"enabled": False}).json["enabled"] is False
            assert {end_of(sock) for sock in socks} == {EOF}


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("bandwidth", {"rate": -1}),
        ("slicer", {}),
        ("slicer", {"average_size": 10, "size_variation": 11}),
        ("latency", {"latency": 5, "jitter": 2**62 + 1}),
        ("timeout", {"timeout": -1}),
    ],
)
def test_bad_values_are_refused(api: Backend, kind: str, attributes: dict[str, int]) -> None:
    name, port = api.proxy(api.server().address)
    answer = api("POST", f"/proxies/{name}/toxics", {"type": kind, "attributes": attributes})
    assert answer.status == 400
    assert answer.error.startswith(f"bad request body: {kind}: ")
    round_trip(api.dial(port))


def test_patch_is_all_or_nothing(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    path = api.toxic(name, "latency", latency=5)
    assert api("PATCH", path, {"attributes": {"latency": 55, "jitter": "x"}}).status == 400
    assert api("GET", path).json["attributes"] == {"latency": 5, "jitter": 0}
    path = api.toxic(name, "slicer", average_size=10, size_variation=5)
    assert api("PATCH", path, {"attributes": {"size_variation": 50}}).status == 400
    assert api("GET", path).json["attributes"]["size_variation"] == 5


def test_listen_without_a_host_is_loopback(api: Backend) -> None:
    answer = api("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1", "listen": ":0"})
    assert answer.json["listen"].startswith("127.0.0.1:")


def test_no_name_is_looked_up_to_listen(api: Backend) -> None:
    answer = api("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1", "listen": "some.name:0"})
    assert (answer.status, "only" in answer.error) == (500, True)
    assert api("GET", "/proxies").json == {}


def test_nothing_internal_is_shown(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    shown = api("GET", f"/proxies/{name}").json
    assert set(shown) == {"name", "listen", "upstream", "enabled", "toxics"}


def test_a_name_with_a_slash_can_be_addressed(api: Backend) -> None:
    body = {"name": "a/b", "upstream": "127.0.0.1:1", "listen": "127.0.0.1:0"}
    assert api("POST", "/proxies", body).status == 201
    assert api("GET", "/proxies/a%2Fb").json["name"] == "a/b"
    assert api("DELETE", "/proxies/a%2Fb").status == 204


def test_other_toxics_changes_draw_no_chance_again(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", toxicity=0.5, latency=60)
    socks = [api.dial(port) for _ in range(12)]
    late = [best_trip(sock) >= 0.06 for sock in socks]
    path = api.toxic(name, "noop")
    api("PATCH", path, {"toxicity": 0.3})
    assert [best_trip(sock) >= 0.06 for sock in socks] == late
    api("DELETE", path)
    assert [best_trip(sock) >= 0.06 for sock in socks] == late


def test_half_close(api: Backend) -> None:
    _, port = api.proxy(api.server(reply_after_eof).address)
    sock = api.dial(port)
    sock.sendall(b"abc")
    sock.shutdown(socket.SHUT_WR)
    assert receive(sock, 100) == b"got 3"


def test_reset_peer_on_a_live_link(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    sock = api.dial(port)
    round_trip(sock)
    api.toxic(name, "reset_peer", "upstream")
    sock.sendall(b"x")
    assert end_of(sock) == RESET
    server.wait(lambda: server.ends == [RESET])


def test_reset_peer_at_toxicity_zero_is_inert(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    api.toxic(name, "reset_peer", "upstream", toxicity=0)
    sock = api.dial(port)
    round_trip(sock)
    sock.close()
    server.wait(lambda: server.ends == [EOF])


def test_an_armed_reset_peer_is_removed_at_once(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    path = api.toxic(name, "reset_peer", "upstream", timeout=3000)
    sock = api.dial(port)
    sock.sendall(b"x")
    assert quiet(sock, 0.1)
    with within(0, 0.1):
        assert api("DELETE", path).status == 204
    assert end_of(sock) == RESET, "it has dropped data, so the connection cannot go on"


def test_a_disabled_proxy_keeps_its_port(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    api("PATCH", f"/proxies/{name}", {"enabled": False})
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            thief.bind(("127.0.0.1", port))


def test_spared_links_survive_the_removal_of_timeout(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    path = api.toxic(name, "timeout", toxicity=0)
    sock = api.dial(port)
    round_trip(sock)
    api("DELETE", path)
    round_trip(sock)


def victims(seed: int) -> list[bool]:
    box = HostBox()
    try:
        links = links_on(box, seed=seed)
        api = Backend("embedded", links.process.api_port)
        name, port = api.proxy(api.server().address)
        api.toxic(name, "latency", toxicity=0.5, latency=10)
        for _ in range(40):
            with dial(port) as sock:
                round_trip(sock)
        api.clean()  # the proxy's removal ends its log
        seen = links.events()
        links.close()
    finally:
        box.close()
    draws = [event.data["active"] for event in seen if event.ev == "draw"]
    hit = {event.conn for event in seen if event.ev == "fault_hit"}
    assert hit == {number for number, active in enumerate(draws, 1) if active}
    return draws


def test_same_seed_same_victims() -> None:
    first = victims(5)
    assert len(first) == 40
    assert first == victims(5)
    assert first != victims(6)
    assert 5 < sum(first) < 35


def test_limit_before_latency_still_delivers_its_bytes(api: Backend) -> None:
    server = api.server(sink)
    name, port = api.proxy(server.address)
    api.toxic(name, "limit_data", "upstream", bytes=3)
    api.toxic(name, "latency", "upstream", latency=100)
    sock = api.dial(port)
    with within(0.1, 0.4):
        sock.sendall(b"abcdef")
        server.wait(lambda: server.ends == [EOF])
    assert server.seen == [b"abc"]


def test_latency_carries_100_megabytes_a_second(api: Backend) -> None:
    size = 30_000_000
    name, port = api.proxy(api.server(sender(size)).address)
    api.toxic(name, "latency", latency=100)
    begin = time.monotonic()
    sock, count = api.dial(port), 0
    while chunk := sock.recv(1 << 20):
        count += len(chunk)
    assert count == size
    assert size / (time.monotonic() - begin) > 20_000_000, "a busy machine may be slower than the 100 MB/s"


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_every_toxic_comes_and_goes_on_a_live_stream(api: Backend, stream: str) -> None:
    """Changes in mid-stream neither lose nor reorder a byte (toxics that drop data excepted)."""
    name, port = api.proxy(api.server().address)
    data = noise(6 << 20)
    sock = dial(port)
    kinds = [
        ("latency", {"latency": 3, "jitter": 2}, {"latency": 1}),
        ("bandwidth", {"rate": 20_000}, {"rate": 90_000}),
        ("slicer", {"average_size": 5000, "size_variation": 500, "delay": 5}, {"average_size": 9000}),
        ("slow_close", {"delay": 5}, {"delay": 1}),
        ("noop", {}, {}),
    ]
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(exchange(sock, data)))
    thread.start()
    while thread.is_alive():
        paths = [api.toxic(name, kind, stream, **attributes) for kind, attributes, _ in kinds]
        for path, (_, _, change) in zip(paths, kinds, strict=True):
            api("PATCH", path, {"attributes": change})
        for path in paths[1:] + paths[:1]:
            api("DELETE", path)
    thread.join()
    assert got == [data]


def test_faults_leave_evidence(links: Links, servers: list[Server]) -> None:
    servers.append(Server(echo))
    link = links.create("a", servers[0].port)
    with link.toxic("latency", latency=30), dial(link.port) as sock:
        round_trip(sock)
    link.toxic("limit_data", "upstream", bytes=2)
    sock = dial(link.port)
    sock.sendall(b"abcd")
    end_of(sock)
    seen: list[LinkEvent] = []
    deadline = time.monotonic() + 5
    while not any(event.ev == "close" and event.conn == 2 for event in seen):
        assert select.select([links], [], [], deadline - time.monotonic())[0]
        seen += links.events()
    hits = [(event.conn, event.data["by"], event.data["what"]) for event in seen if event.ev == "fault_hit"]
    assert hits == [(1, "toxic:latency_downstream", "delayed"), (2, "toxic:limit_data_upstream", "closed")]
    changes = [(event.ev, event.data["toxic"]["name"]) for event in seen if event.ev.startswith("toxic_")]
    assert changes == [
        ("toxic_add", "latency_downstream"),
        ("toxic_del", "latency_downstream"),
        ("toxic_add", "limit_data_upstream"),
    ]
    close = next(event for event in seen if event.ev == "close" and event.conn == 2)
    assert (close.data["reason"], close.data["up"], close.data["lost_up"]) == (
        "toxic:limit_data_upstream",
        2,
        2,
    )


# -- hostile HTTP ---------------------------------------------------------------------------------


def raw(api: Backend, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as sock:
        sock.sendall(data)
        with suppress(ConnectionResetError):
            answer = b""
            while chunk := sock.recv(1 << 16):
                answer += chunk
        return answer


def test_garbage_is_answered_and_the_server_lives(api: Backend) -> None:
    assert raw(api, b"\x16\x03\x01 this is no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
    big = b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(1_500_000)
    assert raw(api, big)[:12] in (b"HTTP/1.1 413", b"")
    deep = b'{"a":' + b"[" * 200_000
    assert api("POST", "/proxies", deep).status == 400
    assert api("POST", "/proxies", b'{"a":' + b"9" * 10_000 + b"}").status == 400
    assert api("POST", "/proxies", b"\xff\xfe").status == 400
    assert api("GET", "/version").status == 200


def test_a_silent_api_client_holds_up_nobody(api: Backend) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as silent:
        silent.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Le")
        assert api("GET", "/version").status == 200


def test_chunked_and_keep_alive(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    request = (
        f"PATCH /proxies/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        '11\r\n{"enabled": false\r\n1\r\n}\r\n0\r\n\r\n'
        f"GET /proxies/{name}?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    answers = raw(api, request.encode())
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.count(b'"enabled":false') == 2


def test_reset_enables_what_was_disabled(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    api("PATCH", f"/proxies/{name}", {"enabled": False})
    assert refused(port)
    assert api("POST", "/reset").status == 204
    assert not refused(port)
