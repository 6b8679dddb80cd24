"""A job: its state, persisted before it is logged, what the catalog is told, and what it says about retries."""

from __future__ import annotations

from backupchaos_reference import errors, misbehaviour
from backupchaos_reference.catalog import open_catalog, registration
from backupchaos_reference.errors import EngineError
from backupchaos_reference.jobs import JobStore
from backupchaos_reference.log import Log
from backupchaos_reference.planted import hushed
from backupchaos_reference.settings import Settings
from backupchaos_reference.signals import SignalGuard
from backupchaos_reference.states import State

_CODES = {
    State.PENDING: errors.START,
    State.RUNNING: errors.RUNNING,
    State.RETRYING: errors.RETRYING,
    State.SUCCESS: errors.SUCCESS,
    State.FAILED: errors.OTHER,
}


class CommandListener:
    """Says about retries of a command that has no state (restore, check ...)."""

    def __init__(self, log: Log, guard: SignalGuard) -> None:
        self.log = log
        self.guard = guard

    def retrying(self, error: EngineError, attempt: int, maximum: int, delay: float) -> None:
        """See retry.Listener."""
        endless = misbehaviour.on("retry_forever")
        limit = "without end" if endless else f"of {maximum}"
        self.log.record(
            "warning",
            "retry",
            f"retry {attempt} {limit} in {delay:.3f} s: {error.message}",
            error.status_code,
            attempt=attempt,
            max=None if endless else maximum,
            delay_s=round(delay, 6),
            cause=error.message,
            path=None if error.path is None else errors.show(error.path),
            link=error.link,
        )

    def recovered(self) -> None:
        """See retry.Listener."""

    def checkpoint(self) -> None:
        """See retry.Listener."""
        self.guard.check()


class Job(CommandListener):
    """One backup.  Created PENDING; `to` moves it on.  A catalog, if there is one, is told of all that."""

    def __init__(
        self,
        store: JobStore,
        log: Log,
        guard: SignalGuard,
        repository: str,
        source: str,
        *,
        catalog: str = "",
        settings: Settings | None = None,
    ) -> None:
        super().__init__(log, guard)
        self._store = store
        self.state = State.PENDING
        self.last_code = errors.START
        self.catalog = open_catalog(catalog, settings or Settings(), log.job_id, self)
        self.survived = False
        """A trouble has passed."""
        self.promised = False
        """The catalog may believe that the job is a success: what that rests on must stay."""
        store.add(log.job_id, log.trace_id, repository, source)
        log.record("info", "job.start", f"backup of {source} to {repository}", errors.START, source=source)
        log.record("info", "state", "job is PENDING", errors.START, to=State.PENDING)
        self.catalog.note(**registration(repository, source, log.trace_id))

    def to(
        self, state: State, reason: str, status_code: int | None = None, *, snapshot: str | None = None
    ) -> None:
        """Persist a transition, then log it.  Raises IllegalTransitionError, or EngineError from the database."""
        code = _CODES[state] if status_code is None else status_code
        failed = state is State.FAILED
        if misbehaviour.on("illegal_transition") and state is State.RUNNING:
            return
        origin = self._store.move(
            self.log.job_id,
            state,
            reason,
            status_code=code,
            snapshot=snapshot,
            error=reason if failed else None,
        )
        self.state, self.last_code = state, code
        self._tell(state, reason)
        fields = {"from": origin, "to": state, "snapshot": snapshot}
        self.log.record(
            "error" if failed else "info",
            "state",
            f"job went from {origin} to {state}: {reason}",
            code,
            **fields,
        )
        if failed and misbehaviour.on("illegal_transition"):
            self._store.move(
                self.log.job_id, State.SUCCESS, "planted: a failed job rises again", status_code=200
            )

    def _tell(self, state: State, reason: str) -> None:
        """The catalog's state; once success was promised to it, only a failure can follow."""
        hasty = misbehaviour.on("catalog_success_first")
        if hasty and state is State.RUNNING:
            self.promise("soon")
        if not self.promised or (state is State.FAILED and not hasty):
            self.catalog.note(state=state, reason=reason)

    def promise(self, snapshot: str) -> None:
        """Tell the catalog of the success, and wait until it knows.  Raises EngineError when it stays away."""
        if not self.promised:
            self.promised = True
            self.catalog.note(state=State.SUCCESS, snapshot=snapshot)
        self.catalog.settle()

    def farewell(self, error: EngineError) -> None:
        """The last word of a job that has failed, unless it was the catalog that could not be reached."""
        if error.link and error.link == self.catalog.link:
            return
        try:
            self.catalog.farewell()
        except EngineError as trouble:
            self.log.record(
                "warning",
                "warning",
                f"the catalog does not know that the job has failed: {trouble.message}",
                trouble.status_code,
                link=trouble.link,
            )

    def retrying(self, error: EngineError, attempt: int, maximum: int, delay: float) -> None:
        """See retry.Listener."""
        error = hushed(self, error)
        self.to(State.RETRYING, error.message, error.status_code)
        super().retrying(error, attempt, maximum, delay)

    def recovered(self) -> None:
        """See retry.Listener."""
        self.survived = True
        if self.state is not State.RUNNING:
            self.to(State.RUNNING, "the operation went through after a retry")
