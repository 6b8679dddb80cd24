"""Where a repository lies: the few file operations that the engine needs, and which of them survive what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from backupchaos_reference.errors import UsageError
from backupchaos_reference.settings import Settings

TEMPORARY = "tmp"


class Stored(NamedTuple):
    """A file of the repository: its name, size in bytes, and modification time in seconds since the epoch."""

    name: str
    size: int
    mtime: float


class Storage(Protocol):
    """Names are relative, with ``/``.  Every method raises EngineErrors only; NetworkError may be tried again."""

    link: str

    def make_directory(self, name: str) -> None:
        """Make the directory; one that exists is fine."""

    def stat(self, name: str) -> Stored | None:
        """What is stored under `name`, or None."""

    def read(self, name: str) -> bytes:
        """The content; MissingError when there is none."""

    def write_temporary(self, temporary: str, data: bytes) -> None:
        """Write `data` under a temporary name and bring it to the disk."""

    def publish(self, temporary: str, name: str) -> None:
        """Rename atomically; from now on `name` is there, whole."""

    def sync_directory(self, name: str) -> None:
        """Bring the names in a directory to the disk (where the storage can)."""

    def list(self, directory: str) -> Iterator[Stored]:
        """What lies in a directory, in the order of the names."""

    def touch(self, name: str) -> None:
        """Set the modification time to now."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is fine."""

    def disconnect(self) -> None:
        """Drop the connection; the next operation makes a new one."""

    def close(self) -> None:
        """Give everything back."""


def open_storage(url: str, settings: Settings) -> Storage:
    """The storage behind a repository URL.  Raises UsageError for a URL of another kind."""
    if url.startswith("sftp://"):
        from backupchaos_reference.storage_sftp import SftpStorage

        return SftpStorage(url, settings)
    if "://" in url:
        raise UsageError(f"repository {url} is neither a local path nor sftp://user@host:port/absolute/path")
    from backupchaos_reference.storage_local import LocalStorage

    return LocalStorage(os.path.abspath(url))
