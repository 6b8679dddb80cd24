"""A walk that cannot leave its root: every step is relative to an open directory, no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from .display import display_path
from .entry import TreeError, describe, plain

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
KEEP_OPEN = 64  # directories held open on the way down; trees may be deeper than the limit on files
CHANGED = "directory changed while it was read"
ELSEWHERE = "another file system"


class Step(NamedTuple):
    """One step of a walk. A directory gives two: one on entering, one (``leaving``) after its contents.

    ``dir_fd`` is the parent (-1 for the root) and ``fd`` the directory itself (-1 for all others and
    for directories that could not be opened); both are valid until the next step. ``st`` is None
    where the path could not be examined. ``error`` is empty or says what failed.
    """

    path: bytes
    name: bytes
    dir_fd: int
    st: os.stat_result | None
    fd: int
    error: str
    leaving: bool = False


class FdStack:
    """Open directories from a root down, of which only the last `KEEP_OPEN` are held open."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._idents: list[tuple[int, int]] = []

    def push(self, fd: int, st: os.stat_result) -> None:
        """Add a directory; the stack owns ``fd`` from here on."""
        self._fds.append(fd)
        self._idents.append((st.st_dev, st.st_ino))
        old = len(self._fds) - 1 - KEEP_OPEN
        if old >= 0 and self._fds[old] >= 0:
            os.close(self._fds[old])
            self._fds[old] = -1

    @property
    def top(self) -> int:
        """The innermost directory, or -1."""
        return self._fds[-1] if self._fds else -1

    def pop(self) -> None:
        """Go up one directory, opening the parent again where it was let go.

        Raises `TreeError` when the parent is not the directory it was on the way down.
        """
        fd = self._fds.pop()
        self._idents.pop()
        try:
            if self._fds and self._fds[-1] < 0:
                parent = os.open(b"..", OPEN_DIRECTORY, dir_fd=fd)
                self._fds[-1] = parent
                st = os.fstat(parent)
                if (st.st_dev, st.st_ino) != self._idents[-1]:
                    raise TreeError(
                        "a directory was moved while the tree was read; nothing may change it then"
                    )
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of everything."""
        for fd in self._fds:
            if fd >= 0:
                os.close(fd)
        self._fds.clear()
        self._idents.clear()


class _Frame(NamedTuple):
    path: bytes
    name: bytes
    st: os.stat_result
    names: list[bytes]  # in reverse, so that pop() gives the next


def open_root(root: str | bytes | os.PathLike[Any]) -> int:
    """Open the root of a tree; raise `TreeError` unless it is a directory.

    A symlink is refused: a tool that replaces the restored tree by a link to the source would
    otherwise be compared with the source itself and pass.
    """
    path = plain(root)
    try:
        return os.open(path, OPEN_DIRECTORY)
    except OSError as exc:
        hint = (
            "it is a symbolic link; name the directory itself" if os.path.islink(path) else "give a directory"
        )
        raise TreeError(
            f"cannot read the tree {display_path(path)}: {describe(exc, 'open')}; {hint}"
        ) from exc


def _list(fd: int) -> tuple[list[bytes], str]:
    try:
        names = [os.fsencode(name) for name in os.listdir(fd)]
    except OSError as exc:
        return [], describe(exc, "list")
    names.sort(reverse=True)
    return names, ""


def _enter(name: bytes, dir_fd: int, st: os.stat_result) -> tuple[int, list[bytes], str]:
    try:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
    except OSError as exc:
        return -1, [], describe(exc, "open")
    seen = os.fstat(fd)
    if (seen.st_dev, seen.st_ino) != (st.st_dev, st.st_ino):
        os.close(fd)
        return -1, [], "open: replaced by another directory meanwhile"
    names, error = _list(fd)
    return fd, names, error


def refuse_inside(root: os.stat_result, path: bytes, doing: str) -> None:
    """Raise `TreeError` if ``path``, there or not, lies inside of the directory ``root`` was taken of."""
    here = os.path.realpath(path)
    while True:
        try:
            inside = os.path.samestat(os.stat(here), root)
        except FileNotFoundError:
            inside = False  # not made yet; its parents decide
        if inside:
            raise TreeError(
                f"cannot {doing} {display_path(path)}: it lies inside of the tree; choose another place"
            )
        parent = os.path.dirname(here)
        if parent == here:
            return
        here = parent


def walk(root: str | bytes | os.PathLike[Any], *, one_file_system: bool = False) -> Iterator[Step]:
    """Yield the root, then every path below it in the order of `order_key`.

    Memory is bounded by the names in the directories on one way down. Raises `TreeError` when the
    root cannot be opened; whatever fails below it is a step with an error. With ``one_file_system``
    other mounts are not entered, which is an error of their step (`ELSEWHERE`).
    """
    fds = FdStack()
    root_fd = open_root(root)
    try:
        st = os.fstat(root_fd)
        fds.push(root_fd, st)
        device = st.st_dev
        names, error = _list(root_fd)
        frames = [_Frame(b"", b"", st, names)]
        yield Step(b"", b"", -1, st, root_fd, error)
        while frames:
            path, _, _, names = frames[-1]
            if not names:
                yield _leave(frames.pop(), fds.top)
                fds.pop()
                continue
            name = names.pop()
            here = path + b"/" + name if path else name
            try:
                st = os.stat(name, dir_fd=fds.top, follow_symlinks=False)
            except OSError as exc:
                yield Step(here, name, fds.top, None, -1, describe(exc, "stat"))
                continue
            if not stat.S_ISDIR(st.st_mode):
                yield Step(here, name, fds.top, st, -1, "")
                continue
            inner: list[bytes] = []
            if one_file_system and st.st_dev != device:
                fd, error = -1, ELSEWHERE
            else:
                fd, inner, error = _enter(name, fds.top, st)
            try:
                yield Step(here, name, fds.top, st, fd, error)
            except BaseException:
                if fd >= 0:
                    os.close(fd)
                raise
            if fd >= 0:
                fds.push(fd, st)
                frames.append(_Frame(here, name, st, inner))
    finally:
        fds.close()


def _leave(frame: _Frame, fd: int) -> Step:
    st = os.fstat(fd)
    error = "" if st.st_mtime_ns == frame.st.st_mtime_ns else CHANGED
    return Step(frame.path, frame.name, -1, st, fd, error, leaving=True)
