"""A repository behind SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Awaitable, Iterator
from typing import TypeVar, cast

import asyncssh

from backupchaos_reference import misbehaviour
from backupchaos_reference.settings import Settings
from backupchaos_reference.sftp_link import SftpLink
from backupchaos_reference.storage import Stored

# One request of the protocol carries at most this much, so a slow but living link is seen to make progress.
_BLOCK = 32 * 1024
F = TypeVar("F")
S = TypeVar("S")


async def _both(first: Awaitable[F], second: Awaitable[S]) -> tuple[F, S]:
    """Ask for both at once; the first failure is the failure of both."""
    return await asyncio.gather(first, second)


class SftpStorage:
    """Plain files over SFTP: temporary name, fsync where the server has it, posix-rename.

    What it cannot do: sync a directory (the protocol has no such request).
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._ssh = SftpLink(url, settings)
        self.link = self._ssh.name
        self._can_sync = True
        self._can_rename_over = True

    def _path(self, name: str) -> str:
        return posixpath.join(self._ssh.root, name) if name else self._ssh.root

    def make_directory(self, name: str) -> None:
        """See Storage; parents of the repository must exist."""
        path, timed = self._path(name), self._ssh.timed

        async def make(client: asyncssh.SFTPClient) -> None:
            if not await timed(client.isdir(path)):
                await timed(client.mkdir(path, asyncssh.SFTPAttrs(permissions=0o700)))

        self._ssh.run("making directory", path, make, writes=4096)

    def stat(self, name: str) -> Stored | None:
        """See Storage."""
        path = self._path(name)

        async def ask(client: asyncssh.SFTPClient) -> Stored | None:
            try:
                found = await self._ssh.timed(client.stat(path))
            except asyncssh.SFTPNoSuchFile:
                return None
            return Stored(name, found.size or 0, float(found.mtime or 0))

        return self._ssh.run("asking for", path, ask)

    def read(self, name: str) -> bytes:
        """See Storage."""
        path, timed = self._path(name), self._ssh.timed

        async def fetch(client: asyncssh.SFTPClient) -> bytes:
            # Two answers are waited for and not four: most files are small, and a restore is mostly waiting.
            found, file = await timed(_both(client.stat(path), client.open(path, "rb")))
            size = found.size or 0
            starts = range(0, size, _BLOCK)
            blocks = await self._ssh.timed_all(
                [file.read(min(_BLOCK, size - start), start) for start in starts]
            )
            self._ssh.later(file.close())
            return b"".join(cast("list[bytes]", blocks))

        return self._ssh.run("reading", path, fetch)

    def write_temporary(self, temporary: str, data: bytes) -> None:
        """See Storage.  A server that refuses the write gets its temporary file taken away: it only eats space."""
        path, timed = self._path(temporary), self._ssh.timed
        parts = [(data[start : start + _BLOCK], start) for start in range(0, len(data), _BLOCK)]

        async def fill(file: asyncssh.SFTPClientFile) -> None:
            await self._ssh.timed_all([file.write(part, start) for part, start in parts])
            if self._can_sync:
                try:
                    await timed(file.fsync())
                except asyncssh.SFTPOpUnsupported:
                    self._can_sync = False

        async def store(client: asyncssh.SFTPClient) -> None:
            file = await timed(client.open(path, "wb"))
            try:
                await fill(file)
                await timed(file.close())
            except asyncssh.SFTPError:
                if not misbehaviour.on("leave_temp_files"):
                    with contextlib.suppress(asyncssh.SFTPError):
                        await timed(file.close())
                    with contextlib.suppress(asyncssh.SFTPError):
                        await timed(client.remove(path))
                raise

        self._ssh.run("writing", path, store, writes=len(data))

    def publish(self, temporary: str, name: str) -> None:
        """See Storage.  Without posix-rename an old file gives way first (it was damaged, or has the same content)."""
        origin, target, timed = self._path(temporary), self._path(name), self._ssh.timed

        async def rename(client: asyncssh.SFTPClient) -> None:
            if self._can_rename_over:
                try:
                    await timed(client.posix_rename(origin, target))
                    return
                except asyncssh.SFTPOpUnsupported:
                    self._can_rename_over = False
            if await timed(client.exists(target)):
                await timed(client.remove(target))
            await timed(client.rename(origin, target))

        self._ssh.run("publishing", target, rename, writes=1)

    def sync_directory(self, name: str) -> None:
        """Not part of the protocol: the server's file system decides."""

    def list(self, directory: str) -> Iterator[Stored]:
        """See Storage."""
        path = self._path(directory)

        async def read(client: asyncssh.SFTPClient) -> list[Stored]:
            found = await self._ssh.timed(client.readdir(path))
            return [
                Stored(
                    f"{directory}/{entry.filename!s}", entry.attrs.size or 0, float(entry.attrs.mtime or 0)
                )
                for entry in found
                if entry.filename not in (".", "..")
            ]

        return iter(sorted(self._ssh.run("listing", path, read)))

    def touch(self, name: str) -> None:
        """See Storage."""
        path = self._path(name)

        async def touch(client: asyncssh.SFTPClient) -> None:
            await self._ssh.timed(client.utime(path))

        self._ssh.run("touching", path, touch)

    def remove(self, name: str) -> None:
        """See Storage."""
        path = self._path(name)

        async def remove(client: asyncssh.SFTPClient) -> None:
            with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                await self._ssh.timed(client.remove(path))

        self._ssh.run("removing", path, remove)

    def disconnect(self) -> None:
        """See Storage."""
        self._ssh.disconnect()

    def close(self) -> None:
        """See Storage."""
        self._ssh.close()
