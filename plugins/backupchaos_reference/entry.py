"""One entry of a snapshot: all that is known about a file besides its content."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
# Content of a file: pieces of (chunk name, length), or of (None, length) for a hole.
Piece = tuple[str | None, int]
# A line of the manifest holds at most this many pieces, so that no line outgrows a chunk.
_PIECES_PER_LINE = 1024


def text(path: bytes) -> str:
    """Bytes as a JSON-safe string that `raw` turns back exactly."""
    return path.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """The reverse of `text`."""
    return path.encode("utf-8", "surrogateescape")


@dataclass
class Entry:
    """Path relative to the source (empty for the source itself), and metadata.  Times are ns since the epoch."""

    path: bytes
    kind: str
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    target: bytes | None = None  # of a symbolic link
    linked: bytes | None = None  # path of the first name of the same inode
    device: int | None = None

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> Entry:
        """The entry for a status; link target and extended attributes are up to the caller."""
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "unknown")
        return cls(
            path=path,
            kind=kind,
            size=status.st_size if kind in ("file", "symlink") else 0,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            device=status.st_rdev if kind.endswith("device") else None,
        )

    def to_record(self) -> dict[str, Any]:
        """A JSON-safe form."""
        record: dict[str, Any] = {
            "path": text(self.path),
            "kind": self.kind,
            "size": self.size,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "mtime_ns": self.mtime_ns,
        }
        if self.xattrs:
            record["xattrs"] = {
                text(name): base64.b64encode(value).decode() for name, value in sorted(self.xattrs.items())
            }
        for name in ("target", "linked"):
            value: bytes | None = getattr(self, name)
            if value is not None:
                record[name] = text(value)
        if self.device is not None:
            record["device"] = self.device
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Entry:
        """The reverse of `to_record`."""
        target, linked = record.get("target"), record.get("linked")
        return cls(
            path=raw(record["path"]),
            kind=record["kind"],
            size=record["size"],
            mode=record["mode"],
            uid=record["uid"],
            gid=record["gid"],
            mtime_ns=record["mtime_ns"],
            xattrs={raw(name): base64.b64decode(value) for name, value in record.get("xattrs", {}).items()},
            target=None if target is None else raw(target),
            linked=None if linked is None else raw(linked),
            device=record.get("device"),
        )


def lines(entry: Entry, pieces: list[Piece]) -> Iterator[dict[str, Any]]:
    """The manifest's lines for an entry: the entry, then its content in lines of bounded length."""
    yield {"entry": entry.to_record()}
    for start in range(0, len(pieces), _PIECES_PER_LINE):
        yield {"pieces": pieces[start : start + _PIECES_PER_LINE]}
