"""Looking after a repository: check it, and remove what is no longer wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator

from backupchaos_reference import misbehaviour
from backupchaos_reference.entry import Entry
from backupchaos_reference.errors import IntegrityError
from backupchaos_reference.log import Log
from backupchaos_reference.manifest import read_manifest
from backupchaos_reference.repository import Repository


def check(repository: Repository, log: Log, *, read_data: bool) -> int:
    """The number of problems; each has its error record.

    Always: every snapshot opens and every chunk it needs is there.  With `read_data` every stored chunk is read and
    verified too, also those that no snapshot needs: a later job would trust them.
    """
    if misbehaviour.on("check_always_ok"):
        return 0
    problems = 0
    damaged = set[str]()
    sizes = dict[bytes, int]()
    for found in repository.chunks():
        sizes[bytes.fromhex(found.name)] = found.size
        if read_data:
            try:
                repository.get_chunk(found.name)
            except IntegrityError as error:
                problems += 1
                damaged.add(found.name)
                log.failure(error)
    for snapshot in repository.snapshots():
        problems += _check_snapshot(repository, snapshot, damaged, sizes, log)
    for job_id, found in repository.temporaries(repository.storage):
        log.record(
            "warning", "warning", f"{found.name} is left over from job {job_id}; the next job removes it", 200
        )
    return problems


def _check_snapshot(
    repository: Repository, snapshot: str, damaged: set[str], sizes: dict[bytes, int], log: Log
) -> int:
    def stored_size(chunk: str) -> int | None:
        # A chunk that was not listed may have been stored since, by a job that runs at the same time.
        return sizes.get(bytes.fromhex(chunk)) or repository.chunk_size_stored(chunk)

    problems, path = 0, b""
    try:
        for item in read_manifest(repository, repository.load_snapshot(snapshot)):
            if isinstance(item, Entry):
                path = item.path
                continue
            for name, _ in item:
                if name is not None and (name in damaged or not stored_size(name)):
                    problems += 1
                    state = "damaged" if name in damaged else "missing or empty"
                    log.failure(IntegrityError(f"snapshot {snapshot}: chunk {name} is {state}", path=path))
    except IntegrityError as error:
        problems += 1
        log.failure(IntegrityError(f"snapshot {snapshot}: {error.message}", path=error.path))
    return problems


def _needed(repository: Repository, snapshots: list[str]) -> Iterator[str]:
    for snapshot in snapshots:
        document = repository.load_snapshot(snapshot)
        yield from document["manifest"]
        for item in read_manifest(repository, document):
            if not isinstance(item, Entry):
                yield from (name for name, _ in item if name is not None)


def prune(repository: Repository, keep_last: int | None, grace_s: float) -> tuple[int, int]:
    """Remove all but the newest snapshots (none, without a number), then the chunks that nobody needs.

    Returns how many of each went.

    Chunks younger than the grace period stay, as a running job may just have stored or reused them: no lock is
    needed as long as the grace period outlasts every job.  A damaged snapshot stops it before anything is removed.
    """
    snapshots = repository.snapshots()
    kept = snapshots if keep_last is None else snapshots[-keep_last:]
    needed = {bytes.fromhex(name) for name in _needed(repository, kept)}
    gone = snapshots[: len(snapshots) - len(kept)]
    for snapshot in gone:
        repository.remove_snapshot(snapshot)
    removed = 0
    oldest_kept = time.time() - grace_s
    for found in repository.chunks():
        if bytes.fromhex(found.name) not in needed and found.mtime <= oldest_kept:
            repository.remove_chunk(found.name)
            removed += 1
    return len(gone), removed
