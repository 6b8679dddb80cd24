"""Reading what one path holds: content hash, extended attributes, hole layout."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from .entry import describe, to_text

_INLINE = 64  # bytes of an attribute kept as they are, so that a difference can be shown
# Attributes that the host sets by itself: the same file in another place rightly has others.
_HOST_XATTRS = (
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    b"security.apparmor",
    b"security.SMACK64",
    b"trusted.overlay.",
    b"user.overlay.",
)
_NO_SUPPORT = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_OPEN_FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
)  # a FIFO put in place must not hang us


class FileReader:
    """Hashes files through one buffer that is used again and again."""

    def __init__(self, buffer_size: int = 256 * 1024) -> None:
        self._view = memoryview(bytearray(buffer_size))

    def read(self, name: bytes, dir_fd: int, st: os.stat_result) -> tuple[str, dict[str, str], str, str]:
        """Return (sha256, xattrs, holes, error) of a regular file that ``st`` was taken of.

        A file that is replaced, grows, shrinks or is written while it is read gives an error: its
        hash would be of a state that never was.
        """
        try:
            fd = os.open(name, _OPEN_FILE, dir_fd=dir_fd)
        except OSError as exc:
            return "", {}, "", describe(exc, "open")
        try:
            digest, count = self._hash(fd, st.st_size)
            xattrs, error = read_xattrs(fd)
            holes = _holes(fd, st.st_size) if st.st_blocks * 512 < st.st_size else ""
            now = os.fstat(fd)
        except OSError as exc:
            return "", {}, "", describe(exc, "read")
        finally:
            os.close(fd)
        if (now.st_dev, now.st_ino) != (st.st_dev, st.st_ino) or not stat.S_ISREG(now.st_mode):
            return "", {}, "", "open: replaced by another file meanwhile"
        if now.st_mtime_ns != st.st_mtime_ns or now.st_size != st.st_size or count != st.st_size:
            return "", {}, "", f"read: changed meanwhile ({count} bytes read, size {st.st_size})"
        return digest, xattrs, holes, error

    def _hash(self, fd: int, size: int) -> tuple[str, int]:
        view = self._view
        digest = hashlib.sha256()
        count = 0
        while True:
            got = os.readv(fd, [view])
            if got == 0:
                break
            count += got
            digest.update(view if got == len(view) else view[:got])
            if got < len(view) and count >= size:
                break  # the end, as far as is known; the caller looks at the size again
        return digest.hexdigest(), count


def read_xattrs(handle: int | bytes, *, follow_symlinks: bool = True) -> tuple[dict[str, str], str]:
    """Return (attributes, error) of an open file or a path; attributes set by the host are left out."""
    found: dict[str, str] = {}
    try:
        names = os.listxattr(handle, follow_symlinks=follow_symlinks)
    except OSError as exc:
        return found, "" if exc.errno in _NO_SUPPORT else describe(exc, "listxattr")
    for name in sorted(map(os.fsencode, names)):
        if name.startswith(_HOST_XATTRS):
            continue
        try:
            value = os.getxattr(handle, name, follow_symlinks=follow_symlinks)
        except OSError as exc:
            if exc.errno == errno.ENODATA or exc.errno in _NO_SUPPORT:
                continue  # gone since it was listed, or a name that the file system lists but never gives
            return found, describe(exc, "getxattr")
        found[to_text(name)] = _shown(value)
    return found, ""


def _shown(value: bytes) -> str:
    if len(value) <= _INLINE:
        return "hex:" + value.hex()
    return f"sha256:{hashlib.sha256(value).hexdigest()}/{len(value)}"


def extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Return the [start, end) parts of an open file that hold data; everything where holes are unknown."""
    parts: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            return [(0, size)]
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start >= size or end <= start:
            break
        parts.append((start, end))
        at = end
    return parts


def _holes(fd: int, size: int) -> str:
    layout = repr(extents(fd, size)).encode()
    return hashlib.sha256(layout).hexdigest()[:16]
