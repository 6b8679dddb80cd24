"""The state database: every job and every transition, durable before anybody hears of it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from backupchaos_reference import misbehaviour, process
from backupchaos_reference.errors import DiskFullError, EngineError, UsageError
from backupchaos_reference.log import Log, timestamp
from backupchaos_reference.states import ENDED, State, guard

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, repository TEXT NOT NULL, source TEXT NOT NULL,
    pid INTEGER NOT NULL, pid_start INTEGER NOT NULL, boot_id TEXT NOT NULL, state TEXT NOT NULL,
    created TEXT NOT NULL, ended TEXT, snapshot TEXT, status_code INTEGER, error TEXT
);
CREATE TABLE IF NOT EXISTS transitions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL REFERENCES jobs(job_id),
    origin TEXT, target TEXT NOT NULL, ts TEXT NOT NULL, reason TEXT NOT NULL
);
"""


class JobStore:
    """SQLite with full synchronisation.  Every method raises EngineError when the database cannot be used."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        if not create and not os.path.exists(path):
            raise UsageError(f"there is no state database at {path}; 'backup --state' makes one")
        self.path = path
        with self._errors():
            self._database = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        self._database.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            kind = DiskFullError if "full" in str(error) else EngineError
            raise kind(f"cannot use the state database {self.path}: {error}", path=self.path) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def add(self, job_id: str, trace_id: str, repository: str, source: str) -> None:
        """Record a new job in state PENDING, owned by this process."""
        owner, now = process.current(), timestamp()
        with self._transaction() as database:
            database.execute(
                "INSERT INTO jobs (job_id, trace_id, repository, source, pid, pid_start, boot_id, state, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, trace_id, repository, source, *owner, State.PENDING, now),
            )
            self._record(database, job_id, None, State.PENDING, "created")

    def move(self, job_id: str, to: State, reason: str, **details: Any) -> State:
        """Persist a transition and return the state before it.  Raises IllegalTransitionError."""
        with self._transaction() as database:
            row = database.execute("SELECT state FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
            origin = State(row["state"])
            if not misbehaviour.on("illegal_transition"):
                guard(origin, to)
            ended = timestamp() if to in ENDED else None
            database.execute(
                "UPDATE jobs SET state = ?, ended = ?, snapshot = ?, status_code = ?, error = ? WHERE job_id = ?",
                (
                    to,
                    ended,
                    details.get("snapshot"),
                    details.get("status_code"),
                    details.get("error"),
                    job_id,
                ),
            )
            self._record(database, job_id, origin, to, reason)
        return origin

    @staticmethod
    def _record(
        database: sqlite3.Connection, job_id: str, origin: State | None, to: State, reason: str
    ) -> None:
        database.execute(
            "INSERT INTO transitions (job_id, origin, target, ts, reason) VALUES (?, ?, ?, ?, ?)",
            (job_id, origin, to, timestamp(), reason),
        )

    def close_dead(self, log: Log) -> list[str]:
        """End as FAILED every job whose process is gone; their uploads stay and are reused.  Returns their ids."""
        closed = []
        with self._errors():
            rows = self._database.execute(
                "SELECT * FROM jobs WHERE state NOT IN ('SUCCESS', 'FAILED')"
            ).fetchall()
        for row in rows:
            owner = process.Identity(row["pid"], row["pid_start"], row["boot_id"])
            if process.alive(owner):
                continue
            reason = f"interrupted: process {owner.pid} is gone"
            self.move(row["job_id"], State.FAILED, reason, status_code=500, error=reason)
            log.record(
                "warning",
                "job.interrupted",
                f"job {row['job_id']} was {reason}",
                500,
                interrupted_job_id=row["job_id"],
            )
            closed.append(str(row["job_id"]))
        return closed

    def is_over(self, job_id: str) -> bool:
        """Whether this database knows the job and knows that it has ended."""
        with self._errors():
            row = self._database.execute("SELECT state FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return row is not None and State(row["state"]) in ENDED

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, oldest first, each with all its transitions."""
        with self._errors():
            rows = self._database.execute("SELECT * FROM jobs ORDER BY rowid").fetchall()
            return [dict(row) | {"transitions": self._transitions(row["job_id"])} for row in rows]

    def _transitions(self, job_id: str) -> list[dict[str, Any]]:
        query = 'SELECT origin AS "from", target AS "to", ts, reason FROM transitions WHERE job_id = ? ORDER BY number'
        with closing(self._database.execute(query, (job_id,))) as cursor:
            return [dict(row) for row in cursor]
