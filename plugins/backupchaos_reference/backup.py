"""The backup job: read the source, store chunks, publish the snapshot last, record SUCCESS after that."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import Any

from backupchaos_reference import errors, misbehaviour, planted, planted_source
from backupchaos_reference.entry import Entry, Piece
from backupchaos_reference.errors import (
    AccessError,
    ChangedError,
    EngineError,
    LockedError,
    MissingError,
    NetworkError,
)
from backupchaos_reference.job import Job
from backupchaos_reference.log import timestamp
from backupchaos_reference.manifest import ManifestWriter
from backupchaos_reference.repository import Repository
from backupchaos_reference.retry import Retrier
from backupchaos_reference.settings import Settings
from backupchaos_reference.signals import TerminatedError
from backupchaos_reference.states import State
from backupchaos_reference.storage import Storage
from backupchaos_reference.tree import Found, identity, read_file, read_special, walk


@dataclass
class Tally:
    """What a job did."""

    entries: int = 0
    files: int = 0
    bytes: int = 0
    chunks_new: int = 0
    chunks_reused: int = 0


class Backup:
    """One run over `source`; `run` returns the id of the published snapshot."""

    def __init__(self, repository: Repository, source: str, job: Job, settings: Settings) -> None:
        self.repository = repository
        self.job = job
        self.tally = Tally()
        self._source = os.fsencode(os.path.abspath(source))
        self._retrier = Retrier(settings, job, lambda: None)
        self._snapshot = ""
        self._temporaries = 0
        self._first_names: dict[tuple[int, int], bytes] = {}
        self.planted = planted.Backup(self)

    def temporary(self) -> str:
        """A fresh temporary name that carries the job's id, so that a later job knows whose it was."""
        self._temporaries += 1
        return f"{self.job.log.job_id}.{self._temporaries}.part"

    def run(self) -> str:
        """Back up everything.  Raises EngineError or TerminatedError; then nothing was published."""
        self.planted.start()
        store = self.repository.box.name if misbehaviour.on("manifest_first") else self.store_chunk
        manifest = self._read_source(store)
        self.planted.before_publishing()
        self._publish(manifest)
        return self._snapshot

    def _publish(self, manifest: list[str]) -> None:
        document = self._document(manifest)
        if misbehaviour.on("success_before_durable"):
            self.job.to(State.SUCCESS, f"snapshot {self._snapshot}", snapshot=self._snapshot)
            time.sleep(planted.FLUSH_SECONDS)
        self.repository.sync()
        with self.job.guard.deferred():
            self.repository.publish_snapshot(self._snapshot, document, self.temporary())
            if not misbehaviour.on("manifest_first"):
                self._succeed()
        if misbehaviour.on("manifest_first"):
            self.planted.store_after_publishing()
            self._succeed()

    def _succeed(self) -> None:
        if self.job.state is not State.SUCCESS:
            self.job.promise(
                self._snapshot
            )  # the snapshot is durable; nobody hears of it before the catalog does
            self.job.to(State.SUCCESS, f"snapshot {self._snapshot} is durable", snapshot=self._snapshot)
            self.job.guard.ignore()  # a signal that comes now comes too late: the job is done

    def _document(self, manifest: list[str]) -> dict[str, Any]:
        existing = self.repository.snapshots()
        number = int(existing[-1].partition("-")[0]) + 1 if existing else 1
        # The number, not the clock, orders snapshots: clocks go backwards.
        self._snapshot = f"{number:06d}-{_stamp(time.time())}-{self.job.log.job_id[:8]}"
        return {
            "id": self._snapshot,
            "time": timestamp(),
            "job_id": self.job.log.job_id,
            "trace_id": self.job.log.trace_id,
            "source": errors.show(self._source),
            "manifest": manifest,
            "entries": self.tally.entries,
            "files": self.tally.files,
            "bytes": self.tally.bytes,
        }

    def _read_source(self, store: planted.Store) -> list[str]:
        manifest = ManifestWriter(self.store_chunk)
        root = identity(self._source)
        for found in walk(self._source, self._vanished, self.planted.unreadable):
            read = self.planted.distort(found, lambda found=found: self._read(found, store))  # type: ignore[misc]
            if self.planted.stopped:
                break
            if read is None:
                continue
            entry, pieces = read
            manifest.add(entry, pieces)
            self.tally.entries += 1
            self.job.catalog.progress(self.tally.entries)
            if entry.kind == "file":
                self.tally.files += 1
                self.tally.bytes += entry.size if entry.linked is None else 0
        if identity(self._source) != root:
            # An empty directory in the place of an unmounted disk looks as if everything had been deleted.
            shown = errors.show(self._source)
            raise MissingError(
                f"source {shown} is gone: another directory is there, was it unmounted?", path=shown
            )
        return manifest.finish()

    def read_again(self) -> None:
        """Read the source once more and store its chunks: only the planted manifest_first needs that."""
        self._first_names.clear()
        for found in walk(self._source, self._vanished, self.planted.unreadable):
            self._read(found, self.store_chunk)

    def _read(self, found: Found, store: planted.Store) -> tuple[Entry, list[Piece]] | None:
        """The entry and content behind one name; None when it vanished, which is logged."""
        path, full, status = found
        inode = (status.st_dev, status.st_ino)
        if (
            status.st_nlink > 1
            and not stat.S_ISDIR(status.st_mode)
            and not misbehaviour.on("drop_hard_links")
        ):
            if inode in self._first_names:
                entry = Entry.of(path, status)
                entry.linked = self._first_names[inode]
                return entry, []
            self._first_names[inode] = path
        try:
            if stat.S_ISREG(status.st_mode):
                return self._retrier.call(
                    lambda: self._read_file(path, full, store), LockedError, ChangedError
                )
            planted_source.look_into(full, status)
            entry = read_special(path, full, status)
        except MissingError:
            if os.path.lexists(full):
                raise  # it is there and cannot be opened: not a deletion
            self._first_names.pop(inode, None)
            self._vanished(full)
            return None
        if entry.kind not in ("directory", "symlink", "fifo"):
            self.job.log.record(
                "warning",
                "warning",
                f"{entry.kind} {errors.show(full)} is recorded, not restored",
                200,
                path=errors.show(full),
            )
        return entry, []

    def _read_file(self, path: bytes, full: bytes, store: planted.Store) -> tuple[Entry, list[Piece]]:
        try:
            chunk_size = self.repository.chunk_size
            careless = self.planted.stale(path, full) or planted_source.read(path, full, chunk_size, store)
            return careless or read_file(path, full, chunk_size, store)
        except AccessError as error:
            if misbehaviour.on("retry_permission_errors") and error.link is None:
                raise LockedError(error.message, path=error.path) from error
            raise

    def store_chunk(self, data: bytes) -> str:
        """Store one chunk and count it."""
        name, new = self.repository.put_chunk(data, self.temporary())
        if new:
            self.tally.chunks_new += 1
        else:
            self.tally.chunks_reused += 1
        return name

    def _vanished(self, full: bytes) -> None:
        if misbehaviour.on("stops_at_vanished_file"):
            self.planted.stopped = True
            return
        shown = errors.show(full)
        self.job.log.record(
            "warning", "warning", f"{shown} was deleted while the backup ran", 404, path=shown
        )

    def withdraw(self) -> None:
        """After a failure: take back a snapshot whose publication went wrong half-way (rename done, sync refused).

        What the catalog was promised stays: its answer may be all that was lost.
        """
        unclaimed = self.job.state is not State.SUCCESS and not self.job.promised
        if self._snapshot and unclaimed and not misbehaviour.on("manifest_first"):
            self.repository.storage.inner.remove(f"snapshots/{self._snapshot}")

    def clean(self, *, succeeded: bool, is_over: planted.IsOver) -> None:
        """Remove this job's temporary files; after a success also those of jobs that are over."""
        if misbehaviour.on("leave_temp_files"):
            self.planted.leave_temporary()
            return
        # After a failure the storage beneath the retries is asked, once: the way out must be short.
        storage: Storage = self.repository.storage if succeeded else self.repository.storage.inner
        for job_id, found in Repository.temporaries(storage):
            ours = job_id == self.job.log.job_id
            if ours or (succeeded and (is_over(job_id) or Repository.is_abandoned(found))):
                storage.remove(found.name)


def fail(job: Job, backup: Backup | None, error: EngineError | TerminatedError) -> None:
    """Record a failure and tidy up as far as that is possible.  Never raises."""
    job.guard.ignore()
    problem = EngineError(error.message) if isinstance(error, TerminatedError) else error
    problem = planted.hushed(job, problem)
    code = 499 if isinstance(error, TerminatedError) else problem.status_code
    # A job that was told to stop while it waited for the link knows that there is no way to get there.
    cut_off = isinstance(error, NetworkError) or (
        isinstance(error, TerminatedError) and job.state is State.RETRYING
    )
    if backup is not None:
        backup.planted.failed(problem)
    if job.state is not State.SUCCESS:
        try:
            job.to(State.FAILED, problem.message, code)
        except EngineError as trouble:
            job.log.failure(trouble)
    if isinstance(error, TerminatedError):
        job.log.record("error", "error", problem.message, code)
    else:
        job.log.failure(problem)
    job.farewell(problem)
    if backup is None or cut_off:
        return  # nothing to tidy, or no way to get there: the next job does it
    try:
        if isinstance(error, TerminatedError):
            backup.repository.storage.disconnect()  # what was interrupted must not go on behind our back
        backup.withdraw()
        backup.clean(succeeded=False, is_over=lambda job_id: False)
    except EngineError as trouble:
        said = planted.hushed(job, trouble).message
        job.log.record("warning", "warning", f"temporary files stay until the next job: {said}", 500)


def _stamp(now: float) -> str:
    return timestamp(now).replace("-", "").replace(":", "")
