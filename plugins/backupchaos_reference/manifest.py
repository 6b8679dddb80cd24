"""The manifest: JSON lines, packed into ordinary chunks as they come, so that memory stays flat."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from backupchaos_reference.entry import Entry, Piece, lines
from backupchaos_reference.errors import IntegrityError
from backupchaos_reference.repository import Repository

_TARGET_SIZE = 256 * 1024


class ManifestWriter:
    """Collects entries and hands full chunks to `store`, which returns their names."""

    def __init__(self, store: Callable[[bytes], str]) -> None:
        self._store = store
        self._lines: list[bytes] = []
        self._size = 0
        self.chunks: list[str] = []

    def add(self, entry: Entry, pieces: list[Piece]) -> None:
        """Append an entry and its content."""
        for line in lines(entry, pieces):
            packed = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
            self._lines.append(packed)
            self._size += len(packed)
            if self._size >= _TARGET_SIZE:
                self._flush()

    def _flush(self) -> None:
        if self._lines:
            self.chunks.append(self._store(b"".join(self._lines)))
            self._lines, self._size = [], 0

    def finish(self) -> list[str]:
        """Store what is left and return the names of all chunks, in order."""
        self._flush()
        return self.chunks


def read_manifest(repository: Repository, document: dict[str, Any]) -> Iterator[Entry | list[Piece]]:
    """Entries, each followed by the lists of its pieces, in the order of the backup.  Raises IntegrityError."""
    count = 0
    for chunk in document["manifest"]:
        for line in repository.get_chunk(chunk).splitlines():
            record = json.loads(line)
            if "entry" in record:
                count += 1
                yield Entry.from_record(record["entry"])
            else:
                yield [(name, int(length)) for name, length in record["pieces"]]
    if count != document["entries"]:
        raise IntegrityError(f"snapshot {document['id']} lists {count} of its {document['entries']} entries")
