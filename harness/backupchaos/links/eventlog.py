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


class EventLog:
    """Writes events to a descriptor; keeps what does not fit, in order, until the reader comes."""

    def __init__(self, loop: AbstractEventLoop, fd: int, on_room: Callable[[], None] | None = None) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._buffer = bytearray()
        self._scheduled = False
        self._waiting = False
        self._dropped = 0
        self._was_full = False
        self._on_room = on_room
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

    def emit(self, ev: str, link: str = "", conn: int = 0, **data: Any) -> None:
        """Write an event that is never dropped."""
        self.seq += 1
        event: dict[str, Any] = {"seq": self.seq, "t": round(time.monotonic(), 6), "ev": ev}
        if link:
            event["link"] = link
        if conn:
            event["conn"] = conn
        if self._dropped:
            event["dropped"] = self._dropped
            self._dropped = 0
        event.update(data)
        self._buffer += _dump(event).encode() + b"\n"
        if not self._scheduled and not self._waiting:
            self._scheduled = True
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
            os._exit(0)  # the reader is gone: nobody is left to carry traffic for
        if self._was_full and self._on_room is not None:
            self._was_full = False
            self._on_room()

    def _writable(self) -> None:
        self._waiting = False
        self._loop.remove_writer(self._fd)
        self._write()
