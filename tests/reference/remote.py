"""A real SFTP server behind a link that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import asyncssh

T = TypeVar("T")


class _Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("ann", "secret")


class Files(asyncssh.SFTPServer):
    """The server's files; `full` lets writes fail as real servers do, `stall_at` lets one of them never end."""

    full = False
    stall_at: int | None = None
    stalled = threading.Event()
    opened: ClassVar[list[Any]] = []

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        file = super().open(path, pflags, attrs)
        type(self).opened.append(file)
        return file

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        files = type(self)
        if files.full:
            raise asyncssh.SFTPFailure("Failure")  # what OpenSSH says
        if files.stall_at is not None:
            files.stall_at -= 1
            if files.stall_at < 0:
                files.stall_at = None
                files.stalled.set()
                await asyncio.Event().wait()
        result = super().write(file_obj, offset, data)
        assert isinstance(result, int)
        return result


class Remote:
    """A real SFTP server behind a link that can be cut, refused or silenced; both live on a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.files: type[Files] = type("FreshFiles", (Files,), {"stalled": threading.Event(), "opened": []})
        self.mode = "pass"  # or "refuse", "silent"
        self.connections: list[float] = []
        self.bytes_up = 0
        self.cut_at: int | None = None  # cut once when this many bytes have gone up
        self.then = "pass"  # the mode after that cut
        self.tripped = threading.Event()
        self.refusals: int | None = None  # refuse that many connections, then let them pass
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    @property
    def public_key(self) -> str:
        return self.key.export_public_key().decode().strip()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def __enter__(self) -> Remote:
        self._thread.start()
        self.do(self._start())
        return self

    async def _start(self) -> None:
        self._server = await asyncssh.create_server(
            _Login,
            "127.0.0.1",
            0,
            server_host_keys=[self.key],
            sftp_factory=lambda channel: self.files(channel, chroot=os.fsencode(self.folder)),
            kex_algs=["curve25519-sha256"],
        )
        self._behind = self._server.get_port()
        self._link = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._link.sockets[0].getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self.do(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _stop(self) -> None:
        self._link.close()
        self._cut()
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for file in self.files.opened:  # a handler that is cancelled leaves its file open
            file.close()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(self.loop.time())
        if self.mode == "refuse" and self.refusals is not None:
            self.refusals -= 1
            self.mode = "pass" if self.refusals < 0 else "refuse"
        if self.mode == "refuse":
            writer.transport.abort()
            return
        down_reader, down_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers |= {writer, down_writer}
        await asyncio.gather(
            self._pump(reader, down_writer, up=True),
            self._pump(down_reader, writer, up=False),
            return_exceptions=True,
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(16384):
                if self.mode == "silent":
                    continue
                if up:
                    self.bytes_up += len(data)
                    if self.cut_at is not None and self.bytes_up >= self.cut_at:
                        self.cut_at, self.mode = None, self.then
                        self.tripped.set()
                        if self.mode != "silent":
                            self._cut()
                        continue
                writer.write(data)
                await writer.drain()
        writer.close()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def url(self, name: str = "repo") -> str:
        return f"sftp://ann@127.0.0.1:{self.port}/{name}"
