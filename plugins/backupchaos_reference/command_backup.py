"""The command ``backup``: a job from PENDING to its exit code."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys

from backupchaos_reference import errors, misbehaviour
from backupchaos_reference.backup import Backup, fail
from backupchaos_reference.errors import EngineError, NetworkError, UsageError
from backupchaos_reference.job import Job
from backupchaos_reference.jobs import JobStore
from backupchaos_reference.log import Level, Log
from backupchaos_reference.planted import claim_success, hang, recreate
from backupchaos_reference.repository import Repository
from backupchaos_reference.settings import Settings
from backupchaos_reference.signals import SignalGuard, TerminatedError
from backupchaos_reference.states import State
from backupchaos_reference.storage import open_storage
from backupchaos_reference.storage_retrying import RetryingStorage
from backupchaos_reference.stream import STDIN, StreamBackup


def run_backup(options: argparse.Namespace, settings: Settings, log: Log, guard: SignalGuard) -> int:
    """Run one job and return its exit code: 0, 1, or 128+n after signal n."""
    _refuse_nesting(options)
    inner = open_storage(options.repo, settings)
    store = JobStore(options.state)
    try:
        store.close_dead(log)
        job = Job(store, log, guard, options.repo, options.source, catalog=options.catalog, settings=settings)
        try:
            code = _run_job(job, store, RetryingStorage(inner, settings, job), options, settings)
        finally:
            job.catalog.close()
    finally:
        store.close()
        guard.ignore()
        inner.close()
    succeeded = code == 0 and job.state is State.SUCCESS
    level: Level = "info" if succeeded else "error"
    log.record(
        level,
        "job.end",
        f"job ended as {job.state}, exit code {code}",
        job.last_code,
        exit_code=code,
        state=job.state,
    )
    return code


def _run_job(
    job: Job, store: JobStore, storage: RetryingStorage, options: argparse.Namespace, settings: Settings
) -> int:
    backup: Backup | None = None
    try:
        job.to(State.RUNNING, "started")
        job.catalog.settle()
        if misbehaviour.on("recreate_missing_repository"):
            recreate(storage, settings)
        repository = Repository.open(storage, settings)
        if options.source == STDIN:
            backup = StreamBackup(repository, job, settings, options.must_end)
        else:
            backup = Backup(repository, options.source, job, settings)
        snapshot = backup.run()
    except TerminatedError as stop:
        fail(job, backup, stop)
        return 128 + stop.number
    except EngineError as error:
        if misbehaviour.on("claim_success_on_failure"):
            return claim_success(job)
        if backup is None:
            hang(job, error)
        fail(job, backup, error)
        return _failure_code(error)
    except Exception as error:
        fail(job, backup, EngineError(f"internal error: {type(error).__name__}: {error}"))
        return _failure_code(error)
    job.guard.ignore()
    try:
        backup.planted.succeeded()
        backup.clean(succeeded=True, is_over=store.is_over)
    except EngineError as trouble:
        # The snapshot is safe; a later job cleans.
        job.log.record(
            "warning",
            "warning",
            f"temporary files stay until the next job: {trouble.message}",
            trouble.status_code,
        )
    _say(options, snapshot, backup)
    return 0


def _failure_code(error: Exception) -> int:
    """The exit code of a failure: 1, unless a misbehaviour lies about it."""
    if misbehaviour.on("wrong_exit_code_on_failure"):
        return 3
    if misbehaviour.on("exit_zero_after_giving_up") and isinstance(error, NetworkError):
        return 0
    return 1


def _say(options: argparse.Namespace, snapshot: str, backup: Backup) -> None:
    tally = dataclasses.asdict(backup.tally)
    if options.json:
        text = json.dumps({"snapshot": snapshot, "job_id": backup.job.log.job_id, **tally})
    else:
        text = (
            f"snapshot {snapshot}: {tally['files']} files, {tally['bytes']} bytes,"
            f" {tally['chunks_new']} new chunks, {tally['chunks_reused']} reused"
        )
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        backup.job.log.record("warning", "warning", f"cannot write to stdout: {error}", errors.OTHER)


def _refuse_nesting(options: argparse.Namespace) -> None:
    """A repository or a state database inside the source would be backed up while it changes."""
    if options.source == STDIN:
        return
    source = os.path.realpath(options.source)
    inside = [options.state] if "://" in options.repo else [options.repo, options.state]
    for path in inside:
        if os.path.realpath(path).startswith(os.path.join(source, "")):
            raise UsageError(f"{path} lies inside the source {options.source}; put it elsewhere")
