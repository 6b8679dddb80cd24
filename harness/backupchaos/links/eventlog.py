"""The event log of ``linkd``: JSON lines on a pipe that never stalls the traffic.

One sequence number for all links, and the clock of the harness (``time.monotonic``), so that
"the link went down, then the first attempt came" is a comparison of two numbers.
"""

from __future__ import annotations

import json
import os
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any

SAMPLE_LIMIT = 1 << 20
"""Bytes waiting for the reader above which samples are dropped (and counted)."""
STATE_LIMIT = 8 << 20
"""Bytes waiting above which no new connections are accepted: their events could not be kept."""

_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, default=str).encode
_text = json.encoder.encode_basestring_ascii


def _json(value: Any) -> str:
    """As ``_dump``, which makes an encoder for each call; most values are simple ones, and connections many."""
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        return _text(value)
    if kind is bool:
        return "true" if value else "false"
    return _dump(value)


class EventLog:
    """Writes events to a descriptor; keeps what does not fit, in order, until the reader comes.

    A negative descriptor is that of a log which nobody wants.
    """

    def __init__(self, loop: AbstractEventLoop, fd: int, on_room: Callable[[], None] | None = None) -> None:
        if fd >= 0:
            os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._buffer = bytearray()
        self._scheduled = False
        self._waiting = False
        self._dropped = 0
        self._was_full = False
        self._on_room = on_room
        self._on_gone: Callable[[], None] = lambda: os._exit(0)
        self.delay = 0.0
        """Seconds that an event may wait for others: each write wakes the reader, who wants the processor too."""
        self.seq = 0

    @property
    def full(self) -> bool:
        """True while so much waits for the reader that no new connection may be taken."""
        if len(self._buffer) > STATE_LIMIT:
            self._was_full = True
            return True
        return False

    def on_room(self, callback: Callable[[], None]) -> None:
        """Called once when ``full`` has become false again."""
        self._on_room = callback

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Called when the reader has gone: nobody is left to carry traffic for."""
        self._on_gone = callback

    def emit(self, ev: str, link: str = "", conn: int = 0, **data: Any) -> None:
        """Write an event that is never dropped."""
        if self._fd < 0:
            return
        self.seq += 1
        line = f'{{"seq":{self.seq},"t":{time.monotonic():.6f},"ev":{_text(ev)}'
        if link:
            line += f',"link":{_text(link)}'
        if conn:
            line += f',"conn":{conn}'
        if self._dropped:
            line += f',"dropped":{self._dropped}'
            self._dropped = 0
        for key, value in data.items():
            line += f",{_text(key)}:{_json(value)}"
        self._buffer += line.encode() + b"}\n"
        if not self._scheduled and not self._waiting:
            self._scheduled = True
            if self.delay:
                self._loop.call_later(self.delay, self._flush)
            else:
                self._loop.call_soon(self._flush)

    def sample(self, ev: str, link: str = "", conn: int = 0, **data: Any) -> None:
        """Write an event that may be dropped when the reader is far behind; drops are counted."""
        if len(self._buffer) > SAMPLE_LIMIT:
            self._dropped += 1
        else:
            self.emit(ev, link, conn, **data)

    def flush(self) -> None:
        """Write now what the reader takes: a trigger must be on its way before its action."""
        if not self._waiting:
            self._write()

    def _flush(self) -> None:
        self._scheduled = False
        if not self._waiting:
            self._write()

    def _write(self) -> None:
        try:
            while self._buffer:
                with memoryview(self._buffer) as view:
                    written = os.write(self._fd, view[: 1 << 16])
                del self._buffer[:written]
        except BlockingIOError:
            if not self._waiting:
                self._waiting = True
                self._loop.add_writer(self._fd, self._writable)
            return
        except OSError:
            self._on_gone()
            return
        if self._was_full and self._on_room is not None:
            self._was_full = False
            self._on_room()

    def _writable(self) -> None:
        self._waiting = False
        self._loop.remove_writer(self._fd)
        self._write()
