"""The seam to repository servers: what to start, how to know it is up, where clients find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from backupchaos.commands import Command
from backupchaos.targets.base import Location, RepositoryType


class Service(Protocol):
    """A server for one kind of repository. ``port`` is chosen by the engine, on 127.0.0.1."""

    kind: RepositoryType
    name: str
    """The program in words, for the report: ``rclone serve sftp``, ``asyncssh``."""

    def available(self) -> None:
        """Raise ``MissingCapability`` if the server cannot be run on this machine."""

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """(path, content, mode) of configuration and keys to write below ``state`` before the start."""

    def command(self, directory: str, state: str, port: int) -> Command:
        """Serve ``directory`` on 127.0.0.1:``port``; runs until it is killed."""

    def greeting(self) -> bytes | None:
        """The first bytes a healthy server sends by itself (``b"SSH-"``), or None if clients speak first."""

    def location(self, port: int) -> Location:
        """How a client reaches it through ``127.0.0.1:port`` (the link's port)."""
