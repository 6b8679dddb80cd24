"""The bench itself: a fault that is known to work bites, and one that nothing meets does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.bench import python, tried

pytestmark = pytest.mark.needs("namespaces", "seccomp")

WRITE = "import os\nfor n in range(64):\n open('{repository}/f%d' % n, 'wb').write(os.urandom(65536))"


def test_a_full_disk_bites_a_few_lines_that_write(tmp_path: Path) -> None:
    result = tried(tmp_path, {"disk.full": "repository"}, python(WRITE))
    assert result.returncode == 1
    assert any("No space left" in line for line in result.lines)
    assert result.proof


def test_it_does_not_bite_a_job_that_writes_nothing(tmp_path: Path) -> None:
    result = tried(tmp_path, {"disk.full": "repository"}, python("print('nothing')"))
    assert result.returncode == 0
    assert result.proof == []


def test_a_call_trigger_stops_the_job_exactly_there(tmp_path: Path) -> None:
    when = {"call": {"name": "write", "place": "repository", "nth": 10}}
    result = tried(tmp_path, {"disk.full": "repository", "headroom": 0, "when": when}, python(WRITE))
    assert result.returncode == 1
    (applied,) = [e for e in result.events if e.kind == "fault" and e["status"] == "applied"]
    (stopped,) = [e for e in result.events if e.kind == "syscall" and e["rule"] == "trigger.fault.when"]
    assert stopped["ordinal"] == 10
    assert stopped.seq < applied.seq


def test_a_fault_after_the_exit_finds_the_job_gone(tmp_path: Path) -> None:
    result = tried(tmp_path, {"disk.full": "repository", "when": {"exit": True}}, python(WRITE))
    assert result.returncode == 0
    (applied,) = [e for e in result.events if e.kind == "fault" and e["status"] == "applied"]
    (undone,) = [e for e in result.events if e.kind == "fault" and e["status"] == "undone"]
    assert applied.seq < undone.seq


def test_a_fault_that_comes_again_comes_as_often_as_asked(tmp_path: Path) -> None:
    wait = "import os, time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: time.sleep(0.05)"
    fault = {"disk.full": "repository", "for": 0.2, "every": 0.5, "times": 3}
    result = tried(tmp_path, fault, python(wait))
    assert len([e for e in result.events if e.kind == "fault" and e["status"] == "applied"]) == 3
    assert len(result.fault.windows) == 3
