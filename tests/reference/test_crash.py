"""Jobs that are killed or told to stop."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.reference.remote import Remote
from tests.reference.support import PREFIX, Result, Service, describe, killed_at_end


def stop_in_the_middle(far: Service, remote: Remote, number: int, misbehave: str = "") -> Result:
    """Run a job, let its link fall silent in the middle of an upload, and send it a signal there."""
    (far.source / "data").write_bytes(os.urandom(60_000))
    remote.cut_at, remote.then = remote.bytes_up + 30_000, "silent"
    remote.tripped.clear()
    with killed_at_end(far.spawn("backup", misbehave=misbehave)) as process:
        assert remote.tripped.wait(60)
        process.send_signal(number)
        output, log = process.communicate(timeout=60)
        code = process.returncode
    remote.do(_cut(remote))
    remote.mode = "pass"
    return Result(code, output.decode(), log)


async def _cut(remote: Remote) -> None:
    remote._cut()


def temporaries(remote: Remote) -> list[Path]:
    return list((remote.folder / "repo" / "tmp").iterdir())


def test_the_job_after_a_kill_closes_it_and_reuses_its_uploads(far: Service, remote: Remote) -> None:
    assert stop_in_the_middle(far, remote, signal.SIGKILL).code == -signal.SIGKILL
    assert far.jobs()[0]["state"] == "RUNNING"
    assert temporaries(remote)
    assert far.snapshots() == []
    result = far.backup("--json")
    assert result.code == 0
    assert [job["state"] for job in far.jobs()] == ["FAILED", "SUCCESS"]
    assert json.loads(result.stdout)["chunks_reused"] >= 3
    assert temporaries(remote) == []
    assert far.restored() == describe(far.source)
    assert far.run("check", "--read-data").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_job_as_failed(far: Service, remote: Remote, number: signal.Signals) -> None:
    result = stop_in_the_middle(far, remote, number)
    assert result.code == 128 + number
    assert result.states[-1] == "FAILED"
    assert number.name in result.errors[-1]["message"]
    assert far.jobs()[0]["state"] == "FAILED"
    assert far.snapshots() == []
    assert far.backup().code == 0
    assert temporaries(remote) == []


def test_a_signal_leaves_no_temporary_file_where_the_link_still_works(far: Service, remote: Remote) -> None:
    (far.source / "data").write_bytes(os.urandom(60_000))
    remote.files.stall_at = 5
    with killed_at_end(far.spawn("backup", "--timeout", "20s")) as process:
        assert remote.files.stalled.wait(60)
        assert len(temporaries(remote)) == 1
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert temporaries(remote) == [], log


def test_a_signal_while_the_link_is_down_ends_the_job_without_trying_again(
    far: Service, remote: Remote
) -> None:
    (far.source / "data").write_bytes(os.urandom(60_000))
    remote.cut_at, remote.then = remote.bytes_up + 30_000, "refuse"
    far.env = far.env | {PREFIX + "RETRY_BASE": "60s", PREFIX + "RETRY_CAP": "60s"}
    with killed_at_end(far.spawn("backup")) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        assert any(b'"event": "retry"' in line for line in lines)
        connections = len(remote.connections)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert len(remote.connections) == connections
    assert far.jobs()[-1]["state"] == "FAILED"


def test_temporary_files_of_strangers_stay(service: Service) -> None:
    (service.repo / "tmp" / "notes.txt").write_text("not ours")
    young = service.repo / "tmp" / f"{'a' * 32}.1.part"
    young.write_text("another machine's job")
    old = service.repo / "tmp" / f"{'b' * 32}.1.part"
    old.write_text("nobody's")
    os.utime(old, (0, 0))
    assert service.backup().code == 0
    assert sorted(path.name for path in (service.repo / "tmp").iterdir()) == [young.name, "notes.txt"]
