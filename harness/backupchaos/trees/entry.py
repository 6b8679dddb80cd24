"""One path of a tree: its data, its place in the order, and its line in a manifest."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode
_NO_XATTRS: Mapping[str, str] = {}


class TreeError(ValueError):
    """A tree cannot be read, made or changed as asked; the message says where and what to do."""


class ManifestError(TreeError):
    """A manifest is damaged, cut short, out of order, or of an unknown version."""


class EntryType(StrEnum):
    """What a path is. ``UNKNOWN``: it was listed but could not be examined."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    DEVICE = "device"
    UNKNOWN = "unknown"


class Entry(NamedTuple):
    """One path of a tree.

    ``path`` is relative to the root, in the bytes of the file system (the root itself is empty).
    ``size`` is 0 for all but regular files, since directory sizes are an affair of the file system.
    ``mtime_ns`` counts from 1970; ``mode`` holds the twelve permission bits. ``xattrs`` maps a name
    to ``hex:…`` (up to 64 bytes) or ``sha256:…/length``. ``target`` is a symlink's text, or a
    device's ``major:minor``. ``hardlink`` is the first path of the inode, for every inode that has
    more than one name (a first path names itself). ``allocated`` is in bytes and ``holes`` a digest
    of the layout of a sparse file; both depend on the file system. ``error`` says what could not
    be read; empty when all was.
    """

    path: bytes
    type: EntryType
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    xattrs: Mapping[str, str] = _NO_XATTRS
    target: bytes | None = None
    hardlink: bytes | None = None
    allocated: int = 0
    holes: str = ""
    error: str = ""


def order_key(path: bytes) -> bytes:
    """Return the sort key of a path: plain byte order of it is the order of path *components*.

    NUL sorts below every byte a name can hold, so a directory is followed at once by what is in
    it (``a``, ``a/b``, ``a.txt``), which lets two manifests be merged with flat memory.
    """
    return path.replace(b"/", b"\0")


def to_text(raw: bytes) -> str:
    """Return bytes of a name as JSON-safe text, whatever the locale of this process."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Undo `to_text`."""
    return text.encode("utf-8", "surrogateescape")


def canonical_line(entry: Entry) -> str:
    """Return what counts for the identity of a manifest, as a JSON object.

    Left out is what a faithful copy on another file system cannot keep: allocation, holes, and
    whether an inode has further names outside of the tree.
    """
    data: dict[str, Any] = {
        "path": to_text(entry.path),
        "type": entry.type.value,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime_ns": entry.mtime_ns,
    }
    if entry.type is EntryType.FILE:
        data["size"] = entry.size
        data["sha256"] = entry.sha256
    if entry.xattrs:
        data["xattrs"] = dict(sorted(entry.xattrs.items()))
    if entry.target is not None:
        data["target"] = to_text(entry.target)
    if entry.hardlink is not None and entry.hardlink != entry.path:
        data["hardlink"] = to_text(entry.hardlink)
    if entry.error:
        data["error"] = entry.error
    return _encode(data)


def full_line(entry: Entry, canonical: str) -> str:
    """Return the manifest line: the canonical object with what does not count appended to it."""
    extra = ""
    if entry.hardlink is not None and entry.hardlink == entry.path:
        extra += ',"shared":true'
    if entry.type is EntryType.FILE:
        extra += f',"allocated":{entry.allocated}'
    if entry.holes:
        extra += f',"holes":"{entry.holes}"'
    return canonical[:-1] + extra + "}"


def from_dict(data: Mapping[str, Any]) -> Entry:
    """Return the entry of a decoded manifest line; KeyError, TypeError, ValueError if it is none."""
    path = to_bytes(data["path"])
    target = data.get("target")
    hardlink = data.get("hardlink")
    return Entry(
        path,
        EntryType(data["type"]),
        int(data.get("size", 0)),
        int(data["mode"]),
        int(data["uid"]),
        int(data["gid"]),
        int(data["mtime_ns"]),
        str(data.get("sha256", "")),
        data.get("xattrs", _NO_XATTRS),
        None if target is None else to_bytes(target),
        path if data.get("shared") else None if hardlink is None else to_bytes(hardlink),
        int(data.get("allocated", 0)),
        str(data.get("holes", "")),
        str(data.get("error", "")),
    )


def describe(exc: OSError, doing: str) -> str:
    """Return a short account of a failed call, the same in every locale: ``open: EACCES``."""
    number = exc.errno or 0
    return f"{doing}: {errno.errorcode.get(number, str(number))}"


def plain(root: str | bytes | os.PathLike[Any]) -> bytes:
    """Return a root as bytes without trailing slashes (a trailing slash would follow a symlink)."""
    raw = os.fsencode(root)
    return raw.rstrip(b"/") or raw[:1]
