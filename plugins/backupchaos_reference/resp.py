"""Redis' protocol (RESP2) over one plain socket, as far as the catalog needs it: commands out, replies in.

Every step has a time-out: the lookup of the name, the connect, each reply. Nothing is tried again here.
"""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any

from backupchaos_reference import signals

LIMIT = 1 << 20
"""Bytes of one reply; what is longer is none that the catalog has asked for."""


class ReplyError(Exception):
    """The server has answered with an error; the text begins with its code, such as ``NOAUTH``."""


class ProtocolError(OSError):
    """What came is no reply: the connection is of no use any more."""


def encode(*words: str | int) -> bytes:
    """A command as an array of bulk strings."""
    parts = [str(word).encode() for word in words]
    lines = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(parts), lines)


class Connection:
    """Raises OSError from everything, TimeoutError among them; ``timeout`` is in seconds, None for none."""

    def __init__(self, host: str, port: int, timeout: float | None) -> None:
        family, address = _resolve(host, port, timeout)
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._rest = b""
        try:
            self._sock.settimeout(timeout)
            self._sock.connect(address)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self._sock.close()
            raise

    def patience(self, timeout: float | None) -> None:
        """From now on wait so long for each step."""
        self._sock.settimeout(timeout)

    def send(self, data: bytes) -> None:
        """All of it."""
        self._sock.sendall(data)

    def reply(self) -> Any:
        """The next reply: text, a number, None or a list of those. Raises ReplyError for an error."""
        line = self._line()
        kind, rest = line[:1], line[1:].decode("utf-8", "backslashreplace")
        if kind == b"-":
            raise ReplyError(rest)
        if kind == b"+":
            return rest
        try:
            number = int(rest)
        except ValueError:
            raise ProtocolError(f"no reply of a catalog: {line[:60]!r}") from None
        if kind == b":":
            return number
        if kind == b"$" and number <= LIMIT:
            return None if number < 0 else self._bytes(number).decode("utf-8", "backslashreplace")
        if kind == b"*" and number <= LIMIT:
            return None if number < 0 else [self.reply() for _ in range(number)]
        raise ProtocolError(f"no reply of a catalog: {line[:60]!r}")

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            if len(self._rest) > LIMIT:
                raise ProtocolError("no reply of a catalog: a line without end")
            self._more()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _bytes(self, size: int) -> bytes:
        while len(self._rest) < size + 2:
            self._more()
        data, self._rest = self._rest[:size], self._rest[size + 2 :]
        return data

    def _more(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionResetError("the catalog has closed the connection")
        self._rest += data

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        self._sock.close()


def _resolve(host: str, port: int, timeout: float | None) -> tuple[socket.AddressFamily, Any]:
    """The first address of a name. The C library has no time-out for that, so a thread waits in our place."""
    found: queue.Queue[Any] = queue.Queue()

    def look() -> None:
        signals.leave_to_main_thread()
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0])
        except OSError as error:
            found.put(error)

    threading.Thread(target=look, daemon=True).start()
    try:
        answer = found.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"no answer to the lookup of {host}") from None
    if isinstance(answer, OSError):
        raise answer
    return answer[0], answer[4]
