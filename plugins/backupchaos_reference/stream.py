"""Backing up standard input as one file.

The end of a pipe looks the same whether the producer has finished or died. Whoever names the text with
which a whole stream ends (the dumps of most databases have such a last line) gets a failure instead of half a
dump that claims to be one.
"""

from __future__ import annotations

import os
import time

from backupchaos_reference import planted
from backupchaos_reference.backup import Backup
from backupchaos_reference.entry import Entry, Piece
from backupchaos_reference.errors import IntegrityError, from_os_error
from backupchaos_reference.job import Job
from backupchaos_reference.manifest import ManifestWriter
from backupchaos_reference.repository import Repository
from backupchaos_reference.settings import Settings

STDIN = "-"
"""What ``--source`` says for it."""
NAME = b"stdin"


class StreamBackup(Backup):
    """One run over standard input; ``end`` is the text before the last newline, empty if any end will do."""

    def __init__(self, repository: Repository, job: Job, settings: Settings, end: str) -> None:
        super().__init__(repository, os.sep, job, settings)
        self._end = os.fsencode(end)

    def _read_source(self, store: planted.Store) -> list[str]:
        pieces: list[Piece] = []
        size, tail = 0, b""
        while data := self._next():
            pieces.append((store(data), len(data)))
            size += len(data)
            tail = (tail + data)[-len(self._end) - 1 :]
        if self._end and not tail.rstrip(b"\n").endswith(self._end):
            text = f"standard input ended after {size} bytes without {os.fsdecode(self._end)!r}: it is incomplete"
            raise IntegrityError(text)
        now, owner = time.time_ns(), (os.geteuid(), os.getegid())
        manifest = ManifestWriter(self.store_chunk)
        manifest.add(Entry(b"", "directory", 0, 0o755, *owner, now), [])
        manifest.add(Entry(NAME, "file", size, 0o600, *owner, now), pieces)
        self.tally.entries, self.tally.files, self.tally.bytes = 2, 1, size
        return manifest.finish()

    def _next(self) -> bytes:
        """A chunk, or what is left before the end."""
        parts, wanted = [], self.repository.chunk_size
        try:
            while wanted and (data := os.read(0, wanted)):
                parts.append(data)
                wanted -= len(data)
        except OSError as error:
            raise from_os_error(error, side="source", path="standard input") from error
        return b"".join(parts)
