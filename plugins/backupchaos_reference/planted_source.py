"""Planted misbehaviours on the source: careless ways of reading files that change, lock, break, or are none."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable

from backupchaos_reference import misbehaviour
from backupchaos_reference.entry import Entry, Piece
from backupchaos_reference.errors import from_os_error
from backupchaos_reference.tree import read_xattrs

_CARELESS = (
    "stores_torn_file",
    "pads_shrunk_file",
    "late_metadata",
    "read_error_is_end",
    "waits_for_lock",
)
_PAGE = 4096
"""A file with holes is stored in such pieces, and those of nothing but zeros as holes: losing them is another fault."""


def read(
    path: bytes, full: bytes, chunk_size: int, store: Callable[[bytes], str]
) -> tuple[Entry, list[Piece]] | None:
    """A regular file read without a look at whether it changed meanwhile; None if nothing of the kind is planted."""
    if not any(map(misbehaviour.on, _CARELESS)):
        return None
    try:
        with open(os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            sparse = status.st_blocks * 512 < status.st_size
            if misbehaviour.on("waits_for_lock"):
                fcntl.flock(file, fcntl.LOCK_SH)
            data = _content(file.fileno(), full, status.st_size)
            if misbehaviour.on("late_metadata"):
                status = os.lstat(full)
            xattrs = read_xattrs(file.fileno(), full)
    except OSError as error:
        raise from_os_error(error, side="source", path=full) from error
    entry = Entry.of(path, status)
    entry.size, entry.xattrs = len(data), xattrs
    size = _PAGE if sparse else chunk_size
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return entry, [
        (None if sparse and not piece.strip(b"\0") else store(piece), len(piece)) for piece in pieces
    ]


def _content(descriptor: int, full: bytes, size: int) -> bytes:
    half = _read(descriptor, size // 2)
    if misbehaviour.on("stores_torn_file"):
        with open(full, "rb") as again:
            again.seek(len(half))
            return half + again.read()
    data = half + _read(descriptor, None)
    return data.ljust(size, b"\0") if misbehaviour.on("pads_shrunk_file") else data


def _read(descriptor: int, size: int | None) -> bytes:
    """So many bytes, or all that are left."""
    data = b""
    while size is None or len(data) < size:
        try:
            more = os.read(descriptor, 65536 if size is None else min(65536, size - len(data)))
        except OSError:
            if misbehaviour.on("read_error_is_end"):
                break
            raise
        if not more:
            break
        data += more
    return data


def look_into(full: bytes, status: os.stat_result) -> None:
    """hangs_on_fifo: whatever it is, open it and read it."""
    if misbehaviour.on("hangs_on_fifo") and stat.S_ISFIFO(status.st_mode):
        with open(full, "rb") as file:
            file.read()
