"""Many connections: an echo server that takes them all in one thread, and processes that make traffic."""

from __future__ import annotations

import resource
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

TRAFFIC = Path(__file__).with_name("traffic.py")


def allow(descriptors: int) -> None:
    """Let this process have so many, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, hard), hard))


class Crowd:
    """Echoes what any number of connections send."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._server.getsockname()[1]
        self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._wake[1].close()
        self._thread.join()
        self._wake[0].close()
        self._server.close()

    def _run(self) -> None:
        conns: dict[int, socket.socket] = {}
        with select.epoll() as epoll:
            epoll.register(self._server, select.EPOLLIN)
            epoll.register(self._wake[0], select.EPOLLIN)
            while True:
                for number, _ in epoll.poll():
                    if number == self._wake[0].fileno():
                        for conn in conns.values():
                            conn.close()
                        return
                    if number == self._server.fileno():
                        conn, _ = self._server.accept()
                        conns[conn.fileno()] = conn
                        epoll.register(conn, select.EPOLLIN)
                        continue
                    data = b""
                    with suppress(OSError):
                        data = conns[number].recv(1 << 16)
                        conns[number].sendall(data)
                    if not data:
                        epoll.unregister(number)
                        conns.pop(number).close()


class Process:
    """``traffic.py`` with some arguments; ``read`` its line, ``end`` it."""

    def __init__(self, *arguments: str | int) -> None:
        argv = [sys.executable, "-IS", str(TRAFFIC), *map(str, arguments)]
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self.stdout = self._child.stdout

    def line(self) -> str:
        """What it says; empty if it has failed."""
        return self.stdout.readline()

    def end(self) -> None:
        """Kill it; idempotent."""
        self._child.kill()
        self._child.wait()
        self.stdout.close()
