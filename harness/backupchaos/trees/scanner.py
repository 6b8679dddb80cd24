"""From a step of a walk to an entry: what is this path, and what does it hold."""

from __future__ import annotations

import os
import stat

from .content import FileReader, read_xattrs
from .entry import Entry, EntryType, describe
from .walk import Step

_TYPES = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFCHR: EntryType.DEVICE,
    stat.S_IFBLK: EntryType.DEVICE,
}


class _Inode:
    """What is known of an inode with several names: the first of them, how many are still to come."""

    __slots__ = ("first", "found", "left")

    def __init__(self, first: Entry, left: int) -> None:
        self.first, self.left, self.found = first.path, left, first


class Scanner:
    """Makes entries of steps; reads an inode with several names once."""

    def __init__(self) -> None:
        self._reader = FileReader()
        self._inodes: dict[tuple[int, int], _Inode] = {}

    def entry(self, step: Step) -> Entry:
        """Return the entry of an entering step."""
        st = step.st
        if st is None:
            return Entry(step.path, EntryType.UNKNOWN, error=step.error)
        kind = _TYPES.get(stat.S_IFMT(st.st_mode), EntryType.UNKNOWN)
        if kind is not EntryType.DIRECTORY and st.st_nlink > 1:
            return self._linked(step, st, kind)
        return self._read(step, st, kind)

    def _linked(self, step: Step, st: os.stat_result, kind: EntryType) -> Entry:
        key = (st.st_dev, st.st_ino)
        known = self._inodes.get(key)
        if known is None:
            found = self._read(step, st, kind)._replace(hardlink=step.path)
            self._inodes[key] = _Inode(found, st.st_nlink - 1)
            return found
        known.left -= 1
        if known.left <= 0:
            del self._inodes[key]
        before = known.found
        if before.error or (before.mtime_ns, before.size) != (st.st_mtime_ns, st.st_size):
            return self._read(step, st, kind)._replace(hardlink=known.first)
        return before._replace(path=step.path)  # one inode has one content: no need to read it again

    def _read(self, step: Step, st: os.stat_result, kind: EntryType) -> Entry:
        digest, holes, error = "", "", step.error
        xattrs: dict[str, str] = {}
        target: bytes | None = None
        if kind is EntryType.FILE:
            digest, xattrs, holes, error = self._reader.read(step.name, step.dir_fd, st)
        elif kind is EntryType.DIRECTORY:
            if step.fd >= 0:
                xattrs, problem = read_xattrs(step.fd)
                error = error or problem
        else:
            xattrs = _other_xattrs(step)
            if kind is EntryType.SYMLINK:
                target, error = _target(step)
            elif kind is EntryType.DEVICE:
                target = f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}".encode()
        is_file = kind is EntryType.FILE
        return Entry(
            step.path,
            kind,
            st.st_size if is_file else 0,
            stat.S_IMODE(st.st_mode),
            st.st_uid,
            st.st_gid,
            st.st_mtime_ns,
            digest,
            xattrs,
            target,
            None,
            st.st_blocks * 512 if is_file else 0,
            holes,
            error,
        )


def _target(step: Step) -> tuple[bytes | None, str]:
    try:
        return os.readlink(step.name, dir_fd=step.dir_fd), ""
    except OSError as exc:
        return None, describe(exc, "readlink")


def _other_xattrs(step: Step) -> dict[str, str]:
    # No call takes a directory and a name here; without /proc there are simply none to see, which
    # is all but true anyway: user attributes exist on files and directories alone.
    where = b"/proc/self/fd/%d/%s" % (step.dir_fd, step.name)
    return read_xattrs(where, follow_symlinks=False)[0]
