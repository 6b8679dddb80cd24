"""Which events of a link show that the job tried again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.engine.observers import JobObserver
from backupchaos.history import History

TWO = ["catalog", "repository"]


def retries(*told: tuple[float, str, dict[str, Any]]) -> list[tuple[str, str]]:
    """(cause, link) of each retry that is seen when a link that is down tells of these."""
    history = History(clock=lambda: 0.0)
    facts = cast(Any, SimpleNamespace(states=[], attempts=0))
    observer = JobObserver(
        history, cast(Any, None), cast(Any, SimpleNamespace(retries="link")), "fault", facts
    )
    for t, ev, data in ((0.1, "down", {}), *told):
        observer.on_link(SimpleNamespace(t=t, ev=ev, link="repository", data=data))
    return [(event["cause"], event["link"]) for event in history.of("retry")]


@pytest.mark.parametrize(
    ("whose", "seen"),
    [
        ({}, [("connection refused", "repository")]),
        ({"shared": TWO}, [("connection refused", "")]),
        ({"strangers": True}, []),
        ({"strangers": True, "shared": TWO}, []),
    ],
    ids=["its own", "another link's", "strangers'", "anybody's"],
)
def test_a_refusal_is_a_retry_if_it_was_the_jobs(whose: dict[str, Any], seen: list[tuple[str, str]]) -> None:
    assert retries((1.0, "refused", {"count": 3, **whose})) == seen


def test_attempts_apart_are_retries_and_a_burst_is_one() -> None:
    assert len(retries(*((t, "open", {}) for t in (1.0, 1.001, 2.0, 3.0)))) == 3
