"""SIGKILL of pytest at any instant with containers up: the next start, or one cleanup, leaves none of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.docker.daemon import Daemon, Environment
from tests.survivors import wait_until

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]
INSTANTS, AT_ONCE = 20, 5
LONGEST = 6.0
"""Seconds after the first container: prepare, control job, and what follows on a quick machine."""
SCENARIO = """\
scenario: doomed
title: A small run that is about to be killed
repository: sftp
source: {files: 30, size: 1MiB, new: 512KiB}
faults:
  down: {network.down: repository, when: {at: 50%}}
  full: {disk.full: repository, when: {at: 50%}}
  still: {process.pause: target, when: {at: 50%}, for: 50s}
"""


def start(top: Path, log: Path) -> subprocess.Popen[bytes]:
    (top / "doomed.chaos.yaml").write_text(SCENARIO, "utf-8")
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--backup-env=docker", str(top)],
            cwd=top,
            env={**os.environ, "TMPDIR": str(top)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def all_stopped(daemon: Daemon, pid: int) -> bool:
    """Agents end with their sockets; what the daemon was asked for in the last moment it still makes."""
    return all(container.status in {"exited", "created", "dead"} for container in daemon.containers(pid))


def cleanup(top: Path) -> None:
    command = [sys.executable, "-m", "backupchaos_cli.main", "cleanup"]
    subprocess.run(
        command, env={**os.environ, "TMPDIR": str(top)}, check=True, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("turn", range(INSTANTS // AT_ONCE))
def test_nothing_is_left(
    turn: int, tmp_path: Path, daemon: Daemon, containers: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    chance = random.Random(turn)
    logs = [tmp_path / f"{number}.log" for number in range(AT_ONCE)]
    doomed = [start(tmp_path, log) for log in logs]
    try:
        for one in doomed:
            assert wait_until(lambda one=one: daemon.containers(one.pid) or one.poll() is not None, 60)  # type: ignore[misc]
        before = 0.0
        instants = sorted(chance.uniform(0, LONGEST) for _ in doomed)
        for one, log, instant in zip(doomed, logs, instants, strict=True):
            time.sleep(instant - before)  # the instant itself, not a guess
            before = instant
            assert daemon.left(one.pid), f"nothing was up: the test kills thin air\n{log.read_text()[-3000:]}"
            one.kill()
    finally:
        for one in doomed:
            one.kill()
            one.wait()
    assert wait_until(lambda: all(all_stopped(daemon, one.pid) for one in doomed), 30), (
        "one outlives its harness"
    )
    if turn % 2:
        cleanup(tmp_path)
    else:
        containers.sandbox({}).close()
    assert [left for one in doomed for left in daemon.left(one.pid)] == []
