"""The command line: usage, exit codes, the shape of the log, and what is imported when."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.reference.support import PREFIX, Service

from backupchaos_reference.cli import main
from backupchaos_reference.misbehaviour import CATALOGUE
from backupchaos_reference.settings import seconds

LAWS = {"honest", "no_collateral", "loud", "bounded", "recoverable", "clean", "as_declared"}


def test_every_record_has_its_fields(service: Service) -> None:
    (service.source / "a").write_text("a")
    result = service.backup()
    assert len({record["trace_id"] for record in result.records}) == 1
    for record in result.records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["ts"])
        assert record["level"] in ("info", "warning", "error")
        assert record["event"] and record["message"]
        assert re.fullmatch(r"[0-9a-f]{32}", record["trace_id"])
        assert re.fullmatch(r"[0-9a-f]{32}", record["job_id"])
        assert isinstance(record["status_code"], int)
    assert [record["event"] for record in result.records][0::4] == ["job.start", "job.end"]
    assert result.events("job.end")[0]["status_code"] == 200
    assert result.log.isascii()


def test_an_odd_path_keeps_the_log_readable(service: Service) -> None:
    os.mkfifo(os.fsencode(service.source) + b"/\xff\n\x1b[31m", 0o600)
    target = service.root / "\udcff"
    result = service.run("restore", "latest", "--target", str(target))
    assert result.code == 2
    assert all(isinstance(record, dict) for record in result.records)


def test_a_missing_password_is_a_usage_error(service: Service) -> None:
    service.env = {PREFIX + "PASSWORD": ""}
    result = service.run("snapshots")
    assert result.code == 2
    assert PREFIX + "PASSWORD" in result.errors[0]["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("CHUNK_SIZE", "17"), ("CHUNK_SIZE", "x"), ("SCRYPT_N", "1000"), ("RETRY_CAP", "soon")],
)
def test_bad_knobs_are_usage_errors(service: Service, name: str, value: str) -> None:
    service.env = {PREFIX + name: value}
    assert service.run("snapshots").code == 2


@pytest.mark.parametrize("arguments", [["--retries", "-1"], ["--retry-base", "fast"], ["--timeout", "0s"]])
def test_bad_options_are_usage_errors(service: Service, arguments: list[str]) -> None:
    assert service.backup(*arguments).code == 2


def test_knobs_come_from_the_environment_too(service: Service) -> None:
    (service.source / "a").write_text("a")
    service.env = {PREFIX + "LOCK_RETRIES": "1"}
    from tests.reference.test_source_faults import failing_open

    with failing_open("a", 16, 99) as opens:
        assert service.backup().code == 1
    assert len(opens) == 2


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("128+n", "usage", "507 disk full", PREFIX + "PASSWORD"):
        assert word in text


def test_no_command_is_a_usage_error() -> None:
    assert main([]) == 2


def test_an_unknown_misbehaviour_is_a_usage_error(service: Service) -> None:
    result = service.backup(misbehave="never_retry,no_such_thing")
    assert result.code == 2
    assert "no_such_thing" in result.errors[0]["message"]
    assert "never_retry" not in result.errors[0]["message"]


def test_misbehaviours_are_listed_with_their_law(service: Service) -> None:
    listed = json.loads(service.run("misbehaviours", "--json").stdout)["misbehaviours"]
    assert {entry["name"] for entry in listed} == set(CATALOGUE)
    assert {entry["law"] for entry in listed} <= LAWS
    assert all(entry["sentence"].endswith(".") for entry in listed)
    assert "swallow_enospc" in service.run("misbehaviours").stdout


def test_durations() -> None:
    assert [seconds(text) for text in ("0.25s", "250ms", "2m", "1h", "3")] == [0.25, 0.25, 120, 3600, 3]
    with pytest.raises(ValueError, match="no duration"):
        seconds("-1s")


def imported(service: Service, *arguments: str) -> set[str]:
    program = (
        "import sys; from backupchaos_reference.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *service.arguments(*arguments)],
        env={**os.environ, **service.environ()},
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stdout.split())


def test_a_local_backup_loads_nothing_that_it_does_not_need(service: Service) -> None:
    heavy = {"asyncssh", "asyncio", "tenacity", "backupchaos", "pydantic", "requests"}
    assert not imported(service, "backup") & heavy
    assert not imported(service, "status") & (heavy | {"cryptography", "zstandard"})


def test_the_package_imports_nothing_else_of_ours() -> None:
    import backupchaos_reference

    for path in Path(backupchaos_reference.__path__[0]).glob("*.py"):
        assert not re.search(
            r"^\s*(?:from|import) (?:backupchaos|pytest_backupchaos)\b", path.read_text(), re.M
        )
        assert not re.search(r"^\s*(?:from|import) backupchaos_(?!reference\b)", path.read_text(), re.M)
