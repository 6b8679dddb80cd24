"""Files that change under somebody's eyes, and that are put back afterwards as they were."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from base64 import b64decode, b64encode
from random import Random
from typing import Any

HOW = ("vanish", "truncate", "grow", "replace")
_CHUNK = 1 << 20
_NO_TEMPORARY = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


def set_aside(path: str, fd: int) -> dict[str, Any]:
    """Copy a regular file with its holes to ``fd``; what is returned is what ``put_back`` wants as ``was``."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(source)
        if not stat.S_ISREG(info.st_mode):
            raise ValueError(f"{path} is no regular file")
        _copy(source, fd, info.st_size)
        names = os.listxattr(source)
        xattrs = {name: b64encode(os.getxattr(source, name)).decode() for name in names}
    finally:
        os.close(source)
    parent = os.stat(os.path.dirname(path))
    return {
        "size": info.st_size,
        "mode": stat.S_IMODE(info.st_mode),
        "owner": [info.st_uid, info.st_gid],
        "links": info.st_nlink,
        "times": [info.st_atime_ns, info.st_mtime_ns],
        "parent_times": [parent.st_atime_ns, parent.st_mtime_ns],
        "xattrs": xattrs,
    }


def put_back(path: str, was: dict[str, Any], fd: int) -> None:
    """The opposite of ``set_aside``: content, mode, owner, attributes, times, and its directory's times."""
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(target, 0)
        _copy(fd, target, was["size"])
        for name in set(os.listxattr(target)) - set(was["xattrs"]):
            os.removexattr(target, name)
        for name, value in was["xattrs"].items():
            os.setxattr(target, name, b64decode(value))
        os.fchown(target, *was["owner"])
        os.fchmod(target, was["mode"])
        os.utime(target, ns=tuple(was["times"]))
    finally:
        os.close(target)
    os.utime(os.path.dirname(path), ns=tuple(was["parent_times"]))


def alter(path: str, how: str, seed: str | int = 0, size: int = 0) -> dict[str, Any]:
    """Let a regular file vanish, lose its second half, grow by ``size`` bytes, or be replaced at one stroke.

    Returns its sizes ``before`` and ``after`` (None when it is gone).
    """
    info = os.lstat(path)
    if how not in HOW or not stat.S_ISREG(info.st_mode):
        raise ValueError(f"cannot {how} {path}")
    source = Random(os.fsencode(f"alter/{seed}/{os.path.basename(path)}"))  # bytes: not every name is text
    if how == "vanish":
        os.unlink(path)
        return {"before": info.st_size, "after": None}
    if how == "truncate":
        os.truncate(path, info.st_size // 2)
    elif how == "grow":
        with open(path, "ab", buffering=0) as file:
            _write(file.fileno(), source.randbytes(size))
    else:
        _replace(path, info, source)
    return {"before": info.st_size, "after": os.lstat(path).st_size}


def prefix_digest(length: int, path: str | None = None, fd: int | None = None) -> str:
    """SHA-256 in hex of the first ``length`` bytes of a file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) if path is not None else fd
    if handle is None:
        raise ValueError("prefix_digest needs a path or a descriptor")
    digest, at = hashlib.sha256(), 0
    try:
        while at < length and (data := os.pread(handle, min(_CHUNK, length - at), at)):
            digest.update(data)
            at += len(data)
    finally:
        if path is not None:
            os.close(handle)
    return digest.hexdigest()


def _replace(path: str, info: os.stat_result, source: Random) -> None:
    """As a careful editor saves: a complete new file takes the name, in one step, with mode and attributes.

    The size differs: that the file comes back with its old time afterwards is our doing, and a tool
    which then trusts the time must not be led astray by it.
    """
    folder, name = os.path.split(path)
    content = source.randbytes(max(1, info.st_size * 3 // 4) if info.st_size > 1 else info.st_size + 1)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    aside = f".backupchaos-new-{info.st_ino}"  # of its own for each file, and never too long
    try:
        fd, named = _fresh(directory, aside)
        try:
            _write(fd, content)
            for attribute in os.listxattr(path):
                os.setxattr(fd, attribute, os.getxattr(path, attribute))
            os.fchown(fd, info.st_uid, info.st_gid)
            os.fchmod(fd, stat.S_IMODE(info.st_mode))
            if not named:  # its name is to be seen by nobody for longer than it takes to move it
                os.link(f"/proc/self/fd/{fd}", aside, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(fd)
        os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def _fresh(directory: int, name: str) -> tuple[int, bool]:
    """A new file without a name, or with one where the file system insists."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory), False
    except OSError as problem:
        if problem.errno not in _NO_TEMPORARY:
            raise
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=directory), True


def _copy(source: int, target: int, size: int) -> None:
    """Copy what is no hole, and set the size."""
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
            end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return  # nothing but a hole is left
            if problem.errno != errno.EINVAL:
                raise
            start, end = at, size
        at = start
        while at < end:
            data = os.pread(source, min(_CHUNK, end - at), at)
            if not data:
                raise OSError(errno.EIO, "a file became shorter while it was copied")
            at += os.pwrite(target, data, at)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
