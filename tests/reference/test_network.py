"""SFTP: a cut, refused or silent link; retries and gaps are read from the log and from the link."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from tests.reference.remote import Remote
from tests.reference.support import PREFIX, Service, describe, killed_at_end

from backupchaos_reference.retry import backoff
from backupchaos_reference.settings import Settings


def fill(service: Service, size: int = 60_000) -> None:
    (service.source / "data").write_bytes(os.urandom(size))


def test_a_cut_link_is_survived(far: Service, remote: Remote) -> None:
    fill(far)
    remote.cut_at = remote.bytes_up + 30_000
    before = len(remote.connections)
    result = far.backup()
    assert result.code == 0
    assert result.states == ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"]
    (retry,) = result.events("retry")
    assert (retry["attempt"], retry["max"], retry["level"]) == (1, 6, "warning")
    assert f"127.0.0.1:{remote.port}" in retry["cause"]
    assert retry["link"] == f"sftp://127.0.0.1:{remote.port}"
    assert len(remote.connections) - before == 2
    assert far.restored() == describe(far.source)
    assert not list((remote.folder / "repo" / "tmp").iterdir())


def test_a_refused_link_is_given_up_after_the_declared_maximum(far: Service, remote: Remote) -> None:
    fill(far)
    remote.cut_at, remote.then = remote.bytes_up + 30_000, "refuse"
    before = len(remote.connections)
    result = far.backup()
    assert result.code == 1
    assert result.states == ["PENDING", "RUNNING", *["RETRYING"] * 6, "FAILED"]
    retries = result.events("retry")
    assert [retry["attempt"] for retry in retries] == [1, 2, 3, 4, 5, 6]
    assert len(remote.connections) - before == 1 + 6
    delays = [retry["delay_s"] for retry in retries]
    assert delays == sorted(delays)
    assert all(later > earlier * 1.5 for earlier, later in itertools.pairwise(delays))
    gaps = [later - earlier for earlier, later in itertools.pairwise(remote.connections[before + 1 :])]
    assert all(gap >= delay * 0.95 for gap, delay in zip(gaps, delays[1:], strict=True))
    assert result.errors[-1]["link"] == f"sftp://127.0.0.1:{remote.port}"
    assert result.errors[-1]["status_code"] == 503
    remote.mode = "pass"
    assert far.snapshots() == []
    assert far.backup().code == 0
    assert far.restored() == describe(far.source)
    assert not list((remote.folder / "repo" / "tmp").iterdir())


def test_a_silent_link_is_noticed(far: Service, remote: Remote) -> None:
    fill(far)
    remote.cut_at, remote.then = remote.bytes_up + 30_000, "silent"
    started = time.monotonic()
    result = far.backup("--timeout", "1s", "--retries", "1")
    assert result.code == 1
    assert time.monotonic() - started < 30
    assert result.states == ["PENDING", "RUNNING", "RETRYING", "FAILED"]
    assert "is silent" in result.errors[-1]["message"]


def test_a_server_that_never_answers_a_single_request_is_noticed(far: Service, remote: Remote) -> None:
    fill(far)
    asked: list[bytes] = []

    async def posix_rename(self: asyncssh.SFTPServer, origin: bytes, target: bytes) -> None:
        asked.append(target)
        await asyncio.Event().wait()

    remote.files.posix_rename = posix_rename  # type: ignore[assignment, method-assign]
    with killed_at_end(far.spawn("backup", "--timeout", "1s", "--retries", "1")) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"is silent" in log
    assert len(asked) == 2


def test_progress_starts_the_count_anew(far: Service, remote: Remote) -> None:
    fill(far, 40_000)
    remote.cut_at = remote.bytes_up + 15_000
    tripped = 0
    honest = remote._cut

    def cut_again() -> None:
        nonlocal tripped
        tripped += 1
        if tripped < 3:
            remote.cut_at = remote.bytes_up + 12_000
        honest()

    remote._cut = cut_again  # type: ignore[method-assign]
    result = far.backup("--retries", "1")
    assert result.code == 0
    assert [retry["attempt"] for retry in result.events("retry")] == [1, 1, 1]
    remote._cut = honest  # type: ignore[method-assign]


def test_another_host_key_is_refused_without_a_retry(far: Service, remote: Remote) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    stranger = replace(far, env=far.env | {PREFIX + "SFTP_HOST_KEY": other})
    result = stranger.backup()
    assert result.code == 1
    assert result.states == ["PENDING", "RUNNING", "FAILED"]
    assert result.errors[-1]["status_code"] == 403


def test_an_unknown_host_key_must_be_accepted_explicitly(far: Service, remote: Remote) -> None:
    env = {name: value for name, value in far.env.items() if not name.endswith("HOST_KEY")}
    careless = replace(far, env=env)
    before = len(remote.connections)
    assert careless.run("snapshots").code == 2
    assert len(remote.connections) == before
    assert careless.run("snapshots", "--insecure-host-key").code == 0


def test_a_wrong_login_is_refused_without_a_retry(far: Service, remote: Remote) -> None:
    before = len(remote.connections)
    result = replace(far, env=far.env | {PREFIX + "SFTP_PASSWORD": "wrong"}).backup()
    assert result.code == 1
    assert result.errors[-1]["status_code"] == 403
    assert len(remote.connections) - before == 1


def test_a_server_that_refuses_writes_is_named_without_a_retry(far: Service, remote: Remote) -> None:
    fill(far)
    remote.files.full = True
    result = far.backup()
    assert result.code == 1
    assert result.states == ["PENDING", "RUNNING", "FAILED"]
    assert "refused the write (perhaps full)" in result.errors[-1]["message"]
    assert not list((remote.folder / "repo" / "tmp").iterdir())
    remote.files.full = False
    assert far.backup().code == 0


def test_a_full_server_is_told_by_asking_for_its_space(far: Service, remote: Remote) -> None:
    fill(far)
    remote.files.full = True

    def statvfs(self: asyncssh.SFTPServer, path: bytes) -> os.statvfs_result:
        real = os.statvfs(remote.folder)
        return os.statvfs_result((real.f_bsize, real.f_frsize, real.f_blocks, 0, 0, *tuple(real)[5:]))

    remote.files.statvfs = statvfs  # type: ignore[method-assign]
    result = far.backup()
    assert result.code == 1
    assert result.errors[-1]["status_code"] == 507
    assert "disk full" in result.errors[-1]["message"]


@pytest.mark.parametrize(
    "url", ["sftp://host/x", "sftp://me@/x", "sftp://me@host", "sftp://me:pw@host/x", "ftp://x/y"]
)
def test_a_bad_url_is_a_usage_error(tmp_path: Path, url: str) -> None:
    service = Service(tmp_path, url=url, env={PREFIX + "INSECURE_HOST_KEY": "1"})
    assert service.run("snapshots").code == 2


def test_gaps_grow_strictly_up_to_the_cap() -> None:
    settings = Settings(retry_base=0.25, retry_cap=8.0)
    for _ in range(50):
        gaps = [backoff(settings, attempt) for attempt in range(1, 7)]
        assert all(later > earlier for earlier, later in itertools.pairwise(gaps))
        assert gaps[0] >= 0.25
        assert gaps[-1] == 8.0


@pytest.mark.parametrize("content", [None, "no key at all"])
def test_a_key_that_cannot_be_used_is_a_usage_error(
    far: Service, remote: Remote, tmp_path: Path, content: str | None
) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    before = len(remote.connections)
    result = replace(far, env=far.env | {PREFIX + "SFTP_KEY": str(key)}).run("snapshots")
    assert result.code == 2
    assert f"SFTP_KEY={key} cannot be used" in result.errors[-1]["message"]
    assert len(remote.connections) == before
