"""Troubles that the tap makes itself: what they do to connections, and what they leave in the log."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest
from tests.links.conftest import Make
from tests.links.hostbox import HostBox, links_on
from tests.links.support import (
    EOF,
    RESET,
    Log,
    Server,
    dial,
    end_of,
    quiet,
    receive,
    refused,
    round_trip,
    sink,
)

from backupchaos.errors import UsageProblem
from backupchaos.links import damage
from backupchaos.links.links import Links
from backupchaos.links.tap import Tap

TCP_USER_TIMEOUT = 18


def send_all(sock: socket.socket, size: int) -> None:
    with suppress(OSError):
        sock.sendall(bytes(size))


def ended(server: Server, count: int) -> None:
    server.wait(lambda: len(server.ends) == count)


# -- cut_after ------------------------------------------------------------------------------------


def test_a_connection_is_cut_exactly_there(make: Make, log: Log) -> None:
    link, server = make(sink)
    link.afflict("cut_after", "cut", bytes=123_457)
    for number in range(2):
        sock = dial(link.port)
        send_all(sock, 500_000)
        assert end_of(sock) == RESET
        ended(server, number + 1)
    assert server.ends == [RESET, RESET]
    closes = log.until("close", 2)
    assert [(e.data["up"], e.data["reason"], e.data["cause"]) for e in closes] == [
        (123_457, "cut_after", "cut")
    ] * 2
    assert link.relieve("cut")
    assert not link.relieve("cut")
    with dial(link.port) as sock:
        sock.sendall(bytes(200_000))
    assert log.until("close", 3)[2].data["up"] == 200_000


def test_so_many_connections_are_cut_and_no_more(make: Make, log: Log) -> None:
    link, _ = make()
    first, second, third = dial(link.port), dial(link.port), dial(link.port)
    for sock in (first, second, third):
        round_trip(sock, b"x" * 50)
    link.afflict("cut_after", "cut", bytes=100, connections=2)
    round_trip(third, b"y" * 99)
    for sock in (first, second):
        send_all(sock, 300)
        assert end_of(sock) == RESET
    (state,) = link.state()["troubles"]
    assert (state["left"], state["cut"], state["armed"]) == (0, 2, 0)
    round_trip(third, b"y" * 300)
    round_trip(dial(link.port), b"z" * 300)
    assert [e.data["up"] for e in log.until("close", 2)] == [150, 150], "live ones count from now on"


# -- flap -----------------------------------------------------------------------------------------


def test_the_link_comes_and_goes_without_the_harness(make: Make, log: Log) -> None:
    link, _ = make()
    live = dial(link.port)
    round_trip(live)
    link.afflict("flap", "flap", down=0.05, up=0.1)
    assert end_of(live) == EOF
    downs = log.until("down", 3)
    assert {event.data["cause"] for event in downs} == {"flap"}
    assert link.relieve("flap")
    round_trip(dial(link.port))
    assert link.state()["mode"] == "up"
    seen = len([event for event in log.seen if event.ev == "down"])
    assert quiet(dial(link.port), 0.4)
    log.seen += log.links.events()
    assert len([event for event in log.seen if event.ev == "down"]) == seen, "its timers are gone"


def test_a_flapping_link_stays_away_while_another_cause_has_it(make: Make, log: Log) -> None:
    link, _ = make()
    link.down("refused", cause="another")
    link.afflict("flap", "flap", down=0.01, up=0.01)
    deadline = time.monotonic() + 10
    while link.state()["troubles"][0]["falls"] < 3:
        assert time.monotonic() < deadline
    assert link.relieve("flap")
    assert (link.state()["mode"], link.state()["cause"]) == ("refused", "another")
    log.until("relief")
    assert [event.ev for event in log.seen if event.ev in ("down", "up")] == ["down"]


def test_a_removed_link_flaps_no_more(make: Make, links: Links, log: Log) -> None:
    link, _ = make()
    link.afflict("flap", "flap", down=0.05, up=0.05)
    links.remove(link.name)
    log.until("unlink")
    assert not select.select([links], [], [], 0.4)[0], "nothing happens any more"
    assert refused(link.port)


# -- half_open ------------------------------------------------------------------------------------


def test_live_connections_hear_nothing_and_new_ones_work(make: Make, log: Log) -> None:
    link, server = make()
    live = dial(link.port)
    round_trip(live)
    said = link.afflict("half_open", "dead")
    assert (said["dead"], said["silent"]) == (1, 1)
    live.sendall(b"hello")
    round_trip(dial(link.port))
    assert quiet(live, 0.3)
    assert bytes(server.seen[0]) == b"ping"
    (hit, *_) = log.until("fault_hit")
    assert (hit.conn, hit.data["up"], hit.data["cause"]) == (1, 5, "dead"), (
        "five bytes without acknowledgement"
    )
    link.relieve("dead")
    assert end_of(live) == RESET
    server.wait(lambda: server.ends[:1] == [RESET])
    assert link.state()["silenced"] == 0


def test_nothing_is_acknowledged(make: Make) -> None:
    """A tool that gives its data a time limit notices, as it would on a real network."""
    link, _ = make()
    live = dial(link.port)
    live.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 300)
    round_trip(live)
    link.afflict("half_open", "dead")
    live.sendall(b"hello")
    with pytest.raises(TimeoutError, match="timed out"):
        assert select.select([live], [], [], 10)[0]
        live.recv(1)


def test_an_idle_connection_leaves_no_evidence_even_when_it_ends(make: Make, log: Log) -> None:
    link, _ = make()
    live = dial(link.port)
    round_trip(live)
    link.afflict("half_open", "dead")
    live.close()
    (hangup,) = log.until("hangup")
    assert (hangup.data["how"], hangup.data["cause"]) == ("fin", "dead")
    link.relieve("dead")
    log.until("close")
    assert [event for event in log.seen if event.ev == "fault_hit"] == []


# -- blackhole ------------------------------------------------------------------------------------


def test_a_blackhole_acknowledges_nothing(make: Make) -> None:
    link, _ = make()
    live = dial(link.port)
    live.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 300)
    round_trip(live)
    link.down("blackhole", cause="hole")
    live.sendall(b"hello")
    with pytest.raises(TimeoutError, match="timed out"):
        assert select.select([live], [], [], 10)[0]
        live.recv(1)
    link.up()
    round_trip(dial(link.port))


# -- loss -----------------------------------------------------------------------------------------


def test_lost_packets_are_sent_again(make: Make, log: Log) -> None:
    link, _ = make()
    live = dial(link.port)
    round_trip(live)
    link.afflict("loss", "loss", share=0.2)
    fresh = dial(link.port)
    data = bytes(range(256)) * 4096
    for sock in (live, fresh):
        thread = threading.Thread(target=sock.sendall, args=(data,))
        thread.start()
        assert receive(sock, len(data)) == data
        thread.join()
    (state,) = link.state()["troubles"]
    assert (state["sockets"], state["filtered"]) == (5, 5)
    link.relieve("loss")
    lost = log.until("lost")
    assert {event.data["cause"] for event in lost} == {"loss"}
    assert sum(event.data["count"] for event in lost) >= 3
    seen = len(lost)
    round_trip(fresh, data[:65536])
    log.until("relief")
    assert len([event for event in log.seen if event.ev == "lost"]) == seen
    state = link.state()
    assert (state["troubles"], state["stray_filters"]) == ([], 0)


def test_loss_outlives_a_link_that_went_away(make: Make) -> None:
    link, _ = make()
    link.afflict("loss", "loss", share=0.01)
    link.down()
    link.up()
    deadline = time.monotonic() + 10
    while (state := link.state()["troubles"][0])["filtered"] != state["sockets"]:
        assert time.monotonic() < deadline, state


# -- corrupt --------------------------------------------------------------------------------------


def flips(seed: int, bits: int, size: int = 1 << 20) -> list[tuple[int, int, int]]:
    """(connection, byte, bit) of what arrived otherwise than it was sent, checked against the log."""
    box, server = HostBox(), Server(sink)
    try:
        links = links_on(box, seed=seed)
        link = links.create("store", server.port)
        link.afflict("corrupt", "rot", bits=bits)
        for number in range(2):
            with dial(link.port) as sock:
                sock.sendall(bytes(size))
            ended(server, number + 1)
        found = [
            (conn, place, value.bit_length() - 1)
            for conn, data in enumerate(server.seen, 1)
            for place, value in enumerate(data)
            if value
        ]
        link.relieve("rot")
        log = Log(links)
        told = [(e.conn, e.data["offset"], e.data["bit"]) for e in log.until("flip", len(found))]
        assert told == found
        links.close()
        return found
    finally:
        server.close()
        box.close()


def test_bits_flip_at_places_of_the_seed() -> None:
    first = flips(1, 3)
    assert [conn for conn, _, _ in first] == [1, 1, 1, 2, 2, 2]
    assert min(place for _, place, _ in first) > 4096
    assert flips(1, 3) == first
    assert flips(2, 3) != first


def test_short_connections_and_greetings_are_spared() -> None:
    assert flips(1, 5, size=4096) == []
    conns = {
        number: SimpleNamespace(number=number, flows=[SimpleNamespace(received=received, spoilers=())])
        for number, received in enumerate([0] * 500 + [5000] * 500)
    }
    link = SimpleNamespace(connections=conns, name="store", registry=SimpleNamespace(seed=1))
    damage.KINDS["corrupt"](cast(Tap, link), "rot", {"bits": 1}).begin()
    places = [conn.flows[0].spoilers[0].places[0][0] for conn in conns.values()]
    assert 4096 < min(places[:500]) < 5000 < min(places[500:])
    assert max(places) < 5000 + 65536


def test_only_what_is_sent_up_is_hit(make: Make) -> None:
    link, server = make()
    link.afflict("corrupt", "rot", bits=1)
    sock = dial(link.port)
    data = bytes(200_000)
    thread = threading.Thread(target=sock.sendall, args=(data,))
    thread.start()
    back = receive(sock, len(data))
    thread.join()
    assert back == bytes(server.seen[0])
    assert sum(value.bit_count() for value in back) == 1


# -- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "why"),
    [
        ("cut_after", {"bytes": 0}, "bytes must be a number from 1"),
        ("cut_after", {}, "missing or unknown: 'bytes'"),
        ("flap", {"down": 0.0, "up": 1}, "down must be a number from 0.01"),
        ("loss", {"share": 2}, "share must be a number from 1e-06 to 1"),
        ("corrupt", {"bits": "many"}, "bits must be a number from 1 to 1000, not 'many'"),
        ("melt", {}, "unknown trouble 'melt': one of cut_after, flap, half_open, loss, corrupt"),
    ],
)
def test_senseless_orders_are_refused(make: Make, kind: str, arguments: dict[str, float], why: str) -> None:
    link, _ = make()
    with pytest.raises(UsageProblem, match=why):
        link.afflict(kind, "x", **arguments)  # type: ignore[arg-type]
    assert link.state()["troubles"] == []


def test_names_of_troubles_are_unique(make: Make) -> None:
    link, _ = make()
    link.afflict("corrupt", "x", bits=1)
    with pytest.raises(UsageProblem, match="has a trouble 'x' already"):
        link.afflict("loss", "x", share=0.1)
    link.afflict("loss", "y", share=0.1)
    with pytest.raises(UsageProblem, match="loses packets already"):
        link.afflict("loss", "z", share=0.2)
    assert [item["name"] for item in link.state()["troubles"]] == ["x", "y"]


def test_a_reset_strikes_once_and_bears_its_cause(make: Make, log: Log) -> None:
    link, _ = make()
    live = dial(link.port)
    round_trip(live)
    link.reset(cause="blow")
    assert end_of(live) == RESET
    round_trip(dial(link.port))
    assert log.until("close")[0].data["cause"] == "blow"
    assert link.stats().refused == 0
