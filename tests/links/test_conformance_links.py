"""The wire half of the conformance list: links without toxics (cases 32-41)."""

from __future__ import annotations

import socket
import threading

from tests.links.support import (
    EOF,
    Backend,
    dial,
    end_of,
    noise,
    port_of,
    receive,
    refused,
    round_trip,
    sender,
)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send in a thread, receive here: neither side may stall the other."""
    thread = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
    thread.start()
    got = receive(sock, len(data))
    thread.join(10)
    return got


def test_32_a_mebibyte(api: Backend) -> None:
    _, port = api.proxy(api.server().address)
    data = noise(1 << 20)
    assert exchange(api.dial(port), data) == data


def test_33_upstream_refuses(api: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = free.getsockname()[1]
    _, port = api.proxy(f"127.0.0.1:{dead}")
    assert end_of(api.dial(port)) == EOF


def test_34_disable(api: Backend) -> None:
    server = api.server()
    name, port = api.proxy(server.address)
    sock = api.dial(port)
    round_trip(sock)
    api("PATCH", f"/proxies/{name}", {"enabled": False})
    assert end_of(sock) == EOF
    server.wait(lambda: server.ends == [EOF])
    assert refused(port)
    api("PATCH", f"/proxies/{name}", {"enabled": True})
    round_trip(api.dial(port))


def test_35_delete(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    sock = api.dial(port)
    round_trip(sock)
    api("DELETE", f"/proxies/{name}")
    assert end_of(sock) == EOF
    assert refused(port)


def test_36_other_upstream(api: Backend) -> None:
    one, two = api.server(), api.server()
    name, port = api.proxy(one.address)
    sock = api.dial(port)
    round_trip(sock)
    answer = api("PATCH", f"/proxies/{name}", {"upstream": two.address})
    assert end_of(sock) == EOF
    round_trip(api.dial(port_of(answer.json)))
    assert (len(one.seen), len(two.seen)) == (1, 1)


def test_37_same_listen_keeps_links(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    sock = api.dial(port)
    round_trip(sock)
    api("PATCH", f"/proxies/{name}", {"listen": f"localhost:{port}"})
    round_trip(sock)


def test_38_reset_keeps_links(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", latency=200)
    sock = api.dial(port)
    assert round_trip(sock) >= 0.2
    api("POST", "/reset")
    assert round_trip(sock) < 0.1


def test_39_server_sends_and_closes(api: Backend) -> None:
    _, port = api.proxy(api.server(sender(200_000)).address)
    sock = api.dial(port)
    assert receive(sock, 1 << 20) == b"s" * 200_000


def test_40_a_hundred_connections(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    socks = [api.dial(port) for _ in range(100)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%03d" % number)
    assert [receive(sock, 3) for sock in socks] == [b"%03d" % number for number in range(100)]
    api("PATCH", f"/proxies/{name}", {"enabled": False})
    assert {end_of(sock) for sock in socks} == {EOF}


def test_41_links_do_not_share_toxics(api: Backend) -> None:
    server = api.server()
    slow, _ = api.proxy(server.address)
    _, port = api.proxy(server.address)
    api.toxic(slow, "latency", latency=500)
    with dial(port) as sock:
        assert round_trip(sock) < 0.2
