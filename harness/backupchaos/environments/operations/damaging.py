"""Choosing files by rule or seed, and damaging them as media, crashes and people do."""

from __future__ import annotations

import fnmatch
import os
import stat
from random import Random
from typing import Any

from backupchaos.environments.operations.files import digest, walk

BLOCK = 4096
HOW = ("bitflip", "zero", "truncate", "empty", "delete", "swap")


def pick_files(
    root: str, pick: str = "random", count: int = 1, seed: str | int = 0, glob: str | None = None
) -> list[str]:
    """Absolute paths of up to ``count`` non-empty regular files below ``root``.

    ``pick`` is largest, smallest, newest, oldest, first (by name) or random (the same for the same
    seed and the same names). ``glob`` matches the relative path, or the name where it has no slash.
    """
    orders: dict[str, Any] = {
        "largest": lambda f: -f[1],
        "smallest": lambda f: f[1],
        "newest": lambda f: -f[2],
        "oldest": lambda f: f[2],
        "first": None,
        "random": None,
    }
    if pick not in orders:
        raise ValueError(f"pick must be one of {', '.join(orders)}, not {pick!r}")
    found = []
    for path, entry in walk(root, []):
        if glob and not fnmatch.fnmatchcase(path if "/" in glob else entry.name, glob):
            continue
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(info.st_mode) and info.st_size:
            found.append((path, info.st_size, info.st_mtime_ns))
    found.sort()
    if pick == "random":
        Random(f"pick/{seed}").shuffle(found)
    elif orders[pick]:
        found.sort(key=orders[pick])
    return [os.path.join(root, path) for path, _, _ in found[:count]]


def damage(
    path: str, how: str, seed: str | int = 0, offset: int | None = None, other: str | None = None
) -> dict[str, Any]:
    """Damage one regular file and say exactly how; times and mode stay, since rot touches neither.

    ``bitflip``: one bit at ``offset`` or where the seed says. ``zero``: one 4 KiB block. ``truncate``: the
    second half, or from ``offset``. ``empty``: no content. ``delete``. ``swap``: contents exchanged with ``other``.
    ``before`` and ``after`` are SHA-256 in hex, ``after`` None when the file is gone.
    """
    if how not in HOW:
        raise ValueError(f"how must be one of {', '.join(HOW)}, not {how!r}")
    info = os.lstat(path)
    if not stat.S_ISREG(info.st_mode):
        raise ValueError(f"{path} is no regular file")
    record: dict[str, Any] = {"path": path, "how": how, "size": info.st_size, "before": digest(path)}
    if how == "delete":
        os.unlink(path)
        return record | {"after": None, "detail": f"({info.st_size} bytes)"}
    if how == "swap":
        if other is None:
            raise ValueError("swap needs other")
        return record | _swap(path, other) | {"after": digest(path)}
    fd, mode = _open_writable(path, info)
    try:
        detail = _change(fd, how, info.st_size, Random(f"damage/{seed}/{os.path.basename(path)}"), offset)
        os.fsync(fd)
        os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
        if mode is not None:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)
    return record | detail | {"after": digest(path)}


def _open_writable(path: str, info: os.stat_result) -> tuple[int, int | None]:
    """Open for writing; a read-only file of our own is made writable, its mode is returned."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags), None
    except PermissionError:
        mode = stat.S_IMODE(info.st_mode)
        os.chmod(path, mode | 0o600)
        return os.open(path, flags), mode


def _change(fd: int, how: str, size: int, random: Random, offset: int | None) -> dict[str, Any]:
    if how == "empty":
        os.ftruncate(fd, 0)
        return {"offset": 0, "detail": f"(all {size} bytes cut off)"}
    if how == "truncate":
        keep = size // 2 if offset is None else offset
        os.ftruncate(fd, keep)
        return {"offset": keep, "detail": f"(cut from {size} to {keep} bytes)"}
    if not size:
        raise ValueError("an empty file has nothing to damage")
    if how == "bitflip":
        place = random.randrange(size) if offset is None else offset
        bit = random.randrange(8)
        byte = os.pread(fd, 1, place)[0] ^ 1 << bit
        os.pwrite(fd, bytes([byte]), place)
        return {"offset": place, "bit": bit, "detail": f"(bit {bit} of byte {place} of {size})"}
    place = random.randrange((size + BLOCK - 1) // BLOCK) * BLOCK if offset is None else offset
    length = min(BLOCK, size - place)
    os.pwrite(fd, bytes(length), place)
    return {"offset": place, "detail": f"({length} bytes from {place} of {size} zeroed)"}


def _swap(path: str, other: str) -> dict[str, Any]:
    """Exchange by renaming; each name keeps its times, as a mixed-up index would show them."""
    one, two = os.lstat(path), os.lstat(other)
    if not stat.S_ISREG(two.st_mode):
        raise ValueError(f"{other} is no regular file")
    aside = path + ".backupchaos-swap"
    os.rename(path, aside)
    os.rename(other, path)
    os.rename(aside, other)
    os.utime(path, ns=(one.st_atime_ns, one.st_mtime_ns))
    os.utime(other, ns=(two.st_atime_ns, two.st_mtime_ns))
    return {"other": other, "detail": f"(exchanged with {other})"}
