"""Trying again: what, how often, and how long to wait in between (tenacity does the counting and waiting)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from backupchaos_reference import misbehaviour
from backupchaos_reference.errors import ChangedError, EngineError, LockedError, NetworkError
from backupchaos_reference.settings import Settings

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")


class Listener(Protocol):
    """Who wants to know about retries."""

    def retrying(self, error: EngineError, attempt: int, maximum: int, delay: float) -> None:
        """`error` happened; retry number `attempt` of at most `maximum` follows after `delay` seconds."""

    def recovered(self) -> None:
        """The operation went through after a retry."""

    def checkpoint(self) -> None:
        """Called before each wait: the place to raise when the job has been told to stop."""


def backoff(settings: Settings, attempt: int) -> float:
    """Seconds before retry number `attempt` (from 1): base doubled each time, plus up to a quarter, capped.

    The jitter is smaller than the growth, so gaps grow strictly until they reach the cap.
    """
    if misbehaviour.on("retry_without_backoff"):
        return 0.0
    if misbehaviour.on("retry_decreasing_backoff"):
        attempt = max(1, settings.retries - attempt + 1)
    delay = settings.retry_base * 2.0 ** min(attempt - 1, 32)
    return min(settings.retry_cap, delay * random.uniform(1.0, 1.25))


def _nap(seconds: float) -> None:
    """Sleep in short pieces: a signal that comes just before a long sleep begins would wait for its end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.25))


class Retrier:
    """Runs operations again after errors that may pass: a link that is down, a file that is locked or changes.

    Each operation that goes through is progress, so the count starts anew with every operation.
    """

    def __init__(self, settings: Settings, listener: Listener, reconnect: Callable[[], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._reconnect = reconnect

    def maximum(self, error: BaseException | None) -> int:
        """How many retries `error` is worth."""
        if misbehaviour.on("never_retry"):
            return 0
        if isinstance(error, NetworkError):
            return 1 << 62 if misbehaviour.on("retry_forever") else self._settings.retries
        return self._settings.lock_retries if isinstance(error, LockedError | ChangedError) else 0

    def call(self, operation: Callable[[], T], *passing: type[EngineError]) -> T:
        """The result of `operation`; errors of the kind `passing` are retried, the last one is raised."""
        try:
            return operation()
        except passing as error:
            return self._again(operation, error, passing)

    def _again(
        self, operation: Callable[[], T], first: EngineError, passing: tuple[type[EngineError], ...]
    ) -> T:
        """Leave the rest to tenacity, which is imported only now: most jobs never need it."""
        import tenacity

        outcomes: list[EngineError] = [first]

        def attempt() -> T:
            if outcomes:
                raise outcomes.pop()
            if misbehaviour.on("claims_retry_without_trying"):
                raise first
            return operation()

        def before_sleep(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, EngineError):
                self._before_retry(error, state)

        retrying: Any = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(passing),
            stop=self._is_enough,
            wait=lambda state: backoff(self._settings, state.attempt_number),
            before_sleep=before_sleep,
            sleep=_nap,
            reraise=True,
        )
        result: T = retrying(attempt)
        self._listener.recovered()
        return result

    def _is_enough(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return state.attempt_number > self.maximum(error)

    def _before_retry(self, error: EngineError, state: tenacity.RetryCallState) -> None:
        delay = state.next_action.sleep if state.next_action else 0.0
        self._listener.checkpoint()
        self._listener.retrying(error, state.attempt_number, self.maximum(error), delay)
        if isinstance(error, NetworkError):
            self._reconnect()
