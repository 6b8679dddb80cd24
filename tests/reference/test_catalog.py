"""The catalog outside: told of everything in time, loud when it stays away, never told a lie."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.reference.catalogs import RealCatalog, ToldCatalog, environment, polite
from tests.reference.support import Service, describe, killed_at_end

from backupchaos_reference import catalog as catalogs
from backupchaos_reference.resp import Connection, ReplyError, encode


def served(service: Service, url: str, **more: str) -> Service:
    service.env.update(environment(url, **more))
    for number in range(5):
        (service.source / f"file-{number}").write_bytes(os.urandom(5_000))
    return service


@pytest.mark.needs("redis")
def test_it_knows_the_job_its_states_its_progress_and_its_snapshot(service: Service, tmp_path: Path) -> None:
    with RealCatalog(tmp_path / "redis") as catalog:
        served(service, catalog.url)
        results = [service.backup(), service.backup()]
        assert [result.code for result in results] == [0, 0]
        for job, result, snapshot in zip(catalog.jobs(), results, service.snapshots(), strict=True):
            assert (job["state"], job["snapshot"]) == ("SUCCESS", snapshot)
            assert job["repository"] == str(service.repo) and job["source"] == str(service.source)
            assert job["trace_id"] == result.records[0]["trace_id"]
            assert int(job["entries"]) == 6
        assert results[0].states == ["PENDING", "RUNNING", "SUCCESS"]


@pytest.mark.needs("redis")
def test_it_knows_of_a_failure_too(service: Service, tmp_path: Path) -> None:
    with RealCatalog(tmp_path / "redis") as catalog:
        served(service, catalog.url)
        shutil.rmtree(service.repo)
        assert service.backup().code == 1
        (job,) = catalog.jobs()
        assert job["state"] == "FAILED"
        assert "no repository" in job["reason"]


def test_one_that_refuses_is_given_up_and_named(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    result = served(service, f"redis://default@127.0.0.1:{port}/0").backup()
    assert result.code == 1
    assert result.states == ["PENDING", "RUNNING", *["RETRYING"] * 3, "FAILED"]
    retries = result.events("retry")
    assert [(retry["attempt"], retry["max"], retry["link"]) for retry in retries] == [
        (n, 3, f"redis://127.0.0.1:{port}") for n in (1, 2, 3)
    ]
    assert retries[0]["message"].endswith(
        f"catalog link redis://127.0.0.1:{port} failed: [Errno 111] Connection refused"
    )
    (error,) = result.errors
    assert (error["link"], error["status_code"]) == (f"redis://127.0.0.1:{port}", 503)
    assert service.snapshots() == []
    assert not list((service.repo / "tmp").iterdir()), "the repository was there all the time"


@pytest.mark.needs("redis")
def test_a_silent_one_is_noticed(service: Service, tmp_path: Path) -> None:
    with RealCatalog(tmp_path / "redis") as catalog:
        served(service, catalog.url, TIMEOUT="0.3s", RETRIES="1")
        catalog.freeze()
        started = time.monotonic()
        result = service.backup()
        assert time.monotonic() - started < 5
        assert result.states == ["PENDING", "RUNNING", "RETRYING", "FAILED"]
        assert f"catalog link redis://127.0.0.1:{catalog.port} is silent: no answer within 0.3 s" in str(
            result.errors
        )


def test_one_that_hangs_up_is_told_everything_again(service: Service) -> None:
    hung: list[bytes] = []

    def once(command: bytes) -> bytes | None:
        if b"entries" in command and not hung:
            hung.append(command)
            return None
        return polite(command)

    with ToldCatalog(once) as catalog:
        result = served(service, catalog.url).backup()
        assert (result.code, catalog.connections) == (0, 2)
        assert result.states == ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"]
        lost = catalog.told.index(hung[0])
        assert hung[0] in catalog.told[lost + 1 :]
        assert catalog.states()[-1] == "SUCCESS"


def test_success_is_said_only_when_the_catalog_knows_it(service: Service) -> None:
    seen: list[list[str]] = []

    def slow(command: bytes) -> bytes | None:
        if b"SUCCESS" in command:
            seen.append([step["to"] for step in service.jobs()[-1]["transitions"]])
        return polite(command)

    # In a process of its own: this one asks for the states meanwhile.
    with ToldCatalog(slow) as catalog, killed_at_end(served(service, catalog.url).spawn("backup")) as process:
        assert process.wait(30) == 0
    assert seen == [["PENDING", "RUNNING"]]
    assert service.jobs()[-1]["state"] == "SUCCESS"


def test_what_was_promised_stays_when_the_answer_is_lost(service: Service) -> None:
    """The catalog may have heard it: then the snapshot must be there, whatever the job itself must say."""
    with ToldCatalog(lambda command: None if b"SUCCESS" in command else polite(command)) as catalog:
        result = served(service, catalog.url).backup()
        assert result.code == 1
        assert result.states[-1] == "FAILED" and "SUCCESS" not in result.states
        assert catalog.states().count("SUCCESS") == 4, "it was tried three times more"
    service.env.clear()
    assert len(service.snapshots()) == 1
    assert service.restored() == describe(service.source)
    assert not list((service.repo / "tmp").iterdir())


@pytest.mark.needs("redis")
def test_what_comes_late_changes_nothing(tmp_path: Path) -> None:
    with RealCatalog(tmp_path / "redis") as catalog:

        def apply(number: int, state: str) -> int:
            return int(catalog.ask("EVAL", catalogs._APPLY, 0, "j", number, "state", state))

        assert [apply(0, "PENDING"), apply(2, "SUCCESS"), apply(1, "RUNNING"), apply(2, "FAILED")] == [
            1,
            1,
            0,
            0,
        ]
        assert catalog.jobs() == [{"number": "2", "state": "SUCCESS"}]


@pytest.mark.needs("redis")
def test_a_wrong_password_is_no_matter_of_patience(service: Service, tmp_path: Path) -> None:
    with RealCatalog(tmp_path / "redis") as catalog:
        result = served(service, catalog.url, CATALOG_PASSWORD="wrong").backup()
        assert (result.code, result.events("retry")) == (1, [])
        assert f"the catalog redis://127.0.0.1:{catalog.port} refuses what it is told: WRONGPASS" in str(
            result.errors
        )


def test_one_that_is_not_ready_is_waited_for(service: Service) -> None:
    answers = iter([b"-LOADING Redis is loading the dataset in memory\r\n"])
    with ToldCatalog(lambda command: next(answers, polite(command))) as catalog:
        result = served(service, catalog.url).backup()
        assert result.code == 0
        assert "it is not ready: LOADING" in result.events("retry")[0]["message"]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"*99999999999\r\n", b"\0" * (2 << 20)]
)
def test_nonsense_is_a_failure_of_the_link_and_no_crash(service: Service, answer: bytes) -> None:
    with ToldCatalog(lambda command: answer) as catalog:
        result = served(service, catalog.url, RETRIES="0").backup()
        assert result.code == 1
        assert "no reply of a catalog" in result.errors[-1]["message"]


def test_a_job_that_waits_for_it_ends_at_once_when_told_to(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://default@127.0.0.1:{silent.getsockname()[1]}/0"
        with killed_at_end(served(service, url, TIMEOUT="60s").spawn("backup")) as process:
            assert process.stderr is not None
            while b"RUNNING" not in process.stderr.readline():
                pass
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 128 + signal.SIGTERM
            assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://u:p@h:1/0", "set BACKUPCHAOS_REFERENCE_CATALOG_PASSWORD"),
        ("postgres://h:1/0", "is not redis://user@host:port/number"),
        ("redis://h:1/x", "is not redis://user@host:port/number"),
        ("redis://h:port/0", "catalog redis://h:port/0: "),
    ],
)
def test_a_wrong_address_is_a_mistake_and_no_job(service: Service, url: str, words: str) -> None:
    result = served(service, url).backup()
    assert result.code == 2
    assert words in result.errors[-1]["message"]
    assert service.jobs() == []


def test_a_name_that_nobody_answers_for_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def nobody(*_: object, **__: object) -> None:
        answered.wait(60)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="lookup of nowhere"):
        Connection("nowhere", 1, 0.1)
    assert time.monotonic() - started < 30
    answered.set()


def test_replies_of_every_kind() -> None:
    replies = b"+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n:1\r\n*-1\r\n-ERR no\r\n"
    with ToldCatalog(lambda command: replies) as told:
        connection = Connection("127.0.0.1", int(told.url.split(":")[2][:-2]), 5)
        connection.send(encode("x", 1))
        assert [connection.reply() for _ in range(5)] == ["OK", -7, "a\r\n", None, [1, None]]
        with pytest.raises(ReplyError, match="ERR no"):
            connection.reply()
        connection.close()
