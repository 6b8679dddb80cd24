"""Small TCP servers and clients for the tests of the links; every wait has a deadline."""

from __future__ import annotations

import errno
import http.client
import json
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backupchaos.links.links import Links
from backupchaos.links.model import LinkEvent

DEADLINE = 10.0
RESET = "reset"
EOF = "eof"


class Server:
    """Accepts in threads; ``handler`` gets each connection. ``seen`` is what each one received.

    ``where`` is an address of the loopback, or the path of a UNIX socket.
    """

    def __init__(
        self, handler: Callable[[Server, socket.socket, bytearray], None], where: str = "127.0.0.1"
    ) -> None:
        family = socket.AF_INET6 if ":" in where else socket.AF_INET
        if where.startswith("/"):
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.bind(where)
            self._sock.listen(512)
            self.port, self.address = 0, f"unix:{where}"
        else:
            self._sock = socket.create_server((where, 0), family=family, backlog=512)
            self.port = self._sock.getsockname()[1]
            self.address = f"[{where}]:{self.port}" if ":" in where else f"{where}:{self.port}"
        self._handler = handler
        self.seen: list[bytearray] = []
        self.ends: list[str] = []
        self.end_times: list[float] = []
        self.changed = threading.Condition()
        self.release = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                conn, _ = self._sock.accept()
            except OSError:
                return
            conn.settimeout(DEADLINE * 3)
            data = bytearray()
            with self.changed:
                self.seen.append(data)
                self.changed.notify_all()
            threading.Thread(target=self._one, args=(conn, data), daemon=True).start()

    def _one(self, conn: socket.socket, data: bytearray) -> None:
        end = EOF
        try:
            self._handler(self, conn, data)
        except OSError as error:
            end = RESET if error.errno in (errno.ECONNRESET, errno.EPIPE) else str(error)
        finally:
            conn.close()
        with self.changed:
            self.ends.append(end)
            self.end_times.append(time.monotonic())
            self.changed.notify_all()

    def note(self, data: bytearray, chunk: bytes) -> None:
        with self.changed:
            data += chunk
            self.changed.notify_all()

    def wait(self, done: Callable[[], bool], timeout: float = DEADLINE) -> None:
        with self.changed:
            assert self.changed.wait_for(done, timeout), (
                f"not in time: {self.ends} {[len(s) for s in self.seen]}"
            )

    def close(self) -> None:
        self.release.set()
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def echo(server: Server, conn: socket.socket, data: bytearray) -> None:
    while chunk := conn.recv(1 << 16):
        server.note(data, chunk)
        conn.sendall(chunk)


def sink(server: Server, conn: socket.socket, data: bytearray) -> None:
    while chunk := conn.recv(1 << 16):
        server.note(data, chunk)


def stuck(server: Server, conn: socket.socket, data: bytearray) -> None:
    """Accept and never read until released."""
    server.release.wait(DEADLINE * 3)
    sink(server, conn, data)


def sender(size: int) -> Callable[[Server, socket.socket, bytearray], None]:
    """Send so many bytes at once, and close."""

    def handler(server: Server, conn: socket.socket, data: bytearray) -> None:
        conn.sendall(b"s" * size)

    return handler


def reply_after_eof(server: Server, conn: socket.socket, data: bytearray) -> None:
    sink(server, conn, data)
    conn.sendall(b"got %d" % len(data))


_dialled: list[socket.socket] = []


def hang_up() -> None:
    """Close every socket that ``dial`` made."""
    while _dialled:
        _dialled.pop().close()


def dial(port: int, timeout: float = DEADLINE, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.create_connection((host, port), timeout=timeout)
    _dialled.append(sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def dial_path(path: str, timeout: float | None = DEADLINE) -> socket.socket:
    """A connection to a UNIX socket. With a time-out it does not wait for room in a full queue."""
    sock = socket.socket(socket.AF_UNIX)
    _dialled.append(sock)
    sock.settimeout(timeout)
    sock.connect(path)
    return sock


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or all up to the end of the stream."""
    data = b""
    while len(data) < size:
        chunk = sock.recv(min(1 << 20, size - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def end_of(sock: socket.socket) -> str:
    """How the stream ends, skipping data: ``EOF`` or ``RESET``."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        return RESET
    return EOF


def fate(port: int) -> str:
    """How a new connection ends; a quick reset may come before connect has returned."""
    try:
        return end_of(dial(port))
    except ConnectionResetError:
        return RESET


def quiet(sock: socket.socket, seconds: float) -> bool:
    """Nothing arrives, and nothing ends, for so long."""
    return not select.select([sock], [], [], seconds)[0]


def refused(port: int) -> bool:
    try:
        dial(port).close()
    except ConnectionRefusedError:
        return True
    return False


def round_trip(sock: socket.socket, data: bytes = b"ping") -> float:
    """Seconds that an echo takes."""
    begin = time.monotonic()
    sock.sendall(data)
    assert receive(sock, len(data)) == data
    return time.monotonic() - begin


def best_trip(sock: socket.socket) -> float:
    """The shorter of two round trips: a busy machine makes one late now and then."""
    return min(round_trip(sock), round_trip(sock))


def flood(sock: socket.socket, most: int = 1 << 40) -> int:
    """Send until nobody takes more for a while; the bytes that were taken."""
    sock.setblocking(False)
    sent, data = 0, memoryview(bytes(1 << 18))
    while sent < most and select.select([], [sock], [], 0.3)[1]:
        try:
            sent += sock.send(data[: most - sent])
        except BlockingIOError:
            continue
    return sent


def memory(pid: int) -> int:
    """Bytes of resident memory."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Log:
    """Collects events until one fits."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.seen: list[LinkEvent] = []

    def until(self, ev: str, count: int = 1, timeout: float = 10.0) -> list[LinkEvent]:
        deadline = time.monotonic() + timeout
        while True:
            self.seen += self.links.events()
            found = [event for event in self.seen if event.ev == ev]
            if len(found) >= count:
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"no {ev}: {self.seen}"
            select.select([self.links], [], [], left)


def noise(size: int) -> bytes:
    return os.urandom(size)


class Answer:
    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.text = body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


class Backend:
    """A Toxiproxy server under test, spoken to in raw HTTP."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._count = 0
        self.servers: list[Server] = []

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            given = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def server(
        self, handler: Callable[[Server, socket.socket, bytearray], None] = echo, where: str = "127.0.0.1"
    ) -> Server:
        server = Server(handler, where)
        self.servers.append(server)
        return server

    def name_(self) -> str:
        self._count += 1
        return f"p{self._count}"

    def proxy(self, upstream: str, **more: Any) -> tuple[str, int]:
        """A new proxy: its name and port."""
        name = self.name_()
        body = {"name": name, "upstream": upstream, "listen": "127.0.0.1:0", **more}
        answer = self("POST", "/proxies", body)
        assert answer.status == 201, answer.text
        return name, port_of(answer.json)

    def toxic(self, proxy: str, kind: str, stream: str = "downstream", **more: Any) -> str:
        """A new toxic: its path. Attributes are passed in ``more`` except toxicity and name."""
        body: dict[str, Any] = {"type": kind, "stream": stream}
        for key in ("toxicity", "name"):
            if key in more:
                body[key] = more.pop(key)
        body["attributes"] = more
        answer = self("POST", f"/proxies/{proxy}/toxics", body)
        assert answer.status == 200, answer.text
        return f"/proxies/{proxy}/toxics/{answer.json['name']}"

    def dial(self, port: int) -> socket.socket:
        return dial(port)

    def clean(self) -> None:
        hang_up()
        for server in self.servers:
            server.close()
        if self("GET", "/version").status == 200:
            for name in self("GET", "/proxies").json:
                self("DELETE", f"/proxies/{name}")
        self.servers = []


def port_of(proxy: dict[str, Any]) -> int:
    return int(proxy["listen"].rpartition(":")[2])


@contextmanager
def within(low: float, high: float) -> Iterator[None]:
    """The body takes between so many seconds."""
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert low <= took <= high, f"took {took:.3f} s, not {low}..{high}"
