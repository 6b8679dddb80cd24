"""The tap: what it passes on, what it counts, and how exact it is."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
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
    end_of,
    fate,
    flood,
    noise,
    quiet,
    receive,
    refused,
    reply_after_eof,
    round_trip,
    sender,
    sink,
    stuck,
)
from tests.links.test_conformance_links import exchange

from backupchaos.errors import UsageProblem
from backupchaos.links.links import Links


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# -- what is passed on ----------------------------------------------------------------------------


def test_half_close_keeps_the_reply(make: Make, log: Log) -> None:
    link, _ = make(reply_after_eof)
    with dial(link.port) as sock:
        sock.sendall(b"12345")
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock, 100) == b"got 5"
    (close,) = log.until("close")
    assert (close.data["reason"], close.data["up"], close.data["down"]) == ("client_fin", 5, 5)
    assert [event.data["dir"] for event in log.seen if event.ev == "eof"] == ["up", "down"]


def test_client_reset_reaches_the_server(make: Make, log: Log) -> None:
    link, server = make()
    sock = dial(link.port)
    round_trip(sock)
    reset(sock)
    server.wait(lambda: server.ends == [RESET])
    (close,) = log.until("close")
    assert (close.data["reason"], close.data["rst"]) == ("client_rst", True)
    assert link.stats().resets == 1


def test_server_reset_reaches_the_client(make: Make, log: Log) -> None:
    def handler(server: Server, conn: socket.socket, data: bytearray) -> None:
        conn.recv(1)
        reset(conn)

    link, _ = make(handler)
    with dial(link.port) as sock:
        sock.sendall(b"x")
        assert end_of(sock) == RESET
    assert log.until("close")[0].data["reason"] == "upstream_rst"


def test_early_answer_of_a_server_that_reads_no_further(make: Make, log: Log) -> None:
    """A server that answers and hangs up with input unread resets; its answer must still arrive.

    Frozen meanwhile, the tap finds out by writing, before it has read the answer.
    """
    frozen = threading.Event()

    def handler(server: Server, conn: socket.socket, data: bytearray) -> None:
        server.note(data, conn.recv(1))
        frozen.wait(10)
        conn.sendall(b"413 too large")

    link, server = make(handler)
    sock = dial(link.port)
    sock.sendall(b"x" * 100)
    server.wait(lambda: server.seen == [b"x"])
    link.down("freeze")
    frozen.set()
    server.wait(lambda: server.ends == [EOF])
    sock.sendall(b"more")
    log.until("fault_hit")
    link.up()
    assert select.select([sock], [], [], 10)[0]
    assert sock.recv(100) == b"413 too large"
    assert end_of(sock) == RESET


def test_reset_is_noticed_while_reading_is_paused(make: Make, log: Log) -> None:
    link, _ = make(stuck)
    sock = dial(link.port)
    flood(sock)
    reset(sock)
    assert log.until("close")[0].data["reason"] == "client_rst"


def test_dead_upstream_is_an_event(links: Links, log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = links.create("dead", port)
    assert fate(link.port) == EOF
    assert log.until("dial_fail")[0].data["error"] == "Connection refused"
    assert log.until("close")[0].data["reason"] == "dial_fail"
    assert link.stats().dial_failures == 1


# -- numbers --------------------------------------------------------------------------------------


def test_unread_events_do_not_stall_the_traffic(make: Make, log: Log) -> None:
    """Nobody reads the log meanwhile: it fills its pipe, and must neither block nor lose state."""
    link, _ = make()
    for _ in range(300):
        with dial(link.port) as sock:
            round_trip(sock)
    assert len(log.until("close", 300)) == 300
    sequence = [event.seq for event in log.seen]
    assert sequence == sorted(set(sequence))


# -- events ---------------------------------------------------------------------------------------


def test_story_of_a_connection(make: Make, log: Log) -> None:
    begin = time.monotonic()
    link, _ = make()
    with dial(link.port) as sock:
        port = sock.getsockname()[1]
        round_trip(sock)
    log.until("close")
    log.until("bytes")
    story = [event for event in log.seen if event.conn == 1]
    assert [event.ev for event in story] == [
        "open",
        "dial_ok",
        "first_byte",
        "first_byte",
        "eof",
        "eof",
        "close",
    ]
    assert story[0].data["peer_port"] == port
    assert {event.link for event in story} == {link.name}
    assert begin <= story[0].t <= story[-1].t <= time.monotonic()
    assert [event.seq for event in log.seen] == sorted(event.seq for event in log.seen)


def test_totals_are_sampled_not_streamed(make: Make, log: Log) -> None:
    link, _ = make(sink)
    begin = time.monotonic()
    with dial(link.port) as sock:
        for _ in range(2000):
            sock.sendall(b"x" * 1000)
    log.until("close")
    passed = time.monotonic() - begin
    samples = [event for event in log.seen if event.ev == "bytes"]
    assert len(samples) <= passed / 0.045 + 2
    assert link.stats().up_bytes == 2_000_000


def test_silence_is_measured(make: Make, log: Log) -> None:
    link, _ = make()
    with dial(link.port) as sock:
        round_trip(sock)
        assert quiet(sock, 0.4)
        round_trip(sock)
    (silence,) = log.until("silence")
    assert 0.4 <= silence.data["seconds"] < 0.8


def test_fileno_tells_of_events_that_came_with_an_answer(make: Make, links: Links) -> None:
    link, _ = make()
    links.events()
    link.mark()
    assert select.select([links], [], [], 0)[0], "the mark event is queued"
    assert [event.ev for event in links.events()] == ["mark"]
    assert not select.select([links], [], [], 0)[0]


# -- down -----------------------------------------------------------------------------------------


def test_refused_is_counted(make: Make, log: Log) -> None:
    link, server = make()
    sock = dial(link.port)
    round_trip(sock)
    link.down()
    assert end_of(sock) == EOF
    server.wait(lambda: server.ends == [EOF])
    assert all(refused(link.port) for _ in range(7))
    link.up()
    counted = sum(event.data["count"] for event in log.until("refused"))
    if link.sees_refusals():
        assert (counted, link.stats().refused_exact) == (7, True), "seen at the port, whoever else is refused"
    else:
        assert counted >= 7, "other failures on this host may be counted too"
        assert not link.stats().refused_exact, "a host's network is shared, so no count is exact"
    with dial(link.port) as again:
        round_trip(again)
    hits = [event for event in log.seen if event.ev == "fault_hit"]
    assert [(event.conn, event.data["by"], event.data["what"]) for event in hits] == [
        (1, "down:refused", "cut")
    ]


def test_the_port_is_held_while_down(make: Make) -> None:
    link, _ = make()
    link.down()
    for reuse in (0, 1):
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            with pytest.raises(OSError, match="in use"):
                thief.bind(("127.0.0.1", link.port))
    link.up()
    round_trip(dial(link.port))


def test_reset_is_counted_exactly(make: Make, log: Log) -> None:
    link, server = make()
    sock = dial(link.port)
    round_trip(sock)
    link.down("reset")
    assert end_of(sock) == RESET
    server.wait(lambda: server.ends == [RESET])
    for _ in range(5):
        assert fate(link.port) == RESET
    link.up()
    log.until("refused", 5)
    stats = link.stats()
    assert (stats.refused, stats.refused_exact, stats.connections) == (5, True, 1)
    round_trip(dial(link.port))


def test_blackhole(make: Make, log: Log) -> None:
    link, _ = make()
    live = dial(link.port)
    round_trip(live)
    link.down("blackhole")
    live.sendall(b"kept")
    with pytest.raises(TimeoutError):
        dial(link.port, timeout=0.8)
    with pytest.raises(TimeoutError):
        dial(link.port, timeout=0.8)
    assert quiet(live, 0.05)
    log.until("refused", 2)
    log.until("fault_hit")
    link.up()
    assert receive(live, 4) == b"kept"
    round_trip(dial(link.port))
    stats = link.stats()
    assert (stats.refused, stats.refused_exact) == (2, True)
    hit = log.until("fault_hit")[0]
    assert (hit.data["by"], hit.data["what"], hit.data["up"]) == ("blackhole", "stalled", 4)


def test_a_waiting_connect_finishes_when_the_blackhole_ends(make: Make, log: Log) -> None:
    link, _ = make()
    link.down("blackhole")
    connected: list[float] = []

    def connect() -> None:
        with dial(link.port) as sock:
            round_trip(sock)
            connected.append(time.monotonic())

    thread = threading.Thread(target=connect)
    thread.start()
    log.until("refused")
    ended = time.monotonic()
    link.up()
    thread.join(10)
    assert connected
    assert connected[0] >= ended


def test_freeze_loses_nothing(make: Make, log: Log) -> None:
    link, server = make()
    live = dial(link.port)
    round_trip(live)
    link.down("freeze")
    live.sendall(b"one")
    fresh = dial(link.port)
    fresh.sendall(b"two")
    assert quiet(live, 0.2)
    assert quiet(fresh, 0.1)
    log.until("fault_hit", 2)
    assert server.seen[0] == b"ping"
    link.up()
    assert (receive(live, 3), receive(fresh, 3)) == (b"one", b"two")


def test_giving_up_during_a_freeze_is_seen(make: Make, log: Log) -> None:
    link, server = make()
    live = dial(link.port)
    round_trip(live)
    link.down("freeze")
    live.close()
    (hangup,) = log.until("hangup")
    assert (hangup.conn, hangup.data["how"], hangup.data["during"]) == (1, "fin", "freeze")
    assert server.ends == []
    link.up()
    server.wait(lambda: server.ends == [EOF])


@pytest.mark.parametrize("first", ["refused", "reset", "blackhole", "freeze"])
@pytest.mark.parametrize("second", ["refused", "reset", "blackhole", "freeze"])
def test_modes_follow_each_other(make: Make, first: str, second: str) -> None:
    link, _ = make()
    link.down(first)  # type: ignore[arg-type]
    link.down(second)  # type: ignore[arg-type]
    if second == "refused":
        assert refused(link.port)
    elif second == "reset":
        assert fate(link.port) == RESET
    elif second == "blackhole":
        with pytest.raises(TimeoutError):
            dial(link.port, timeout=0.2)
    else:
        assert quiet(dial(link.port), 0.05)
    link.up()
    link.up()
    round_trip(dial(link.port))


def test_a_cause_lifts_only_its_own_mode(make: Make) -> None:
    link, _ = make()
    link.down("refused", cause="one")
    link.up(cause="other")
    assert (link.state()["mode"], link.state()["cause"]) == ("refused", "one")
    assert refused(link.port)
    link.up(cause="one")
    assert link.state()["mode"] == "up"
    round_trip(dial(link.port))


@pytest.mark.parametrize("mode", ["refused", "blackhole"])
def test_a_link_is_not_down_for_two_causes(make: Make, mode: Any) -> None:
    link, _ = make()
    link.down("refused", cause="one")
    with pytest.raises(UsageProblem, match="the link is refused already, because of one"):
        link.down(mode, cause="other")
    with pytest.raises(UsageProblem, match="the link is refused already, because of one"):
        link.reset(cause="other")
    assert (link.state()["mode"], link.state()["cause"]) == ("refused", "one")
    link.down("reset", cause="one")
    assert link.state()["mode"] == "reset", "its own mode a cause may change"


def test_fail_first(make: Make, log: Log) -> None:
    link, _ = make()
    link.fail_first(2)
    assert [fate(link.port) for _ in range(2)] == [RESET, RESET]
    round_trip(dial(link.port))
    log.until("open")
    assert (link.stats().refused, link.stats().connections) == (2, 1)


# -- byte triggers --------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1, 1000, 65_536, 300_001])
def test_hold_is_exact_to_the_byte(make: Make, log: Log, threshold: int) -> None:
    link, server = make(sink)
    sock = dial(link.port)
    link.arm(threshold, action="hold")
    data = noise(600_000)
    thread = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
    thread.start()
    (trigger,) = log.until("trigger")
    assert (trigger.data["bytes"], trigger.data["action"], trigger.conn) == (threshold, "hold", 1)
    server.wait(lambda: bool(server.seen) and len(server.seen[0]) == threshold)
    log.until("fault_hit")
    assert len(server.seen[0]) == threshold
    link.release()
    thread.join(10)
    server.wait(lambda: len(server.seen[0]) == len(data))
    assert server.seen[0] == data


def test_down_at_a_byte(make: Make, log: Log) -> None:
    link, server = make(sink)
    sock = dial(link.port)
    link.arm(123_457, action="down:reset")
    with suppress(OSError):
        sock.sendall(bytes(2_000_000))
    server.wait(lambda: server.ends == [RESET])
    log.until("close")
    story = [event.ev for event in log.seen if event.ev in ("trigger", "down", "fault_hit", "close")]
    assert story == ["trigger", "down", "fault_hit", "close"]
    assert log.until("close")[0].data["up"] == 123_457
    assert link.stats().up_bytes == 123_457


def test_trigger_on_the_sum_and_since_a_mark(make: Make, log: Log) -> None:
    link, _ = make()
    sock = dial(link.port)
    round_trip(sock, b"x" * 10)
    assert link.mark() == (10, 10)
    round_trip(sock, b"x" * 10)
    link.arm(25, direction="both", since="mark", key="sum")
    assert link.disarm("other") is False
    link.arm(5, direction="down", since="mark", key="past")
    (past,) = log.until("trigger")
    assert (past.data["arm"], past.data["bytes"]) == ("past", 10), "reached already: fires at once"
    round_trip(sock, b"x" * 10)
    both = log.until("trigger", 2)[1]
    assert (both.data["arm"], both.data["bytes"]) == ("sum", 25)


def test_several_triggers_on_one_chunk(make: Make, log: Log) -> None:
    link, _ = make()
    sock = dial(link.port)
    for count in (7, 3, 5):
        link.arm(count, key=str(count))
    link.disarm("5")
    round_trip(sock, b"x" * 10)
    assert [(event.data["arm"], event.data["bytes"]) for event in log.until("trigger", 2)] == [
        ("3", 3),
        ("7", 7),
    ]


def test_trigger_at_zero_acts_before_the_first_byte(make: Make, log: Log) -> None:
    link, server = make(sink)
    link.arm(0, action="hold")
    sock = dial(link.port)
    sock.sendall(b"x")
    assert log.until("fault_hit")[0].data["by"] == "hold"
    assert server.seen == [b""]
    link.release()
    server.wait(lambda: server.seen == [b"x"])


def test_hold_stops_every_connection_of_the_link_only(make: Make) -> None:
    link, _ = make()
    other, _ = make()
    one, two, three = dial(link.port), dial(link.port), dial(other.port)
    round_trip(two)
    link.arm(2, action="hold")
    one.sendall(b"abc")
    two.sendall(b"def")
    assert quiet(two, 0.2)
    round_trip(three)
    link.release()
    assert (receive(one, 3), receive(two, 3)) == (b"abc", b"def")


def test_data_and_end_of_stream_survive_a_hold(make: Make) -> None:
    link, _ = make(sender(3_000_000))
    link.arm(1_000_000, direction="down", action="hold")
    sock = dial(link.port)
    assert len(receive(sock, 1_000_000)) == 1_000_000
    assert quiet(sock, 0.2)
    link.release()
    assert len(receive(sock, 3_000_000)) == 2_000_000
    assert end_of(sock) == EOF


def test_echo_of_megabytes_is_identical(make: Make) -> None:
    link, _ = make()
    data = noise(8 << 20)
    assert exchange(dial(link.port), data) == data
