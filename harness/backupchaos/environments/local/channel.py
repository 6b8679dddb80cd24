"""Frames of JSON with file descriptors over a Unix stream socket; both ends use this.

A frame is a header (payload length, number of descriptors) and the payload. A stream, not
SEQPACKET, because results may be larger than a socket buffer. Descriptors travel with the
first byte of their frame and arrive in order, so a queue matches them to frames.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]
_HEADER = struct.Struct("!IB")
_MAX_FDS = 250
_CHUNK = 1 << 18


class Channel:
    """One end; ``send``/``receive`` block, ``queue``/``flush``/``pump`` never do."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = bytearray()
        self._received_fds: deque[int] = deque()
        self._waiting: deque[tuple[memoryview, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """The socket's descriptor, for a selector."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket and every descriptor that nobody fetched."""
        while self._received_fds:
            os.close(self._received_fds.popleft())
        self._sock.close()

    def shutdown(self) -> None:
        """End the conversation for both sides, whoever else holds a copy of the socket."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a frame, waiting as long as it takes; raises ``OSError`` when nobody listens."""
        data = _frame(message, fds)
        sent = self._transmit(data, fds)
        while sent < len(data):
            sent += self._sock.send(data[sent:])

    def receive(self) -> tuple[Message, list[int]]:
        """The next frame; raises ``EOFError`` when the other side is gone."""
        while (frame := self._next()) is None:
            self._fill(0)
        return frame

    def queue(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Remember a frame for ``flush``; descriptors must stay open until then."""
        self._waiting.append((_frame(message, fds), tuple(fds)))

    def flush(self) -> bool:
        """Send what can be sent without waiting; True when nothing is left."""
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                sent = self._transmit(data, fds, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if sent < len(data):
                self._waiting[0] = (data[sent:], ())
            else:
                self._waiting.popleft()
        return True

    def pump(self) -> list[tuple[Message, list[int]]]:
        """All frames that are here already; raises ``EOFError`` when the other side is gone and none is."""
        frames: list[tuple[Message, list[int]]] = []
        try:
            while True:
                self._fill(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except (EOFError, ConnectionResetError):
            while frame := self._next():
                frames.append(frame)
            if not frames:
                raise EOFError from None
            return frames
        while frame := self._next():
            frames.append(frame)
        return frames

    def _transmit(self, data: memoryview, fds: Sequence[int], flags: int = 0) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        return self._sock.sendmsg([data], rights, flags | socket.MSG_NOSIGNAL)

    def _fill(self, flags: int) -> None:
        space = socket.CMSG_SPACE(_MAX_FDS * 4)
        data, control, _, _ = self._sock.recvmsg(_CHUNK, space, flags | socket.MSG_CMSG_CLOEXEC)
        for level, kind, raw in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._received_fds.extend(array.array("i", raw[: len(raw) - len(raw) % 4]))
        if not data:
            raise EOFError("the other side is gone")
        self._received += data

    def _next(self) -> tuple[Message, list[int]] | None:
        if len(self._received) < _HEADER.size:
            return None
        length, count = _HEADER.unpack_from(self._received)
        end = _HEADER.size + length
        if len(self._received) < end:
            return None
        message: Message = json.loads(self._received[_HEADER.size : end])
        del self._received[:end]
        return message, [self._received_fds.popleft() for _ in range(count)]


def _frame(message: Message, fds: Sequence[int]) -> memoryview:
    payload = json.dumps(message).encode()
    return memoryview(_HEADER.pack(len(payload), len(fds)) + payload)


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of sockets for two channels."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
