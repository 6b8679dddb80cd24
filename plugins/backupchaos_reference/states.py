"""The states of a job and the transitions that are allowed between them."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


ENDED = frozenset({State.SUCCESS, State.FAILED})

# RETRYING follows itself: each further attempt of the same operation is a transition of its own, so that the
# number of retries can be read from the states alone.
LEGAL: dict[State | None, frozenset[State]] = {
    None: frozenset({State.PENDING}),
    State.PENDING: frozenset({State.RUNNING, State.FAILED}),
    State.RUNNING: frozenset({State.RETRYING, State.SUCCESS, State.FAILED}),
    State.RETRYING: frozenset({State.RETRYING, State.RUNNING, State.FAILED}),
    State.SUCCESS: frozenset(),
    State.FAILED: frozenset(),
}


class IllegalTransitionError(RuntimeError):
    """A transition that the table does not allow: a bug of the engine."""


def guard(origin: State | None, to: State) -> None:
    """Raise IllegalTransitionError unless `origin` may become `to`."""
    if to not in LEGAL[origin]:
        raise IllegalTransitionError(f"a job may not go from {origin or 'nothing'} to {to}")
