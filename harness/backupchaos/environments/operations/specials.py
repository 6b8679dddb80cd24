"""Things in a source that are no plain files, or have hard names."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from typing import Any

TIME_NS = 1_690_000_000_123_456_789
"""The time of everything that is planted: as fixed as its content."""
_LONG = b"l" * 251 + b".bin"
_NON_UTF8 = (b"latin1-\xe9", b"cut-\xe2\x82", b"\xff\xfe")
_NULL = os.makedev(1, 3)
_CHARACTER_DEVICE = stat.S_IFCHR | 0o640


def plant_specials(root: str, types: list[str]) -> dict[str, Any]:
    """Make one directory for each type below ``root``, which must not be there yet.

    ``made`` maps a type to its paths relative to the directory that ``root`` lies in, ``left_out`` a type
    to why it cannot be had here. ``parent_times`` is what ``uproot`` wants.
    """
    parent = os.path.dirname(root)
    info = os.stat(parent)
    os.mkdir(root, 0o755)
    made: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for kind in types:
        folder = os.path.join(os.fsencode(root), kind.encode())
        os.mkdir(folder, 0o755)
        try:
            names = _plant(kind, folder)
        except OSError as problem:
            shutil.rmtree(folder)
            left_out[kind] = problem.strerror or str(problem)
            continue
        for name in names:
            os.utime(os.path.join(folder, name), ns=(TIME_NS, TIME_NS), follow_symlinks=False)
        os.utime(folder, ns=(TIME_NS, TIME_NS))
        base = os.path.join(os.path.basename(root), kind)
        made[kind] = [os.path.join(base, os.fsdecode(name)) for name in names]
    os.utime(root, ns=(TIME_NS, TIME_NS))
    return {
        "made": made,
        "left_out": left_out,
        "parent_times": [info.st_atime_ns, info.st_mtime_ns],
    }


def uproot(root: str, parent_times: list[int]) -> None:
    """Take away what was planted, and give the directory above its times again."""
    shutil.rmtree(root)
    os.utime(os.path.dirname(root), ns=tuple(parent_times))  # type: ignore[arg-type]


def _plant(kind: str, folder: bytes) -> list[bytes]:
    if kind == "fifo":
        return _named(folder, b"pipe-without-writer", lambda path: os.mkfifo(path, 0o640))
    if kind == "socket":
        return _named(folder, b"socket-of-nobody", _socket)
    if kind == "device":
        return _named(folder, b"device-null", lambda path: os.mknod(path, _CHARACTER_DEVICE, _NULL))
    if kind == "long_name":
        return _named(folder, _LONG, _file)
    if kind == "non_utf8":
        return [_named(folder, name, _file)[0] for name in _NON_UTF8]
    if kind == "link_loop":
        return _links(folder)
    raise ValueError(f"unknown type {kind!r}")


def _named(folder: bytes, name: bytes, make: Any) -> list[bytes]:
    make(os.path.join(folder, name))
    return [name]


def _file(path: bytes) -> None:
    with open(path, "xb") as file:
        file.write(b"content of " + os.path.basename(path)[:40] + b"\n")


def _socket(path: bytes) -> None:
    """Nobody listens: a socket that a dead server has left. Its path may be longer than an address."""
    folder, name = os.path.split(path)
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(name)


def _links(folder: bytes) -> list[bytes]:
    """One that leads to itself, two to each other, and one to a directory above: followed, it has no end."""
    targets = {
        b"loop-self": b"loop-self",
        b"loop-a": b"loop-b",
        b"loop-b": b"loop-a",
        b"loop-up": b"../link_loop",
    }
    for name, target in targets.items():
        os.symlink(target, os.path.join(folder, name))
    return list(targets)
