"""Restore a snapshot into an empty directory, with everything that was recorded."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

from backupchaos_reference import errors, misbehaviour
from backupchaos_reference.entry import Entry, Piece
from backupchaos_reference.errors import EngineError, IntegrityError, UsageError, from_os_error
from backupchaos_reference.log import Log
from backupchaos_reference.manifest import read_manifest
from backupchaos_reference.repository import Repository

_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL})


@dataclass
class _Open:
    """The file that is being written."""

    entry: Entry
    path: bytes
    descriptor: int
    position: int = 0
    damaged: bool = False


class Restore:
    """One restore.  `run` returns the number of entries that could not be restored; each has its error record."""

    def __init__(self, repository: Repository, target: str, log: Log) -> None:
        self._repository = repository
        self._target = os.fsencode(os.path.abspath(target))
        self._log = log
        self._open: _Open | None = None
        self._directories: list[tuple[Entry, bytes]] = []
        self._warned: set[str] = set()
        self.entries = 0
        self.problems = 0

    def run(self, document: dict[str, Any]) -> int:
        """Restore everything that can be; damaged files are left out, never restored wrong."""
        self._prepare_target()
        try:
            for item in read_manifest(self._repository, document):
                if isinstance(item, Entry):
                    self._finish_file()
                    self._leave_directories(item.path)
                    self.entries += 1
                    self._create(item)
                else:
                    self._write(item)
            self._finish_file()
            self._leave_directories(None)
        finally:
            if self._open is not None:
                os.close(self._open.descriptor)
        return self.problems

    def _prepare_target(self) -> None:
        try:
            os.makedirs(self._target, mode=0o700, exist_ok=True)
            if os.listdir(self._target):
                raise UsageError(f"the target {errors.show(self._target)} is not empty; give a new directory")
        except OSError as error:
            raise from_os_error(error, side="target", path=self._target) from error

    def _path(self, relative: bytes) -> bytes:
        if relative.startswith(b"/") or b".." in relative.split(b"/"):
            raise IntegrityError(f"the snapshot names a path outside of itself: {errors.show(relative)}")
        return os.path.join(self._target, relative) if relative else self._target

    def _problem(self, error: EngineError) -> None:
        self.problems += 1
        self._log.failure(error)

    def _create(self, entry: Entry) -> None:
        path = self._path(entry.path)
        try:
            if entry.linked is not None:
                os.link(self._path(entry.linked), path, follow_symlinks=False)
            elif entry.kind == "file":
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._open = _Open(entry, path, os.open(path, flags, 0o600))
            elif entry.kind == "directory":
                if entry.path:
                    os.mkdir(path, 0o700)
                self._directories.append((entry, path))
            elif entry.kind == "symlink":
                os.symlink(entry.target or b"", path)
                self._apply_metadata(entry, path)
            elif entry.kind == "fifo":
                os.mkfifo(path, 0o600)
                self._apply_metadata(entry, path)
            else:
                shown = errors.show(path)
                self._log.record(
                    "warning", "warning", f"{entry.kind} {shown} is not restored", 200, path=shown
                )
        except OSError as error:
            failure = from_os_error(error, side="target", path=path)
            if not isinstance(failure, errors.MissingError):
                raise failure from error
            self._problem(failure)  # a hard link to a file that was damaged, and said so

    def _write(self, pieces: list[Piece]) -> None:
        current = self._open
        if current is None or current.damaged:
            return
        try:
            for name, length in pieces:
                if name is not None:
                    self._write_all(current.descriptor, self._content(name, length), current.position)
                elif misbehaviour.on("fill_holes"):
                    self._write_all(current.descriptor, bytes(length), current.position)
                current.position += length
        except IntegrityError as error:
            current.damaged = True
            shown = errors.show(current.path)
            self._problem(IntegrityError(f"{shown} is not restored: {error.message}", path=current.path))
        except OSError as error:
            raise from_os_error(error, side="target", path=current.path) from error

    def _content(self, name: str, length: int) -> bytes:
        try:
            data = self._repository.get_chunk(name)
        except IntegrityError:
            if misbehaviour.on("restore_succeeds_on_damage"):
                return bytes(length)
            raise
        if len(data) != length:
            raise IntegrityError(f"chunk {name} has {len(data)} bytes, not {length}")
        return data

    @staticmethod
    def _write_all(descriptor: int, data: bytes, position: int) -> None:
        os.lseek(descriptor, position, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def _finish_file(self) -> None:
        current, self._open = self._open, None
        if current is None:
            return
        try:
            try:
                if not current.damaged and current.position != current.entry.size:
                    current.damaged = True
                    self._problem(
                        IntegrityError(
                            f"{errors.show(current.path)} is not restored: the snapshot holds {current.position}"
                            f" of its {current.entry.size} bytes",
                            path=current.path,
                        )
                    )
                if current.damaged:
                    os.unlink(current.path)
                    return
                os.truncate(current.descriptor, current.entry.size)  # a hole at the end
            finally:
                os.close(current.descriptor)
        except OSError as error:
            raise from_os_error(error, side="target", path=current.path) from error
        self._apply_metadata(current.entry, current.path)

    def _leave_directories(self, path: bytes | None) -> None:
        """Give directories their metadata once nothing more comes below them: writing changes times."""
        while self._directories:
            entry, full = self._directories[-1]
            inside = path is not None and (not entry.path or path.startswith(entry.path + b"/"))
            if inside:
                return
            self._directories.pop()
            self._apply_metadata(entry, full)

    def _apply_metadata(self, entry: Entry, path: bytes) -> None:
        """Owner first (it clears set-id bits and capabilities), times last (everything else changes them)."""
        try:
            self._apply_owner(entry, path)
            if entry.kind != "symlink":
                os.chmod(path, entry.mode)
            self._apply_xattrs(entry, path)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
        except OSError as error:
            raise from_os_error(error, side="target", path=path) from error

    def _apply_owner(self, entry: Entry, path: bytes) -> None:
        try:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._warn_once("owner", path, "owners are not restored: not permitted")

    def _apply_xattrs(self, entry: Entry, path: bytes) -> None:
        for name, value in entry.xattrs.items():
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                shown = f"{errors.show(path)}: extended attribute {errors.show(name)}"
                if name.startswith(b"user."):
                    self._problem(EngineError(f"{shown} is not restored ({error.strerror})", path=path))
                else:
                    self._warn_once(errors.show(name), path, f"{shown} is not restored ({error.strerror})")

    def _warn_once(self, topic: str, path: bytes, message: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            self._log.record("warning", "warning", message, 403, path=errors.show(path))
