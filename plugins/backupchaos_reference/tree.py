"""Reading the source: walking it, and reading one file so that a change while reading is noticed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from backupchaos_reference import misbehaviour
from backupchaos_reference.entry import Entry, Piece
from backupchaos_reference.errors import ChangedError, EngineError, MissingError, from_os_error, show

Found = tuple[bytes, bytes, os.stat_result]
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.ENODATA, errno.ENOSYS})


def walk(
    root: bytes, on_vanished: Callable[[bytes], None], on_unreadable: Callable[[EngineError], None]
) -> Iterator[Found]:
    """Relative path, full path and status of everything below `root`, parents first, sorted by name.

    Names that vanish between listing and looking are reported to `on_vanished`: they were deleted, not missed.
    A directory that cannot be listed goes to `on_unreadable` as an error that names it; whoever is honest raises it.
    """

    def names_in(path: bytes) -> Iterator[bytes]:
        try:
            return iter(_names(path))
        except EngineError as error:
            on_unreadable(error)
            return iter(())

    status = _look(root)
    if not stat.S_ISDIR(status.st_mode):
        raise EngineError(f"the source {show(root)} is no directory", path=root)
    yield b"", root, status
    stack: list[tuple[bytes, bytes, Iterator[bytes]]] = [(b"", root, names_in(root))]
    while stack:
        relative, full, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            continue
        path = relative + b"/" + name if relative else name
        below = full + b"/" + name
        try:
            status = _look(below)
        except MissingError:
            on_vanished(below)
            continue
        yield path, below, status
        if stat.S_ISDIR(status.st_mode):
            stack.append((path, below, names_in(below)))


def identity(path: bytes) -> tuple[int, int]:
    """Which directory of which file system this is; another one in its place differs."""
    status = _look(path)
    return status.st_dev, status.st_ino


def _look(path: bytes) -> os.stat_result:
    try:
        status = os.lstat(path)
        if misbehaviour.on("follows_link_loop") and stat.S_ISLNK(status.st_mode) and os.path.isdir(path):
            return os.stat(path)
    except OSError as error:
        raise from_os_error(error, side="source", path=path) from error
    return status


def _names(path: bytes) -> list[bytes]:
    try:
        return sorted(map(os.fsencode, os.listdir(path)))  # bytes already, but not in every fake file system
    except OSError as error:
        raise from_os_error(error, side="source", path=path) from error


def read_xattrs(where: bytes | int, path: bytes) -> dict[bytes, bytes]:
    """Extended attributes by open file or by path (a symbolic link's own ones)."""
    follow = isinstance(where, int)
    try:
        return {
            os.fsencode(name): os.getxattr(where, name, follow_symlinks=follow)
            for name in os.listxattr(where, follow_symlinks=follow)
        }
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise from_os_error(error, side="source", path=path) from error


def read_special(path: bytes, full: bytes, status: os.stat_result) -> Entry:
    """The entry of anything that has no content: directory, symbolic link, fifo, socket, device."""
    entry = Entry.of(path, status)
    if entry.kind == "symlink":
        try:
            entry.target = os.readlink(full)
        except OSError as error:
            raise from_os_error(error, side="source", path=full) from error
    entry.xattrs = read_xattrs(full, full)
    return entry


def read_file(
    path: bytes, full: bytes, chunk_size: int, store: Callable[[bytes], str]
) -> tuple[Entry, list[Piece]]:
    """The entry and the content of a regular file, each chunk handed to `store`.

    Raises LockedError (to be tried again), ChangedError when the file changed meanwhile (to be read again),
    MissingError when it is gone, AccessError and the rest for good.
    """
    try:
        # Non-blocking, for a lease held by somebody else must not stop us without end: it shows as EAGAIN.
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ChangedError(f"source file {show(full)} became another kind of file", path=full) from error
        raise from_os_error(error, side="source", path=full) from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise ChangedError(f"source file {show(full)} became another kind of file", path=full)
        entry = Entry.of(path, before)
        pieces = list(_pieces(descriptor, before, chunk_size, store))
        entry.xattrs = read_xattrs(descriptor, full)
        after = os.fstat(descriptor)
    except OSError as error:
        raise from_os_error(error, side="source", path=full) from error
    finally:
        os.close(descriptor)
    if _version(before) != _version(after) or sum(length for _, length in pieces) != before.st_size:
        raise ChangedError(f"source file {show(full)} changed while it was read", path=full)
    return entry, pieces


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _pieces(
    descriptor: int, status: os.stat_result, chunk_size: int, store: Callable[[bytes], str]
) -> Iterator[Piece]:
    position = 0
    for start, end in _extents(descriptor, status):
        if start > position:
            yield None, start - position
        position = start
        while position < end:
            data = _read_at(descriptor, min(chunk_size, end - position), position)
            if not data:
                return  # shorter than it was: the caller sees the difference
            yield store(data), len(data)
            position += len(data)
    if position < status.st_size:
        yield None, status.st_size - position


def _read_at(descriptor: int, size: int, position: int) -> bytes:
    """Exactly `size` bytes, or fewer at the end of the file only."""
    parts: list[bytes] = []
    os.lseek(descriptor, position, os.SEEK_SET)
    while size > 0:
        data = os.read(descriptor, size)
        if not data:
            break
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _extents(descriptor: int, status: os.stat_result) -> Iterator[tuple[int, int]]:
    """Start and end of each run of data; a file without holes (or a file system that hides them) is one run."""
    size = status.st_size
    if size == 0:
        return
    if status.st_blocks * 512 >= size:
        yield 0, size
        return
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # only a hole is left
            if error.errno == errno.EINVAL:
                yield position, size
                return
            raise
        if start >= size:
            return
        yield start, end
        position = end
