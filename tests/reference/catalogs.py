"""Catalogs for the tests: Redis' own server, and one that answers as it is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.reference.support import PREFIX

from backupchaos_reference.resp import Connection, encode

PASSWORD = "catalog password"


def environment(url: str, **more: str) -> dict[str, str]:
    """How the service is told of a catalog; time-outs and gaps are short."""
    knobs = {"CATALOG": url, "CATALOG_PASSWORD": PASSWORD, "TIMEOUT": "2s", "RETRIES": "3", **more}
    return {PREFIX + name: value for name, value in knobs.items()}


class RealCatalog:
    """``redis-server`` on a port of its own; ended with the block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "conf").write_text(f'requirepass "{PASSWORD}"\nsave ""\ndir "{folder}"\nbind 127.0.0.1\n')
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        argv = ["redis-server", str(folder / "conf"), "--port", str(self.port)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        self.url = f"redis://default@127.0.0.1:{self.port}/0"
        end = time.monotonic() + 10
        while True:
            try:
                self.ask("PING")
                return
            except OSError:
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)  # nothing tells when it listens

    def __enter__(self) -> RealCatalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, *words: str | int) -> Any:
        connection = Connection("127.0.0.1", self.port, 5)
        try:
            connection.send(encode("AUTH", PASSWORD) + encode(*words))
            connection.reply()
            return connection.reply()
        finally:
            connection.close()

    def jobs(self) -> list[dict[str, str]]:
        """What it knows of each, in the order in which they were registered."""
        found = []
        for job in self.ask("LRANGE", "backup:jobs", 0, -1):
            flat = self.ask("HGETALL", f"backup:job:{job}")
            found.append(dict(zip(flat[::2], flat[1::2], strict=True)))
        return found


Answer = Callable[[bytes], bytes | None]
"""What to say to a command; None hangs up."""


def polite(command: bytes) -> bytes:
    return b":1\r\n" if b"EVAL" in command else b"+OK\r\n"


class ToldCatalog:
    """Answers each command by a function, and keeps what it was told."""

    def __init__(self, answer: Answer = polite) -> None:
        self.answer = answer
        self.told: list[bytes] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://default@127.0.0.1:{self._server.getsockname()[1]}/0"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> ToldCatalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def states(self) -> list[str]:
        """Of the states that it was told, in order."""
        words = ("PENDING", "RUNNING", "RETRYING", "SUCCESS", "FAILED")
        return [word for one in self.told for word in words if b"\r\n" + word.encode() + b"\r\n" in one]

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            with sock, sock.makefile("rb") as stream:
                self._talk(sock, stream)

    def _talk(self, sock: socket.socket, stream: Any) -> None:
        try:
            while head := stream.readline():
                parts = [stream.read(int(stream.readline()[1:]) + 2) for _ in range(int(head[1:]))]
                command = b"\r\n" + b"".join(parts)
                self.told.append(command)
                said = self.answer(command)
                if said is None:
                    return
                sock.sendall(said)
        except (OSError, ValueError):
            pass
