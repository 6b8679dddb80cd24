"""SIGKILL of pytest at any instant of a run: the kernel takes everything of ours along."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.slow]
TRIALS = 20
SCENARIO = """\
scenario: doomed
title: A small run that is about to be killed
repository: sftp
source: {files: 30, size: 1MiB, new: 512KiB}
faults:
  cut: {network.down: repository, when: {at: 50%}, for: 1s}
  full: {disk.full: repository, when: {at: 90%}}
"""


def processes() -> dict[int, tuple[int, str]]:
    """pid -> (parent, start time); what ended meanwhile is left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(entry.name)] = (int(fields[1]), fields[19])
    return found


def descendants(pid: int) -> dict[int, str]:
    """All live descendants with their start times (a pid alone may be reused)."""
    table = processes()
    found: dict[int, str] = {}
    queue = [pid]
    while queue:
        parent = queue.pop()
        for child, (above, started) in table.items():
            if above == parent and child not in found:
                found[child] = started
                queue.append(child)
    return found


def mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def listening() -> set[str]:
    """Inodes of the sockets that listen in this network namespace."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {fields[9] for line in lines if (fields := line.split())[3] == "0A"}


def sockets_of(pids: Iterable[int]) -> set[str]:
    """Inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        for name in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(name)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def recorded(project: Path) -> int:
    return sum(
        len(path.read_bytes().splitlines()) for path in project.glob(".backupchaos/runs/*/history.jsonl")
    )


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        os.sched_yield()
        time.sleep(0.002)  # a poll of /proc, not a guess about how long something takes
    return True


@pytest.mark.parametrize("trial", range(TRIALS))
def test_nothing_survives_a_killed_pytest(trial: int, tmp_path: Path) -> None:
    (tmp_path / "doomed.chaos.yaml").write_text(SCENARIO)
    instant = random.Random(trial).randint(1, 150)
    before = mounts()
    place = tmp_path / "place"
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(place), "XDG_RUNTIME_DIR": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: recorded(tmp_path) >= instant or process.poll() is not None, 120)
        doomed = descendants(process.pid)
        ports = listening() & sockets_of([process.pid, *doomed])
        running = process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if running:
        assert doomed, "nothing was running: the test kills thin air"

    def gone() -> bool:
        table = processes()
        return not any(pid in table and table[pid][1] == started for pid, started in doomed.items())

    assert wait_until(gone, 15), f"killed after {instant} events, survivors: {doomed}"
    assert mounts() <= before
    assert not ports & listening()
    assert [path.name for path in place.iterdir() if not path.name.startswith("pytest-of-")] == []
