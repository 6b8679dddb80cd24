"""The commands that need the repository, besides ``backup``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backupchaos_reference import errors
from backupchaos_reference.errors import IntegrityError, UsageError
from backupchaos_reference.job import CommandListener
from backupchaos_reference.log import Log
from backupchaos_reference.repository import Repository
from backupchaos_reference.settings import Settings
from backupchaos_reference.signals import SignalGuard
from backupchaos_reference.storage import open_storage
from backupchaos_reference.storage_retrying import RetryingStorage

Command = Callable[[argparse.Namespace, Settings, Log, SignalGuard], int]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def _storage(
    options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard
) -> Iterator[RetryingStorage]:
    inner = open_storage(options.repo, settings)
    log.record("info", "command.start", f"{options.command} of {options.repo}", errors.START)
    try:
        yield RetryingStorage(inner, settings, CommandListener(log, guard))
    finally:
        inner.close()


def _end(log: Log, problems: int, message: str) -> int:
    if problems:
        log.record("error", "command.end", message, IntegrityError.status_code, exit_code=1)
        return 1
    log.record("info", "command.end", message, errors.SUCCESS, exit_code=0)
    return 0


def _init(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    with _storage(options, settings, log, guard) as storage:
        Repository.create(storage, settings, log.job_id)
        _say(f"made a repository at {options.repo}")
        return _end(log, 0, "repository made")


def _snapshots(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    found: list[dict[str, Any]] = []
    problems = 0
    with _storage(options, settings, log, guard) as storage:
        repository = Repository.open(storage, settings)
        for snapshot in repository.snapshots():
            try:
                document = repository.load_snapshot(snapshot)
            except IntegrityError as error:
                problems += 1
                log.failure(error)
                found.append({"id": snapshot, "damaged": True})
            else:
                found.append({name: value for name, value in document.items() if name != "manifest"})
    if options.json:
        _say(json.dumps({"snapshots": found}))
    else:
        for entry in found:
            what = "damaged" if entry.get("damaged") else f"{entry['files']} files, {entry['bytes']} bytes"
            _say(f"{entry['id']}  {what}")
    return _end(log, problems, f"{len(found)} snapshots")


def _restore(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    from backupchaos_reference.restore import Restore

    with _storage(options, settings, log, guard) as storage:
        repository = Repository.open(storage, settings)
        snapshot = options.snapshot
        if snapshot == "latest":
            known = repository.snapshots()
            if not known:
                raise UsageError(f"there is no snapshot in {options.repo} yet")
            snapshot = known[-1]
        restore = Restore(repository, options.target, log)
        problems = restore.run(repository.load_snapshot(snapshot))
    _say(
        f"restored {restore.entries} entries of snapshot {snapshot} to {options.target}, {problems} problems"
    )
    return _end(log, problems, f"snapshot {snapshot} restored with {problems} problems")


def _check(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    from backupchaos_reference.maintenance import check

    with _storage(options, settings, log, guard) as storage:
        problems = check(Repository.open(storage, settings), log, read_data=options.read_data)
    _say(f"{problems} problems" if problems else "no problems")
    return _end(log, problems, f"check found {problems} problems")


def _prune(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    from backupchaos_reference.maintenance import prune

    with _storage(options, settings, log, guard) as storage:
        snapshots, chunks = prune(Repository.open(storage, settings), options.keep_last, options.grace)
    _say(f"removed {snapshots} snapshots and {chunks} chunks")
    return _end(log, 0, f"removed {snapshots} snapshots and {chunks} chunks")


def _unlock(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    from backupchaos_reference.planted import unlock

    with _storage(options, settings, log, guard) as storage:
        found = unlock(Repository.open(storage, settings))
    _say("lock removed" if found else "nothing to unlock: jobs take no locks")
    return _end(log, 0, "unlocked")


WITH_REPOSITORY: dict[str, Command] = {
    "init": _init,
    "snapshots": _snapshots,
    "restore": _restore,
    "check": _check,
    "prune": _prune,
    "unlock": _unlock,
}
