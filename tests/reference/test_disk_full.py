"""A full disk, at every possible byte: in a fake file system, and with injected errors on the real one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyfakefs.fake_filesystem_unittest import Patcher
from tests.reference.support import Service, describe


def failing_write(service: Service, code: int, after: int) -> Any:
    """Writes into the repository fail with `code` from the one after the first `after` on."""
    honest, seen = os.write, [0]

    def write(descriptor: int, data: Any) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(service.repo)):
            seen[0] += 1
            if seen[0] > after:
                raise OSError(code, os.strerror(code))
        return honest(descriptor, data)

    return mock.patch("os.write", write)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("after", [0, 2, 5])
def test_a_full_disk_fails_the_job_loudly_and_harms_nothing(service: Service, code: int, after: int) -> None:
    (service.source / "old").write_bytes(os.urandom(9_000))
    assert service.backup().code == 0
    old = describe(service.source)
    (service.source / "new").write_bytes(os.urandom(20_000))
    with failing_write(service, code, after):
        result = service.backup()
    assert result.code == 1
    assert result.states == ["PENDING", "RUNNING", "FAILED"]
    assert result.events("retry") == []
    assert result.errors[-1]["status_code"] == 507
    assert "disk full" in result.errors[-1]["message"]
    assert str(service.repo) in result.errors[-1]["path"]
    assert not list((service.repo / "tmp").iterdir())
    assert service.restored() == old
    assert service.backup().code == 0
    assert service.restored() == describe(service.source)


def test_a_full_disk_under_the_state_database_is_named(service: Service) -> None:
    import sqlite3

    store = sqlite3.connect(service.state)
    store.execute("PRAGMA page_size = 512")
    store.execute("CREATE TABLE filler (x)")
    store.commit()
    store.close()
    honest = sqlite3.connect

    def connect(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = honest(*arguments, **more)
        connection.execute("PRAGMA max_page_count = 3")
        return connection

    with mock.patch("sqlite3.connect", connect):
        result = service.backup()
    assert result.code == 1
    assert result.errors[-1]["status_code"] == 507
    assert service.snapshots() == []


@example(room=0, content=b"x")
@example(room=100_000, content=b"x")
@given(room=st.integers(0, 40_000), content=st.binary(min_size=1, max_size=5_000))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_any_amount_of_room_a_job_succeeds_whole_or_fails_loudly(
    tmp_path: Path, room: int, content: bytes
) -> None:
    """SQLite is written in C and so writes to the real disk; everything else here happens in memory."""
    (tmp_path / "state.db").unlink(missing_ok=True)
    with Patcher() as patcher:
        assert patcher.fs is not None
        patcher.fs.create_dir(tmp_path)
        service = Service(tmp_path).ready()
        (service.source / "a").write_bytes(content * 3)
        (service.source / "b").write_bytes(content[::-1])
        _, used, _ = patcher.fs.get_disk_usage()
        patcher.fs.set_disk_usage(used + room)
        result = service.backup()
        patcher.fs.set_disk_usage(10**9)
        if result.code:
            assert result.states[-1] == "FAILED"
            assert result.errors[-1]["status_code"] == 507
            assert service.snapshots() == []
            # The fake file system cannot unlink on a full disk (a real one can, see above), so the next job does.
            assert service.backup().code == 0
        assert not list((service.repo / "tmp").iterdir())
        target = tmp_path / "restored"
        assert service.run("restore", "latest", "--target", str(target)).code == 0
        assert (target / "a").read_bytes() == content * 3
        assert (target / "b").read_bytes() == content[::-1]
