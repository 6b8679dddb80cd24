"""Copying one path after the other, with what this user and this file system can keep of it."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from typing import Any

from .content import extents
from .copymodel import CopyLimits, CopySummary
from .display import display_path
from .entry import TreeError, describe
from .seeded import write_all
from .walk import ELSEWHERE, OPEN_DIRECTORY, FdStack, Step

_SHOWN = 100
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FAST_COPY = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EBADF, errno.ETXTBSY}
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_SKIPPED = {stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


class _LeftOut(Exception):
    """One path cannot be copied; the copy goes on. ``kind`` is ``skipped`` or ``unreadable``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _refused(exc: OSError, doing: str) -> _LeftOut:
    """Return the record of a path that the destination cannot hold; a full destination is raised."""
    if exc.errno in _FULL:
        raise exc
    return _LeftOut("skipped", describe(exc, f"the destination refused to {doing}"))


class Copier:
    """Copies the steps of a walk into an open, empty directory, which it owns from here on."""

    def __init__(self, root_fd: int, limits: CopyLimits) -> None:
        self._root_fd = root_fd
        self._limits = limits
        self._excluded = frozenset(os.fsencode(name) for name in limits.exclude)
        self._entries = 0
        self._counts: Counter[str] = Counter()
        self._not_kept: Counter[str] = Counter()
        self._lists: dict[str, list[tuple[str, str]]] = {"skipped": [], "unreadable": []}
        self._folders = FdStack()
        self._links: dict[tuple[int, int], bytes] = {}

    def close(self) -> None:
        """Let go of all directories."""
        self._folders.close()
        os.close(self._root_fd)

    def summary(self) -> CopySummary:
        """Return what was copied so far."""
        counts = {
            name: self._counts[name] for name in ("files", "directories", "symlinks", "hard_links", "fifos")
        }
        return CopySummary(
            **counts,
            copied=self._counts["copied"],
            skipped_count=self._counts["skipped"],
            unreadable_count=self._counts["unreadable"],
            skipped=tuple(self._lists["skipped"]),
            unreadable=tuple(self._lists["unreadable"]),
            not_kept=dict(self._not_kept),
        )

    def _record(self, kind: str, path: bytes, reason: str) -> None:
        self._counts[kind] += 1
        if len(self._lists[kind]) < _SHOWN:
            self._lists[kind].append((display_path(path), reason))

    def step(self, step: Step) -> None:
        """Copy what one step stands for; OSError when the destination fails as such."""
        if self._excluded and not self._excluded.isdisjoint(step.path.split(b"/")):
            return
        if step.error:
            self._record("skipped" if step.error == ELSEWHERE else "unreadable", step.path, step.error)
        if step.st is None:
            return
        if step.leaving:
            self._metadata(self._folders.top, step.fd, step.st)
            self._folders.pop()
        elif stat.S_ISDIR(step.st.st_mode):
            self._enter(step, step.st)
        else:
            try:
                self._leaf(step, step.st)
            except _LeftOut as exc:
                self._record(exc.kind, step.path, str(exc))

    def _enter(self, step: Step, st: os.stat_result) -> None:
        if not step.path:
            self._folders.push(os.dup(self._root_fd), os.fstat(self._root_fd))
            return
        self._bound()
        top = self._folders.top
        os.mkdir(step.name, 0o700, dir_fd=top)
        os.chmod(step.name, 0o700, dir_fd=top)  # whatever the umask took away
        fd = os.open(step.name, OPEN_DIRECTORY, dir_fd=top)
        self._folders.push(fd, os.fstat(fd))
        self._counts["directories"] += 1
        if step.fd < 0:  # could not be entered, so nothing of it follows, not even the leaving
            self._metadata(fd, -1, st)
            self._folders.pop()

    def _leaf(self, step: Step, st: os.stat_result) -> None:
        kind = stat.S_IFMT(st.st_mode)
        if kind in _SKIPPED:
            raise _LeftOut("skipped", _SKIPPED[kind])
        self._bound()
        if st.st_nlink > 1 and self._link(step, st):
            return
        if kind == stat.S_IFREG:
            self._file(step, st)
        else:
            self._without_data(step, st, kind)
        if st.st_nlink > 1:
            self._links.setdefault((st.st_dev, st.st_ino), step.path)

    def _bound(self) -> None:
        self._entries += 1
        limit = self._limits.max_entries
        if limit is not None and self._entries > limit:
            raise TreeError(
                f"the tree has more than {limit} entries; copy a smaller one or raise max_entries"
            )

    def _link(self, step: Step, st: os.stat_result) -> bool:
        first = self._links.get((st.st_dev, st.st_ino))
        if first is None:
            return False
        top = self._folders.top
        try:
            os.link(first, step.name, src_dir_fd=self._root_fd, dst_dir_fd=top, follow_symlinks=False)
        except OSError as exc:
            if exc.errno in _FULL:
                raise
            self._not_kept["hard_links"] += 1  # no links here, or too many of them: a copy it is
            return False
        self._counts["hard_links"] += 1
        self._counts["files"] += stat.S_ISREG(st.st_mode)
        return True

    def _without_data(self, step: Step, st: os.stat_result, kind: int) -> None:
        """Copy a symlink or a FIFO."""
        top = self._folders.top
        try:
            if kind == stat.S_IFLNK:
                os.symlink(_target(step), step.name, dir_fd=top)
            else:
                os.mkfifo(step.name, 0o600, dir_fd=top)
        except OSError as exc:
            raise _refused(exc, "make it") from exc
        self._counts["symlinks" if kind == stat.S_IFLNK else "fifos"] += 1
        with _Keep(self._not_kept, "owner"):
            os.chown(step.name, st.st_uid, st.st_gid, dir_fd=top, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            with _Keep(self._not_kept, "mode"):
                os.chmod(step.name, stat.S_IMODE(st.st_mode), dir_fd=top)
        with _Keep(self._not_kept, "times"):
            os.utime(step.name, ns=(st.st_atime_ns, st.st_mtime_ns), dir_fd=top, follow_symlinks=False)

    def _file(self, step: Step, st: os.stat_result) -> None:
        limit = self._limits.max_file_bytes
        if limit is not None and st.st_size > limit:
            raise _LeftOut("skipped", f"larger than {limit} bytes")
        try:
            source = os.open(step.name, _READ, dir_fd=step.dir_fd)
        except OSError as exc:
            raise _LeftOut("unreadable", describe(exc, "open")) from exc
        try:
            if not os.path.samestat(os.fstat(source), st):
                raise _LeftOut("unreadable", "open: replaced by another file meanwhile")
            self._copy_open(step, source, st)
        finally:
            os.close(source)
        self._counts["files"] += 1

    def _copy_open(self, step: Step, source: int, st: os.stat_result) -> None:
        top = self._folders.top
        try:
            fd = os.open(step.name, _CREATE, 0o600, dir_fd=top)
        except OSError as exc:
            raise _refused(exc, "make it") from exc
        try:
            self._data(source, fd, st)
            self._metadata(fd, source, st)
        except (OSError, _LeftOut) as exc:
            os.unlink(step.name, dir_fd=top)  # half a file would pass for a whole one
            if isinstance(exc, _LeftOut) or exc.errno in _FULL:
                raise
            raise _LeftOut("unreadable", describe(exc, "copy")) from exc
        finally:
            os.close(fd)

    def _data(self, source: int, fd: int, st: os.stat_result) -> None:
        limit = self._limits.max_bytes
        for start, end in extents(source, st.st_size):
            self._counts["copied"] += end - start
            if limit is not None and self._counts["copied"] > limit:
                raise TreeError(
                    f"the tree holds more than {limit} bytes; copy a smaller one or raise max_bytes"
                )
            _copy_range(source, fd, start, end)
        os.ftruncate(fd, st.st_size)
        now = os.fstat(source)
        if (now.st_size, now.st_mtime_ns) != (st.st_size, st.st_mtime_ns):
            raise _LeftOut("unreadable", "read: changed while it was copied")

    def _metadata(self, fd: int, source: int, st: os.stat_result) -> None:
        """Owner first (it clears setuid bits and capabilities), then attributes and mode, times last."""
        with _Keep(self._not_kept, "owner"):
            os.fchown(fd, st.st_uid, st.st_gid)
        if source >= 0:
            self._xattrs(fd, source)
        with _Keep(self._not_kept, "mode"):
            os.fchmod(fd, stat.S_IMODE(st.st_mode))
        with _Keep(self._not_kept, "times"):
            os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))

    def _xattrs(self, fd: int, source: int) -> None:
        try:
            names = os.listxattr(source)
        except OSError:
            return  # a file system without attributes
        for name in names:
            with _Keep(self._not_kept, "xattrs"):
                os.setxattr(fd, name, os.getxattr(source, name))


class _Keep:
    """Counts metadata that could not be kept instead of failing."""

    def __init__(self, counter: Counter[str], kind: str) -> None:
        self._counter, self._kind = counter, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> bool:
        if not isinstance(exc, OSError) or exc.errno in _FULL:
            return False
        self._counter[self._kind] += 1
        return True


def _target(step: Step) -> bytes:
    try:
        return os.readlink(step.name, dir_fd=step.dir_fd)
    except OSError as exc:
        raise _LeftOut("unreadable", describe(exc, "readlink")) from exc


def _copy_range(source: int, fd: int, start: int, end: int) -> None:
    at = start
    try:
        while at < end:
            done = os.copy_file_range(source, fd, end - at, offset_src=at, offset_dst=at)
            if done == 0:
                break  # some file systems copy nothing and say so; the slow way decides
            at += done
    except OSError as exc:
        if exc.errno not in _NO_FAST_COPY:
            raise
    os.lseek(fd, at, os.SEEK_SET)
    while at < end:
        piece = os.pread(source, min(end - at, 1024 * 1024), at)
        if not piece:
            return  # the source shrank, which is noticed by its size
        at += write_all(fd, (piece,))
