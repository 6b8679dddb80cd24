"""The event log keeps state events, drops samples, and stays bounded when nobody reads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator

import pytest

from backupchaos.links import eventlog
from backupchaos.links.eventlog import EventLog


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def drain(loop: asyncio.AbstractEventLoop, reader: int, log: EventLog) -> list[dict[str, object]]:
    os.set_blocking(reader, False)
    data = b""
    last = f'"seq":{log.seq},'.encode()
    while last not in data or not data.endswith(b"\n"):
        loop.call_soon(loop.stop)
        loop.run_forever()
        try:
            data += os.read(reader, 1 << 20)
        except BlockingIOError:
            continue
    return [json.loads(line) for line in data.splitlines()]


def test_samples_are_dropped_and_counted_states_are_not(
    pipe: tuple[int, int], loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "SAMPLE_LIMIT", 10_000)
    log = EventLog(loop, pipe[1])
    for number in range(1000):
        log.emit("open", "a", number + 1)
        log.sample("bytes", "a", up=number)
    log.emit("end")
    events = drain(loop, pipe[0], log)
    assert [event["conn"] for event in events if event["ev"] == "open"] == list(range(1, 1001))
    kept = sum(event["ev"] == "bytes" for event in events)
    dropped = sum(int(str(event.get("dropped", 0))) for event in events)
    assert 0 < kept < 1000
    assert kept + dropped == 1000


def test_full_until_somebody_reads(
    pipe: tuple[int, int], loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "STATE_LIMIT", 200_000)
    room: list[bool] = []
    log = EventLog(loop, pipe[1], lambda: room.append(True))
    for number in range(5000):
        log.emit("open", "a", number + 1, text="x" * 50)
    assert [log.full, room] == [True, []]
    events = drain(loop, pipe[0], log)
    assert [event["seq"] for event in events] == list(range(1, 5001))
    assert room == [True]
    assert log.full is False


def test_a_trigger_is_on_its_way_when_emit_and_flush_return(
    pipe: tuple[int, int], loop: asyncio.AbstractEventLoop
) -> None:
    log = EventLog(loop, pipe[1])
    log.emit("trigger", "a", 1, bytes=5)
    log.flush()
    assert json.loads(os.read(pipe[0], 1000))["bytes"] == 5


def test_events_wait_for_others_but_not_for_long(
    pipe: tuple[int, int], loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write = os.write

    def spy(fd: int, data: bytes) -> int:
        writes.append(fd)
        return write(fd, data)

    monkeypatch.setattr(os, "write", spy)
    log = EventLog(loop, pipe[1])
    log.delay = 0.01
    log.emit("first")
    loop.call_soon(log.emit, "second")
    loop.call_later(0.005, log.emit, "third")
    loop.call_later(0.2, loop.stop)
    loop.run_forever()
    assert [json.loads(line)["ev"] for line in os.read(pipe[0], 1000).splitlines()] == [
        "first",
        "second",
        "third",
    ]
    assert writes == [pipe[1]]
