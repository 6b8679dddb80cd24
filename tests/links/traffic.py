"""Both ends of a link, for tests and ``benchmarks/links.py``: plain blocking sockets, each end a process of its own.

``traffic.py serve KIND`` prints its port and serves until it is killed; ``traffic.py KIND PORT ARGUMENTS...`` makes
the traffic and prints the figures as JSON. Standard library only, so that nothing but the socket calls is measured.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CHUNK = 1 << 18
_SIZE = struct.Struct(">Q")
PING = b"x" * 64


# -- servers --------------------------------------------------------------------------------------


def _source(conn: socket.socket) -> None:
    """Send as many bytes as the client asks for."""
    left, data = _SIZE.unpack(_exactly(conn, _SIZE.size))[0], memoryview(bytes(CHUNK))
    while left > 0:
        left -= conn.send(data[:left])


def _sink(conn: socket.socket) -> None:
    """Take as many bytes as the client announces, then say so."""
    left, buffer = _SIZE.unpack(_exactly(conn, _SIZE.size))[0], bytearray(CHUNK)
    while left > 0:
        count = conn.recv_into(buffer)
        if not count:
            return
        left -= count
    conn.sendall(b"k")


def _echo(conn: socket.socket) -> None:
    while data := conn.recv(CHUNK):
        conn.sendall(data)


_SERVERS: dict[str, Callable[[socket.socket], None]] = {"source": _source, "sink": _sink, "echo": _echo}


def _serve(kind: str) -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(server.getsockname()[1], flush=True)
    while True:
        conn, _ = server.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if kind != "echo":  # a proxy that does not let go of one connection must not hold up the next
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            if os.fork():
                conn.close()
                continue
            server.close()
        with conn, suppress(OSError, EOFError):
            _SERVERS[kind](conn)
        if kind != "echo":
            os._exit(0)


def _exactly(conn: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += (more := conn.recv(size - len(data)))
        if not more:
            raise EOFError("the other side has closed")
    return data


# -- clients --------------------------------------------------------------------------------------


@contextmanager
def _dial(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def down(port: int, size: int) -> dict[str, float]:
    """Bytes a second from a ``source``."""
    buffer = bytearray(CHUNK)
    with _dial(port) as sock:
        sock.sendall(_SIZE.pack(size))
        left, start = size, time.perf_counter()
        while left > 0:
            left -= sock.recv_into(buffer) or left
        return {"rate": size / (time.perf_counter() - start)}


def up(port: int, size: int) -> dict[str, float]:
    """Bytes a second to a ``sink``, until it has them all."""
    data = memoryview(bytes(CHUNK))
    with _dial(port) as sock:
        start = time.perf_counter()
        sock.sendall(_SIZE.pack(size))
        left = size
        while left > 0:
            left -= sock.send(data[:left])
        _exactly(sock, 1)
        return {"rate": size / (time.perf_counter() - start)}


def trips(port: int, count: int) -> dict[str, float]:
    """Round trips of 64 bytes to an ``echo``, in seconds: p50, p99, mean, standard deviation."""
    with _dial(port) as sock:
        for _ in range(min(200, count)):
            sock.sendall(PING)
            _exactly(sock, len(PING))
        times = []
        for _ in range(count):
            start = time.perf_counter()
            sock.sendall(PING)
            _exactly(sock, len(PING))
            times.append(time.perf_counter() - start)
    mean = sum(times) / count
    spread = (sum((value - mean) ** 2 for value in times) / count) ** 0.5
    times.sort()
    return {"p50": times[count // 2], "p99": times[int(count * 0.99)], "mean": mean, "sd": spread}


def connections(port: int, count: int, at_once: int) -> dict[str, float]:
    """Connections a second that are opened, carry one echo, and end; so many of them at a time."""
    start = time.perf_counter()
    for _ in range(count // at_once):
        socks = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(at_once)]
        for sock in socks:
            sock.sendall(PING)
        for sock in socks:
            _exactly(sock, len(PING))
            sock.close()
    return {"rate": count / (time.perf_counter() - start)}


def pace(port: int, seconds: float) -> dict[str, float]:
    """Bytes a second from a ``source`` that a toxic slows down, once the first buffers are through."""
    buffer = bytearray(CHUNK)
    with _dial(port) as sock:
        sock.sendall(_SIZE.pack(1 << 40))
        settled = time.perf_counter() + 0.5
        while (start := time.perf_counter()) < settled:
            sock.recv_into(buffer)
        # From arrival to arrival, since what comes in pieces would else be counted one piece wrong.
        count, last = 0, start
        while last - start < seconds:
            count += sock.recv_into(buffer)
            last = time.perf_counter()
        return {"rate": count / (last - start)}


def main(argv: list[str]) -> None:
    if argv[0] == "serve":
        _serve(argv[1])
        return
    kinds: dict[str, Callable[..., dict[str, float]]] = {
        "down": down, "up": up, "trips": trips, "connections": connections, "pace": pace
    }  # fmt: skip
    print(json.dumps(kinds[argv[0]](*(int(word) for word in argv[1:]))))


if __name__ == "__main__":
    main(sys.argv[1:])
