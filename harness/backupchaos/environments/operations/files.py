"""Looking at files and changing them from the outside of the tool under test."""

from __future__ import annotations

import base64 as encoding
import hashlib
import os
import shutil
import stat as modes
from collections.abc import Iterator
from typing import Any

_CAP = 100_000
_TYPES = {
    modes.S_IFREG: "file",
    modes.S_IFDIR: "directory",
    modes.S_IFLNK: "symlink",
    modes.S_IFIFO: "fifo",
    modes.S_IFSOCK: "socket",
    modes.S_IFCHR: "device",
    modes.S_IFBLK: "device",
}


def stat(path: str) -> dict[str, Any]:
    """Type, permission bits, size and the rest of ``lstat``."""
    found = os.lstat(path)
    return {
        "type": _TYPES.get(modes.S_IFMT(found.st_mode), "other"),
        "mode": modes.S_IMODE(found.st_mode),
        "size": found.st_size,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime_ns": found.st_mtime_ns,
        "atime_ns": found.st_atime_ns,
        "inode": found.st_ino,
        "links": found.st_nlink,
    }


def chmod(path: str, mode: int) -> dict[str, int]:
    """Set permission bits (links are not followed); ``before`` is what to give back."""
    before = os.lstat(path)
    if modes.S_ISLNK(before.st_mode):
        raise ValueError(f"{path} is a symbolic link, which has no mode")
    os.chmod(path, mode)
    return {"before": modes.S_IMODE(before.st_mode), "after": modes.S_IMODE(os.lstat(path).st_mode)}


def digest(path: str) -> str | None:
    """SHA-256 of a regular file in hex; None if there is none of that name. Its access time stays, where that can be."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_NOATIME)
    except FileNotFoundError:
        return None
    except PermissionError:  # only a file's owner may leave its access time alone
        fd = os.open(path, flags)
    with open(fd, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(root: str, cap: int = _CAP) -> dict[str, Any]:
    """Everything below ``root``: ``entries`` of (relative path, type, size, mode, mtime in ns, inode), sorted.

    ``truncated`` when there are more than ``cap``; ``errors`` are directories that could not be read. Two such lists tell
    what a job left behind.
    """
    errors: list[str] = []
    entries: list[tuple[Any, ...]] = []
    for path, entry in walk(root, errors):
        if len(entries) >= cap:
            return {"entries": sorted(entries), "truncated": True, "errors": errors}
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # gone while we looked
        kind = _TYPES.get(modes.S_IFMT(found.st_mode), "other")
        mode = modes.S_IMODE(found.st_mode)
        entries.append((path, kind, found.st_size, mode, found.st_mtime_ns, found.st_ino))
    return {"entries": sorted(entries), "truncated": False, "errors": errors}


def keeps_access_times(path: str) -> bool:
    """Whether reading leaves a trace on the file system there."""
    return not os.statvfs(path).f_flag & os.ST_NOATIME


def unread(root: str) -> int:
    """Make all regular files below ``root`` look as if nobody had read them since 1970; returns the moment for ``read_since``.

    With the usual ``relatime`` the kernel then notes the next reading for certain. The moment is in nanoseconds by
    the file system's own clock, which is behind the others; 0 if there are no files.
    """
    moment = 0
    for path, entry in walk(root, []):
        if entry.is_file(follow_symlinks=False):
            changed = entry.stat(follow_symlinks=False).st_mtime_ns
            os.utime(os.path.join(root, path), ns=(0, changed), follow_symlinks=False)
            moment = max(moment, os.lstat(os.path.join(root, path)).st_ctime_ns)
    return moment


def read_since(root: str, moment: int) -> list[str]:
    """Regular files below ``root`` that somebody has read, made or written since ``unread``, relative and sorted."""
    found = []
    for path, entry in walk(root, []):
        try:
            info = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # gone while we looked
        if modes.S_ISREG(info.st_mode) and (info.st_atime_ns or info.st_mtime_ns > moment):
            found.append(path)
    return sorted(found)


def read_file(path: str, cap: int = 1 << 20, offset: int = 0, text: bool = False) -> dict[str, Any]:
    """At most ``cap`` bytes from ``offset``, as ``base64`` or as ``text`` with odd bytes escaped."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        size = os.fstat(fd).st_size
        file.seek(offset)
        data = file.read(cap)
    content = data.decode(errors="backslashreplace") if text else encoding.b64encode(data).decode()
    return {"text" if text else "base64": content, "size": size, "truncated": offset + len(data) < size}


def write_file(
    path: str, text: str | None = None, base64: str | None = None, mode: int = 0o600
) -> dict[str, Any]:
    """Create or replace a file with text or bytes; missing directories are made. For configurations and keys."""
    data = (
        encoding.b64decode(base64) if base64 is not None else (text or "").encode("utf-8", "surrogateescape")
    )
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data)
    return {"size": len(data)}


def make_directory(path: str, mode: int = 0o755) -> None:
    """Make a directory with its parents; content with one that is there."""
    os.makedirs(path, exist_ok=True)
    os.chmod(path, mode)


def remove_tree(path: str, keep_top: bool = True) -> dict[str, int]:
    """Remove everything below a directory (and itself unless ``keep_top``), whatever its modes."""
    count = 0
    with os.scandir(path) as entries:
        names = [entry.path for entry in entries]
    for name in names:
        count += 1
        if os.path.isdir(name) and not os.path.islink(name):
            force_remove(name)
        else:
            os.unlink(name)
    if not keep_top:
        os.rmdir(path)  # noqa: PTH106 - pathlib cannot spell every name
    return {"removed": count}


def force_remove(top: str) -> None:
    """``rmtree`` that first gives itself the permissions a hostile tree may lack; links are not followed.

    Content when somebody else removes it at the same time.
    """
    for attempt in range(5):
        try:
            for folder, names, _ in os.walk(top, followlinks=False):
                os.chmod(folder, 0o700)
                for name in names:
                    path = os.path.join(folder, name)
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
            shutil.rmtree(top)
        except FileNotFoundError:
            if not os.path.lexists(top):
                return
        except OSError:
            if attempt == 4:
                raise  # a file may have been born meanwhile: that is worth another try
        else:
            return


def disk_usage(root: str) -> dict[str, int]:
    """Allocated and apparent bytes, files and directories below ``root``; hard links count once."""
    seen: set[tuple[int, int]] = set()
    totals = {"allocated": 0, "apparent": 0, "files": 0, "directories": 0}
    for _, entry in walk(root, []):
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if (found.st_dev, found.st_ino) in seen:
            continue
        if found.st_nlink > 1:
            seen.add((found.st_dev, found.st_ino))
        totals["allocated"] += found.st_blocks * 512
        totals["apparent"] += found.st_size
        totals["directories" if modes.S_ISDIR(found.st_mode) else "files"] += 1
    return totals


def walk(root: str, errors: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(relative path, entry) of all below ``root``; links are not followed, no recursion limit."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    path = os.path.join(folder, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    yield path, entry
        except OSError as problem:
            if not folder:
                raise
            errors.append(f"{folder}: {problem.strerror}")
