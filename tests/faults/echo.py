"""An echo server as the repository's service: link faults need bytes that move, not a protocol."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.services import registry
from backupchaos.targets.base import Location, RepositoryType

_SERVE = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(1 << 16): self.request.sendall(data)
        except OSError: pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 100
Server(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
"""
_SERVE_HTTP = """
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_PUT(self):
        data = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
"""

DIAL = """
import errno, os, socket, sys, threading, time
def dial(timeout=20):
    sock = socket.create_connection(('{host}', {port}), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
def read(sock, size):
    data = b''
    while len(data) < size:
        chunk = sock.recv(min(1 << 18, size - len(data)))
        if not chunk: break
        data += chunk
    return data
def send(sock, data):
    try: sock.sendall(data)
    except OSError: pass
def echo(sock, data):
    sender = threading.Thread(target=send, args=(sock, data))
    sender.start()
    back = read(sock, len(data))
    sender.join()
    return back
def end(sock):
    try:
        while sock.recv(1 << 16): pass
    except OSError as error: return errno.errorcode.get(error.errno, 'silence')
    return 'EOF'
def say(*words): print(*words, flush=True)
"""
"""What the probe programs begin with. ``say`` is how they tell, and what ``when: {log: ...}`` waits for."""

NOTHING = "print('nothing')"


class Echo:
    """The ``Service`` protocol, as far as a run asks for it."""

    kind: RepositoryType = "rest"
    name = "echo"

    def available(self) -> None:
        pass

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        return ()

    def command(self, directory: str, state: str, port: int) -> Command:
        return Command((sys.executable, "-IS", "-c", _SERVE, str(port)))

    def greeting(self) -> bytes | None:
        return None

    def location(self, port: int) -> Location:
        return Location("rest", "/", host="127.0.0.1", port=port)


class HttpEcho(Echo):
    """The same in HTTP: a gate may stand in front of it."""

    name = "echo over HTTP"

    def command(self, directory: str, state: str, port: int) -> Command:
        return Command((sys.executable, "-IS", "-c", _SERVE_HTTP, str(port)))


@pytest.fixture(autouse=True)
def echo_service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service of a test is the echo server, unless it is marked ``real_service``."""
    if "real_service" not in request.fixturenames:
        monkeypatch.setattr(registry, "make_service", lambda kind, prefer=None: Echo())


@pytest.fixture
def real_service() -> Any:
    """Asked for by a test that wants the servers that a scenario would get."""
