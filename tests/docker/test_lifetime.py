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

pytestmark = pytest.mark.needs("docker")
TRIALS = 20
LONGEST = 4.0
"""Seconds after the first container: prepare, control job, and what follows on a quick machine."""
SCENARIO = """\
scenario: doomed
title: A small run that is about to be killed
repository: sftp
source: {files: 30, size: 1MiB, new: 512KiB}
faults:
  down: {network.down: repository, when: {at: 50%}}
  full: {disk.full: repository, when: {at: 50%}}
  still: {process.pause: target, when: {at: 50%}}
"""


def start(top: Path) -> subprocess.Popen[bytes]:
    (top / "doomed.chaos.yaml").write_text(SCENARIO, "utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--backup-env=docker", str(top)],
        cwd=top,
        env={**os.environ, "TMPDIR": str(top)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def all_stopped(daemon: Daemon, pid: int) -> bool:
    """Agents end with their sockets; what the daemon was asked for in the last moment it still makes."""
    return all(container.status in {"exited", "created", "dead"} for container in daemon.containers(pid))


def cleanup(top: Path) -> None:
    command = [sys.executable, "-m", "backupchaos_cli.main", "cleanup"]
    subprocess.run(
        command, env={**os.environ, "TMPDIR": str(top)}, check=True, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("turn", range(TRIALS))
def test_nothing_is_left(
    turn: int, tmp_path: Path, daemon: Daemon, containers: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    doomed = start(tmp_path)
    try:
        assert wait_until(lambda: daemon.containers(doomed.pid) or doomed.poll() is not None, 60)
        assert doomed.poll() is None
        time.sleep(random.Random(turn).uniform(0, LONGEST))  # the instant itself, not a guess
        assert daemon.left(doomed.pid), "nothing was up: the test kills thin air"
    finally:
        doomed.kill()
        doomed.wait()
    assert wait_until(lambda: all_stopped(daemon, doomed.pid), 30), "a container outlives its harness"
    if turn % 2:
        cleanup(tmp_path)
    else:
        containers.sandbox({}).close()
    assert daemon.left(doomed.pid) == []
