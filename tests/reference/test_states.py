"""The state machine: which transitions exist, and that they are durable before anybody hears of them."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.reference.support import Service

from backupchaos_reference.jobs import JobStore
from backupchaos_reference.log import Log
from backupchaos_reference.states import IllegalTransitionError, State, guard

LEGAL = {
    ("PENDING", "RUNNING"), ("PENDING", "FAILED"), ("RUNNING", "RETRYING"), ("RUNNING", "SUCCESS"),
    ("RUNNING", "FAILED"), ("RETRYING", "RETRYING"), ("RETRYING", "RUNNING"), ("RETRYING", "FAILED"),
}  # fmt: skip


@pytest.mark.parametrize(("origin", "to"), list(itertools.product(State, State)))
def test_exactly_the_legal_transitions_pass(origin: State, to: State) -> None:
    if (origin, to) in LEGAL:
        guard(origin, to)
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {origin} to {to}"):
            guard(origin, to)


def test_an_illegal_transition_changes_nothing(tmp_path: Path) -> None:
    store = JobStore(str(tmp_path / "state.db"))
    store.add("1" * 32, "2" * 32, "repo", "source")
    with pytest.raises(IllegalTransitionError):
        store.move("1" * 32, State.SUCCESS, "a lie")
    (job,) = store.jobs()
    assert job["state"] == "PENDING"
    assert [step["to"] for step in job["transitions"]] == ["PENDING"]
    store.close()


def test_a_state_is_in_the_database_before_it_is_in_the_log(service: Service) -> None:
    seen: list[tuple[str, str]] = []
    honest = Log.record

    def look(log: Log, level: Any, event: str, message: str, status_code: int, **fields: Any) -> None:
        if event == "state":
            database = sqlite3.connect(service.state)
            seen.append((fields["to"], database.execute("SELECT state FROM jobs").fetchone()[0]))
            database.close()
        honest(log, level, event, message, status_code, **fields)

    with mock.patch.object(Log, "record", look):
        assert service.backup().code == 0
    assert seen == [("PENDING", "PENDING"), ("RUNNING", "RUNNING"), ("SUCCESS", "SUCCESS")]


def test_status_shows_every_transition_with_its_time(service: Service) -> None:
    assert service.backup().code == 0
    (job,) = service.jobs()
    steps = job["transitions"]
    assert [(step["from"], step["to"]) for step in steps] == [
        (None, "PENDING"), ("PENDING", "RUNNING"), ("RUNNING", "SUCCESS"),
    ]  # fmt: skip
    assert [step["ts"] for step in steps] == sorted(step["ts"] for step in steps)
    assert job["snapshot"] == service.snapshots()[0]
    text = service.run("status").stdout
    assert "PENDING RUNNING SUCCESS" in text


def test_a_job_of_a_living_process_is_left_alone(service: Service) -> None:
    store = JobStore(str(service.state))
    store.add("1" * 32, "2" * 32, "repo", "source")  # owned by this very process
    store.close()
    assert service.backup().code == 0
    assert service.jobs()[0]["state"] == "PENDING"


def test_a_reused_process_id_does_not_keep_a_dead_job_alive(service: Service) -> None:
    store = JobStore(str(service.state))
    store.add("1" * 32, "2" * 32, "repo", "source")
    store.close()
    database = sqlite3.connect(service.state)
    database.execute("UPDATE jobs SET pid_start = pid_start - 1")
    database.commit()
    database.close()
    result = service.backup()
    assert result.code == 0
    assert service.jobs()[0]["state"] == "FAILED"
    assert "interrupted" in service.jobs()[0]["error"]
    assert result.events("job.interrupted")[0]["interrupted_job_id"] == "1" * 32


def test_status_without_a_database_is_a_usage_error(service: Service) -> None:
    result = service.run("status", "--json")
    assert result.code == 2
    assert not service.state.exists()


def test_an_unusable_database_is_a_failure_and_no_traceback(service: Service) -> None:
    service.state.write_bytes(b"this is no database" * 100)
    result = service.backup()
    assert result.code == 1
    assert str(service.state) in result.errors[0]["message"]
