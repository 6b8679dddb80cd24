"""IPv6 on both sides, with both servers (cases 71-72), and the tap."""

from __future__ import annotations

import pytest
from tests.links.support import (
    RESET,
    Backend,
    Log,
    Server,
    dial,
    echo,
    end_of,
    port_of,
    round_trip,
)

from backupchaos.links.links import Links

pytestmark = pytest.mark.needs("ipv6")
HOST = "::1"


def test_71_listen(api: Backend) -> None:
    body = {"name": "six", "listen": "[::1]:0", "upstream": api.server().address}
    answer = api("POST", "/proxies", body)
    port = port_of(answer.json)
    assert (answer.status, answer.json["listen"]) == (201, f"[::1]:{port}")
    round_trip(dial(port, host=HOST))
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    again = api("POST", "/proxies", body | {"name": "other", "listen": f"[::1]:{port}"})
    assert (again.status, again.error) == (500, f"listen tcp [::1]:{port}: bind: address already in use")


def test_72_upstream(api: Backend) -> None:
    name, port = api.proxy(api.server(echo, HOST).address)
    sock = dial(port)
    round_trip(sock)
    api.toxic(name, "latency", latency=60)
    assert round_trip(sock) >= 0.06


def test_a_link_with_six_on_both_sides(links: Links, servers: list[Server]) -> None:
    servers.append(Server(echo, HOST))
    link = links.create("six", servers[0].address, listen="[::1]:0")
    assert (link.host, link.path) == (HOST, "")
    log = Log(links)
    sock = dial(link.port, host=link.host)
    round_trip(sock)
    (opened,) = log.until("open")
    assert opened.data["peer_port"] == sock.getsockname()[1]
    link.down("reset")
    assert end_of(sock) == RESET
    link.up()
    round_trip(dial(link.port, host=link.host))


def test_connects_into_a_black_hole_are_counted(links: Links, servers: list[Server]) -> None:
    servers.append(Server(echo, HOST))
    link = links.create("six", servers[0].address, listen="[::1]:0")
    link.down("blackhole")
    with pytest.raises(TimeoutError):
        dial(link.port, timeout=0.8, host=link.host)
    assert Log(links).until("refused")[0].data["exact"]
    link.up()
    round_trip(dial(link.port, host=link.host))
