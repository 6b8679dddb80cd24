"""What can happen to a volume that is a tmpfs: space and inodes run out, it turns read-only, it vanishes.

Runs in the agent. Every function changes the real file system, so that the kernel itself gives the
errors; each looks again afterwards, because jobs write all the while.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from typing import Any

from backupchaos.environments.local import kernel
from backupchaos.environments.local.isolation import BASE

_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
_ATTEMPTS = 200
_OPEN_TREE, _MOVE_MOUNT = 428, 429  # the same on every architecture; Linux 5.2
_CLONE, _CLOEXEC, _EMPTY_PATH = 1, os.O_CLOEXEC, 4
_AT_FDCWD = -100
_MOUNT_POINT_ROOM = 4 << 20
"""Bytes of the file system that holds the mount points, while no volume is missing."""


class Restless(Exception):
    """The volume changed faster than it could be limited."""


def leave_space(path: str, left: int) -> int:
    """Shrink the volume until at most ``left`` bytes are free, to the page; returns a ballast or -1.

    A tmpfs cannot be smaller than a page: an empty one gets a nameless file of that size, whose
    descriptor is the ballast. It must be closed when the space is given back.
    """
    ballast = -1
    for _ in range(_ATTEMPTS):
        found = os.statvfs(path)
        unit = found.f_frsize
        size = (found.f_blocks - found.f_bfree) * unit + left // unit * unit
        if size == 0:
            ballast = os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            os.write(ballast, b"\0")
            continue
        if _remount(path, f"size={size}") and os.statvfs(path).f_bfree * unit <= left:
            return ballast
    if ballast >= 0:
        os.close(ballast)
    raise Restless(path)


def leave_inodes(path: str, left: int) -> None:
    """Allow only ``left`` more files, directories and links."""
    for _ in range(_ATTEMPTS):
        found = os.statvfs(path)
        limit = f"nr_inodes={found.f_files - found.f_ffree + left}"
        if _remount(path, limit) and os.statvfs(path).f_ffree <= left:
            return
    raise Restless(path)


def set_inodes(path: str, total: int) -> None:
    """Allow so many files, directories and links in all."""
    kernel.mount("none", path, None, kernel.MS_REMOUNT | _FLAGS, f"nr_inodes={total}")


def set_size(path: str, size: int) -> int:
    """Make the volume so large, or as small as what is on it allows; returns the size."""
    for _ in range(_ATTEMPTS):
        found = os.statvfs(path)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        if _remount(path, f"size={max(size, used, found.f_frsize)}"):
            return max(size, used)
    raise Restless(path)


def _remount(path: str, options: str) -> bool:
    """False if somebody wrote in between, so that the volume holds more than it may."""
    try:
        kernel.mount("none", path, None, kernel.MS_REMOUNT | _FLAGS, options)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        return False
    return True


def freeze(path: str) -> None:
    """Everything by path is read-only from now on.

    The kernel refuses to remount a file system read-only while a file is open for writing. So the same file
    system is mounted over itself, read-only: whoever has a file open already holds the mount below. The system
    call supervisor has to stop those.
    """
    for _ in range(_ATTEMPTS):
        kernel.mount(path, path, None, kernel.MS_BIND)
        try:
            flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _FLAGS
            kernel.mount("none", path, None, flags)
        except OSError as problem:
            kernel.umount(path)
            if problem.errno != errno.EBUSY:
                raise  # EBUSY: somebody opened a file for writing between the two calls
        else:
            return
    raise Restless(path)


def thaw(path: str) -> None:
    """Writable again."""
    kernel.umount(path)


def cloned(path: str) -> int:
    """A second mount of the file system at ``path`` that stands nowhere yet, as a descriptor."""
    return kernel.syscall("open_tree", _OPEN_TREE, _AT_FDCWD, os.fsencode(path), _CLONE | _CLOEXEC)


def attach(handle: int, path: str) -> None:
    """Put what ``cloned`` returned at ``path``; closes the descriptor."""
    kernel.syscall("move_mount", _MOVE_MOUNT, handle, b"", _AT_FDCWD, os.fsencode(path), _EMPTY_PATH)
    os.close(handle)


def vanish(path: str) -> int:
    """Unmount the volume; an empty, writable directory remains. Returns a handle for ``reappear``.

    The mount is detached as by ``umount -l``: files that are open stay open and keep working on the
    volume, every path leads into the empty directory. The directory lies on a file system as large as
    the volume was, since real mount points lie on a root file system with room.
    """
    size = os.statvfs(path)
    handle = cloned(path)
    try:
        room = size.f_blocks * size.f_frsize + _MOUNT_POINT_ROOM
        kernel.mount("none", BASE, None, kernel.MS_REMOUNT | _FLAGS, f"size={room}")
        kernel.umount(path)
    except OSError:
        os.close(handle)
        raise
    return handle


def reappear(path: str, handle: int) -> dict[str, int]:
    """Mount the volume again; returns what was written into the empty directory meanwhile (files, bytes)."""
    below = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attach(handle, path)
        written = _clear(below)
    finally:
        os.close(below)
    with suppress(OSError):  # EBUSY: the job still writes into what has become invisible
        kernel.mount("none", BASE, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _FLAGS)
    return written


def _clear(folder: int) -> dict[str, int]:
    files = size = 0
    for _, folders, names, fd in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        files += len(names) + len(folders)
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
    for name in os.listdir(folder):
        if not _unlinked(name, folder):
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
    return {"files": files, "bytes": size}


def _unlinked(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def look(path: str) -> dict[str, Any]:
    """What stands at a volume's place: which file system, whether it can be written, what is there."""
    found = os.statvfs(path)
    return {
        "device": os.lstat(path).st_dev,
        "mounted": os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev,
        "read_only": bool(found.f_flag & os.ST_RDONLY),
        "entries": len(os.listdir(path)),
    }
