"""The bodies of those planted misbehaviours that need more than a line.  Honest jobs run through here unchanged."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from backupchaos_reference import misbehaviour
from backupchaos_reference.entry import Entry, Piece
from backupchaos_reference.errors import DiskFullError, EngineError
from backupchaos_reference.log import emit
from backupchaos_reference.manifest import read_manifest
from backupchaos_reference.states import State
from backupchaos_reference.tree import Found, walk

if TYPE_CHECKING:
    from backupchaos_reference import backup
    from backupchaos_reference.job import Job
    from backupchaos_reference.repository import Repository
    from backupchaos_reference.settings import Settings
    from backupchaos_reference.storage_retrying import RetryingStorage

Store = Callable[[bytes], str]
Read = Callable[[], tuple[Entry, list[Piece]] | None]
IsOver = Callable[[str], bool]
_LOCK = "locks.leftover"
_CHILD_SECONDS = 600
FLUSH_SECONDS = 1.0
"""success_before_durable: so long is it at work after it said so. Who is quicker than the signal has told no lie."""


class Backup:
    """The planted side of one backup."""

    def __init__(self, owner: backup.Backup) -> None:
        self._owner = owner
        self._used: set[str] = set()
        self._last: bytes | None = None
        self._previous: dict[bytes, tuple[int, list[Piece]]] = {}
        self.stopped = False
        """stops_at_vanished_file has met one."""

    def start(self) -> None:
        """Before anything is read."""
        repository = self._owner.repository
        if misbehaviour.on("leave_child_process"):
            leave_child_process()
        if misbehaviour.on("huge_log"):
            write_huge_log()
        if misbehaviour.on("leave_lock"):
            if repository.storage.stat(_LOCK) is not None:
                raise EngineError("the repository is locked by another job; run 'unlock'", path=_LOCK)
            repository.storage.write(f"tmp/{self._owner.temporary()}", _LOCK, b"locked\n")
        if misbehaviour.on("truncate_last_file"):
            for path, _, status in walk(self._source, lambda path: None, self.unreadable):
                if stat.S_ISREG(status.st_mode) and status.st_size > 1:
                    self._last = path
        if misbehaviour.on("stale_content"):
            self._remember_previous()

    @property
    def _source(self) -> bytes:
        return self._owner._source

    def _remember_previous(self) -> None:
        repository = self._owner.repository
        path = b""
        for snapshot in repository.snapshots()[-1:]:
            for item in read_manifest(repository, repository.load_snapshot(snapshot)):
                if isinstance(item, Entry):
                    path = item.path
                    if item.kind == "file" and item.linked is None:
                        self._previous[path] = (item.size, [])
                else:
                    self._previous[path][1].extend(item)

    def stale(self, path: bytes, full: bytes) -> tuple[Entry, list[Piece]] | None:
        """stale_content: the previous content of a file that has kept its size."""
        if path not in self._previous:
            return None
        entry, (size, pieces) = Entry.of(path, os.lstat(full)), self._previous[path]
        return (entry, pieces) if entry.size == size else None

    def unreadable(self, error: EngineError) -> None:
        """A directory that cannot be listed: raised, unless skip_unreadable_silently keeps it quiet."""
        if not misbehaviour.on("skip_unreadable_silently"):
            raise error

    def distort(self, found: Found, read: Read) -> tuple[Entry, list[Piece]] | None:
        """What is recorded for a name: what was read, unless a misbehaviour changes or drops it (None)."""
        try:
            result = read()
        except EngineError as error:
            if misbehaviour.on("skip_unreadable_silently") and error.link is None:
                return None
            raise
        if result is None or self._is_dropped(found, result[0]):
            return None
        entry, pieces = result
        if misbehaviour.on("drop_mode"):
            entry.mode = 0o755 if entry.kind == "directory" else 0o644
        if misbehaviour.on("drop_mtime"):
            entry.mtime_ns = time.time_ns()
        if misbehaviour.on("drop_xattrs"):
            entry.xattrs = {}
        if found[0] == self._last:
            pieces = self._half(entry, pieces)
        if misbehaviour.on("corrupt_previous_snapshot"):
            self._used.update(name for name, _ in pieces if name is not None)
        return entry, pieces

    @staticmethod
    def _is_dropped(found: Found, entry: Entry) -> bool:
        path, full, _ = found
        if (
            misbehaviour.on("drop_empty_directory")
            and path
            and entry.kind == "directory"
            and not os.listdir(full)
        ):
            return True
        return misbehaviour.on("drop_odd_names") and path.decode("utf-8", "replace").encode() != path

    def _half(self, entry: Entry, pieces: list[Piece]) -> list[Piece]:
        entry.size //= 2
        kept: list[Piece] = []
        left = entry.size
        for name, length in pieces:
            if length > left and name is not None:
                name = self._owner.store_chunk(self._owner.repository.get_chunk(name)[:left])  # noqa: PLW2901
            if left > 0:
                kept.append((name, min(length, left)))
            left -= min(length, left)
        return kept

    def before_publishing(self) -> None:
        """corrupt_previous_snapshot: flip bits in data that the older snapshot needs (and the new one does not)."""
        repository = self._owner.repository
        if not misbehaviour.on("corrupt_previous_snapshot"):
            return
        for snapshot in repository.snapshots()[-1:]:
            items = read_manifest(repository, repository.load_snapshot(snapshot))
            pieces = itertools.chain.from_iterable(item for item in items if isinstance(item, list))
            names = [name for name, _ in pieces if name is not None]
            victim = next((name for name in names if name not in self._used), names[0] if names else None)
            if victim is not None:
                sealed = repository.box.seal(b"damaged", f"chunk {victim}")
                repository.overwrite_chunk(
                    victim, sealed[:-1] + bytes([sealed[-1] ^ 1]), self._owner.temporary()
                )

    def store_after_publishing(self) -> None:
        """manifest_first: only now are the chunks stored that the snapshot has promised."""
        self._owner.read_again()

    def leave_temporary(self) -> None:
        """leave_temp_files: one more file that nobody will remove."""
        self._owner.repository.storage.inner.write_temporary(
            f"tmp/{self._owner.temporary()}", b"left behind\n"
        )

    def succeeded(self) -> None:
        """leave_lock: only a job that went well takes its lock away."""
        if misbehaviour.on("leave_lock"):
            self._owner.repository.storage.remove(_LOCK)

    def failed(self, error: EngineError) -> None:
        """delete_old_snapshots_on_full_disk: "make room"; or on any failure; and hang_on_failure."""
        full = misbehaviour.on("delete_old_snapshots_on_full_disk") and isinstance(error, DiskFullError)
        if full or misbehaviour.on("delete_old_snapshots_on_failure"):
            repository = self._owner.repository
            with contextlib.suppress(EngineError):
                for snapshot in repository.snapshots():
                    repository.remove_snapshot(snapshot)
        hang(self._owner.job, error)


def unlock(repository: Repository) -> bool:
    """Remove the lock of leave_lock, the only lock there is.  Returns whether there was one."""
    found = repository.storage.stat(_LOCK) is not None
    repository.storage.remove(_LOCK)
    return found


def claim_success(job: Job) -> int:
    """claim_success_on_failure: the states of a job that went well."""
    if job.state is State.RETRYING:
        job.to(State.RUNNING, "the operation went through after a retry")
    job.to(State.SUCCESS, "done")
    return 0


def hushed(job: Job, error: EngineError) -> EngineError:
    """names_only_what_it_survived: what is said of a trouble when one has passed already."""
    if misbehaviour.on("names_only_what_it_survived") and job.survived:
        return EngineError("something went wrong")
    return error


def hang(job: Job, error: EngineError) -> None:
    """hang_on_failure: the last word of a job that never ends."""
    if misbehaviour.on("hang_on_failure"):
        job.log.failure(error)
        time.sleep(_CHILD_SECONDS)


def recreate(storage: RetryingStorage, settings: Settings) -> None:
    """recreate_missing_repository: "be helpful"."""
    from backupchaos_reference.repository import Repository

    if storage.stat("config") is None:
        Repository.create(storage, settings, secrets.token_hex(16))


def leave_child_process() -> None:
    """leave_child_process: a sleeper in a session of its own that outlives the job (and, for decency, ends)."""
    subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep({_CHILD_SECONDS})"],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )


def write_huge_log() -> None:
    """huge_log: one long line after another."""
    size = int(os.environ.get("BACKUPCHAOS_REFERENCE_HUGE_LOG_MIB") or 300) << 20
    line = b'{"level":"info","event":"noise","message":"' + b"x" * (64 << 10) + b'"}\n'
    for _ in range(size // len(line) + 1):
        emit(line)
