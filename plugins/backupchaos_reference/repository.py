"""The repository: a configuration, content-addressed chunks, and snapshots that are published last.

config                 JSON: format, chunk size, scrypt parameters, the sealed master key
chunks/<h>/<64 hex>    one sealed chunk; <h> is the first digit of its name
snapshots/<id>         one sealed JSON document: who, when, and the names of the manifest's chunks
tmp/<job>.<n>.part     files on their way; nothing under a final name is ever partial
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from backupchaos_reference import misbehaviour
from backupchaos_reference.crypto import Box, new_key
from backupchaos_reference.errors import DiskFullError, IntegrityError, MissingError, UsageError
from backupchaos_reference.settings import DEFAULT_CHUNK_SIZE, Settings
from backupchaos_reference.storage import TEMPORARY, Storage, Stored
from backupchaos_reference.storage_retrying import RetryingStorage

FORMAT = 1
_DIGITS = "0123456789abcdef"
_CHUNK = re.compile(r"[0-9a-f]{64}")
_SNAPSHOT = re.compile(r"\d{6,}-\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}")
_TEMPORARY = re.compile(r"([0-9a-f]{32})\.\d+\.part")

# A chunk that is reused gets a new modification time once it is this old, so that prune's grace period covers it.
_TOUCH_AFTER_S = 3600.0
# Temporary files of jobs that our state database does not know belong to another machine until they are this old.
_FOREIGN_AFTER_S = 24 * 3600.0


def _chunk_file(chunk: str) -> str:
    return f"chunks/{chunk[0]}/{chunk}"


class Repository:
    """One opened repository.  Raises EngineErrors; damage is an IntegrityError, never wrong data."""

    def __init__(self, storage: RetryingStorage, box: Box, chunk_size: int) -> None:
        self.storage = storage
        self.box = box
        self.chunk_size = chunk_size

    @classmethod
    def create(cls, storage: RetryingStorage, settings: Settings, operation: str) -> None:
        """Make an empty repository; its configuration comes last.  Raises UsageError when there is one already."""
        if storage.stat("config") is not None:
            raise UsageError(f"there is a repository at {storage.link} already")
        for directory in ("", "chunks", *(f"chunks/{digit}" for digit in _DIGITS), "snapshots", TEMPORARY):
            storage.make_directory(directory)
        config = {
            "format": FORMAT,
            "chunk_size": settings.chunk_size or DEFAULT_CHUNK_SIZE,
            "key": new_key(settings.password, settings.scrypt_n),
        }
        storage.write(f"{TEMPORARY}/{operation}.0.part", "config", json.dumps(config, indent=1).encode())
        storage.sync_directory("")

    @classmethod
    def open(cls, storage: RetryingStorage, settings: Settings) -> Repository:
        """Open with the password.  Raises MissingError, AccessError (wrong password) or IntegrityError."""
        try:
            raw = storage.read("config")
        except MissingError as error:
            raise MissingError(
                f"there is no repository at {storage.link} ({error.message}); 'init' makes one",
                link=storage.link,
            ) from error
        try:
            config: dict[str, Any] = json.loads(raw)
            if config["format"] != FORMAT:
                raise UsageError(f"the repository has format {config['format']}, this program reads {FORMAT}")
            # What is stored in pieces of one size can be read, and added to, in pieces of another.
            chunk_size = settings.chunk_size or int(config["chunk_size"])
            return cls(storage, Box(settings.password, config["key"]), chunk_size)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"the repository's configuration is damaged: {error!r}", path="config"
            ) from error

    # --- chunks ----------------------------------------------------------------------------------------------

    def put_chunk(self, data: bytes, temporary: str) -> tuple[str, bool]:
        """Store `data` unless it is there.  Returns its name, and whether it was new.

        Sealing keeps the length, so a stored chunk of another size is damaged and is written anew.
        """
        chunk = self.box.name(data)
        sealed = self.box.seal(data, f"chunk {chunk}")
        found = self.storage.stat(_chunk_file(chunk))
        if found is not None and found.size == len(sealed):
            if time.time() - found.mtime > _TOUCH_AFTER_S:
                self.storage.touch(_chunk_file(chunk))
            return chunk, False
        try:
            self.storage.write(f"{TEMPORARY}/{temporary}", _chunk_file(chunk), sealed)
        except DiskFullError:
            if not misbehaviour.on("swallow_enospc"):
                raise
        return chunk, True

    def get_chunk(self, chunk: str) -> bytes:
        """The content of a chunk, verified.  Raises IntegrityError when it is damaged or gone."""
        try:
            data = self.box.open(self.storage.read(_chunk_file(chunk)), f"chunk {chunk}")
        except MissingError:
            raise IntegrityError(f"chunk {chunk} is missing", path=_chunk_file(chunk)) from None
        except IntegrityError as error:
            raise IntegrityError(error.message, path=_chunk_file(chunk)) from None
        if self.box.name(data) != chunk:
            raise IntegrityError(
                f"chunk {chunk} has another content than its name says", path=_chunk_file(chunk)
            )
        return data

    def chunk_size_stored(self, chunk: str) -> int | None:
        """The stored size in bytes of a chunk, or None."""
        found = self.storage.stat(_chunk_file(chunk))
        return None if found is None else found.size

    def chunks(self) -> Iterator[Stored]:
        """Every stored chunk, its `name` being the chunk's; one directory is held in memory at a time."""
        for digit in _DIGITS:
            for found in self.storage.list(f"chunks/{digit}"):
                name = found.name.rpartition("/")[2]
                if _CHUNK.fullmatch(name):
                    yield found._replace(name=name)

    def remove_chunk(self, chunk: str) -> None:
        """Remove a chunk."""
        self.storage.remove(_chunk_file(chunk))

    def overwrite_chunk(self, chunk: str, sealed: bytes, temporary: str) -> None:
        """Put raw bytes in a chunk's place: only the planted misbehaviours do this."""
        self.storage.write(f"{TEMPORARY}/{temporary}", _chunk_file(chunk), sealed)

    def sync(self) -> None:
        """Bring the names of all chunks to the disk, also of those that an earlier job left behind."""
        for digit in _DIGITS:
            self.storage.sync_directory(f"chunks/{digit}")

    # --- snapshots -------------------------------------------------------------------------------------------

    def snapshots(self) -> list[str]:
        """The ids of all published snapshots, oldest first."""
        names = (found.name.rpartition("/")[2] for found in self.storage.list("snapshots"))
        return sorted(
            (name for name in names if _SNAPSHOT.fullmatch(name)),
            key=lambda name: (int(name.partition("-")[0]), name),
        )

    def load_snapshot(self, snapshot: str) -> dict[str, Any]:
        """The document of a snapshot.  Raises UsageError for an unknown id, IntegrityError for a damaged one."""
        if not _SNAPSHOT.fullmatch(snapshot):
            raise UsageError(f"{snapshot!r} is no snapshot id; 'snapshots' lists them")
        try:
            sealed = self.storage.read(f"snapshots/{snapshot}")
        except MissingError:
            raise UsageError(f"there is no snapshot {snapshot}; 'snapshots' lists them") from None
        try:
            document: dict[str, Any] = json.loads(self.box.open(sealed, f"snapshot {snapshot}"))
        except IntegrityError as error:
            raise IntegrityError(error.message, path=f"snapshots/{snapshot}") from None
        return document

    def publish_snapshot(self, snapshot: str, document: dict[str, Any], temporary: str) -> None:
        """Make a snapshot visible: one atomic rename, and then the directory is synced."""
        sealed = self.box.seal(json.dumps(document).encode(), f"snapshot {snapshot}")
        try:
            self.storage.write(f"{TEMPORARY}/{temporary}", f"snapshots/{snapshot}", sealed)
            self.storage.sync_directory("snapshots")
        except DiskFullError:
            if not misbehaviour.on("swallow_enospc"):
                raise

    def remove_snapshot(self, snapshot: str) -> None:
        """Remove a snapshot; its chunks stay until prune collects them."""
        self.storage.remove(f"snapshots/{snapshot}")

    # --- temporary files -------------------------------------------------------------------------------------

    @staticmethod
    def temporaries(storage: Storage) -> Iterator[tuple[str, Stored]]:
        """The job and the file of everything in our own naming scheme that is still on its way."""
        for found in storage.list(TEMPORARY):
            match = _TEMPORARY.fullmatch(found.name.rpartition("/")[2])
            if match is not None:
                yield match[1], found

    @staticmethod
    def is_abandoned(found: Stored) -> bool:
        """Whether a temporary file of an unknown job is old enough to be nobody's."""
        return time.time() - found.mtime > _FOREIGN_AFTER_S
