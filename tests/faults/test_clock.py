"""A clock that jumps or is wrong, on programs of a few lines and on real tools."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Bench, bench, python, tried

from backupchaos.commands import Command
from backupchaos.environments.base import SyscallRule
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.clock import _dated

pytestmark = pytest.mark.needs("namespaces", "seccomp", "clock")
DAY = 86400.0
NOW = "import time\nprint('now', time.time(), flush=True)\n"
BEFORE_AND_AFTER = NOW + "open('{repository}/f', 'w').write('x')\n" + NOW
AT_WRITE = {"call": {"name": "write", "place": "repository"}}


def readings(lines: Sequence[str], word: str = "now") -> list[float]:
    """How far each printed time is from ours, in whole minutes' exactness."""
    return [
        round((float(line.split()[1]) - time.time()) / 600) * 600 for line in lines if line.startswith(word)
    ]


@pytest.mark.parametrize(("direction", "sign"), [("back", -1), ("forward", 1)])
def test_a_skewed_clock_is_wrong_from_start_to_end(tmp_path: Path, direction: str, sign: int) -> None:
    result = tried(
        tmp_path, {"clock.skew": "target", "by": DAY, "direction": direction}, python(BEFORE_AND_AFTER)
    )
    assert readings(result.lines) == [sign * DAY] * 2
    assert result.proof[0].endswith(f"readings of the clock answered {sign * DAY:+g} s off")
    assert int(result.proof[0].split()[0]) >= 2
    assert result.strays == []


def test_a_jump_comes_in_the_middle_and_goes_again(tmp_path: Path) -> None:
    script = BEFORE_AND_AFTER + "time.sleep(1.5)\n" + NOW + "assert time.monotonic() < 1e9\n"
    fault = {"clock.jump": "target", "by": 7200, "when": AT_WRITE, "for": 0.7}
    result = tried(tmp_path, fault, python(script))
    assert readings(result.lines) == [0, 7200, 0]
    assert result.returncode == 0
    assert result.proof
    assert result.strays == []


def test_a_jump_that_comes_again_counts_all_readings(tmp_path: Path) -> None:
    script = (
        "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: time.time(); time.sleep(0.02)"
    )
    fault = {"clock.jump": "target", "by": 7200, "direction": "back", "for": 0.3, "every": 0.7, "times": 2}
    with bench(tmp_path, {**fault, "when": {"after": 0.1}}, python(script)) as made:
        result = made.go()
        assert len(result.fault.windows) == 2
        last = made.world.sandbox.totals()["fault.clock"]["acted"]
        assert int(result.proof[0].split()[0]) > last > 0, "the first time counts too"
    assert result.strays == []


def test_a_job_that_never_looks_at_the_clock_proves_nothing(tmp_path: Path) -> None:
    result = tried(tmp_path, {"clock.skew": "target"}, ("sh", "-c", "echo done"))
    assert result.lines == ["done"]
    assert result.proof == []


def test_what_the_job_starts_is_under_it_too_and_other_processes_are_not(tmp_path: Path) -> None:
    with bench(tmp_path, {"clock.skew": "target", "by": DAY}, ("sh", "-c", "(date '+now %s')")) as made:
        result = made.go()
        assert readings(result.lines) == [-DAY]
        other = made.run("date", "+now %s")
        assert readings([other.stdout]) == [0]


def test_durations_are_right_while_the_clock_is_wrong(tmp_path: Path) -> None:
    script = "import threading\nprint('waited', threading.Event().wait(0.2), threading.Lock().acquire(timeout=0.2))"
    result = tried(tmp_path, {"clock.skew": "target", "by": DAY, "direction": "forward"}, python(script))
    assert result.lines == ["waited False True"]


def test_dates_in_the_jobs_own_log_are_a_second_witness(tmp_path: Path) -> None:
    script = """
import datetime
now = datetime.datetime.now()
print(now.isoformat(" "), "saved")
print((now - datetime.timedelta(days=9)).isoformat(" "), "is when a file was changed")
print((now + datetime.timedelta(days=1)).isoformat(" "), "by the right clock")
"""
    result = tried(tmp_path, {"clock.skew": "target", "by": DAY}, python(script))
    assert len(result.proof) == 2
    assert result.proof[1].startswith("1 log lines carry the wrong time, first: '2")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-11-21T12:00:00Z x", 1795262400.0),
        ("at 2026-11-21 14:00:00.5+02:00", 1795262400.0),
        ("2026/11/21 12:00:00+00:00 INFO  : x", 1795262400.0),
        ("no date 2026-11-21", None),
        ("2026-99-99 12:00:00Z", None),
    ],
)
def test_dates_in_lines(line: str, expected: float | None) -> None:
    assert _dated(line) == expected


# -- honesty ----------------------------------------------------------------------------------


def test_readings_answered_outside_of_the_fault_are_strays(tmp_path: Path) -> None:
    """The harness itself would have struck: somebody arms the rule although the fault is over."""
    script = BEFORE_AND_AFTER + "time.sleep(0.5)\nopen('{repository}/g', 'w').write('x')\n" + NOW
    fault = {"clock.jump": "target", "by": 7200, "when": AT_WRITE, "for": 0.2}
    with bench(tmp_path, fault, python(script)) as made:
        undo = made.fault.undo

        def undo_and_forget() -> None:
            undo()
            made.world.sandbox.arm("fault.clock", True)

        made.fault.undo = undo_and_forget  # type: ignore[method-assign]
        made.fault.verify_undone = lambda: None  # type: ignore[method-assign]
        result = made.go()
    assert result.strays
    assert "outside of the fault" in result.strays[-1] or "while the fault was away" in result.strays[0]


def test_a_fault_that_is_not_undone_is_noticed(tmp_path: Path) -> None:
    with bench(tmp_path, {"clock.skew": "target"}, python(NOW)) as made:
        arm = made.world.sandbox.arm
        made.world.sandbox.arm = lambda rule, armed: arm(rule, True)  # type: ignore[method-assign]
        with pytest.raises(HarnessBroken, match="the supervisor still shifts the job's clock"):
            made.go()


def test_a_clock_that_is_not_shifted_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench(tmp_path, {"clock.skew": "target", "by": DAY}, python(NOW)) as made:
        spawn = made.world.sandbox.spawn

        def without(*args: Any, rules: Sequence[SyscallRule] = (), **more: Any) -> int:
            return spawn(*args, **more)

        monkeypatch.setattr(made.world.sandbox, "spawn", without)
        with pytest.raises(HarnessBroken, match="should read a clock -86400 s off reads one"):
            made.go()


KILL = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and name != "1" and b"agent" + b".py" in open(f"/proc/{name}/cmdline", "rb").read():
        os.kill(int(name), signal.SIGKILL)
"""


def test_a_dead_supervisor_is_the_harnesss_failure_and_not_the_jobs(tmp_path: Path) -> None:
    job = python("import os, time\nfor _ in range(200): time.sleep(0.05)\nos.listdir('{source}')")
    fault = {"clock.jump": "target", "when": {"after": 0.1}}
    with bench(tmp_path, fault, job) as made:
        apply = made.fault.apply

        def apply_and_kill() -> str:
            detail = apply()
            made.world.start(Command((sys.executable, "-ISc", KILL)), what="kill")
            return detail

        made.fault.apply = apply_and_kill  # type: ignore[method-assign]
        made.fault.verify = lambda: None  # type: ignore[method-assign]
        with pytest.raises(HarnessBroken, match="the system call supervisor died"):
            made.go()


def test_where_the_vdso_cannot_be_hidden_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = LocalEnvironment()
    make = environment.sandbox

    def poorer(*args: Any, **more: Any) -> LocalSandbox:
        sandbox = make(*args, **more)
        sandbox.capabilities -= {"clock"}
        return sandbox

    monkeypatch.setattr(environment, "sandbox", poorer)
    with (
        pytest.raises(MissingCapability, match=re.escape("clock: fault clock.skew needs it")),
        bench(tmp_path, {"clock.skew": "target"}, python(NOW), environment=environment),
    ):
        pass


# -- real tools -------------------------------------------------------------------------------


def shifted_by(made: Bench, command: Command, when: Callable[[str], str]) -> float:
    """How far the date of the tool's only snapshot is from now, in whole days."""
    done = made.world.run(command, what="list")
    assert done.ok, done.stderr
    text = when(done.stdout).replace("Z", "+00:00")
    text = re.sub(r"(\.\d{6})\d*", r"\1", text)
    return round((datetime.fromisoformat(text).timestamp() - time.time()) / DAY) * DAY


@pytest.mark.needs("restic")
def test_restic_dates_its_snapshot_by_the_jobs_clock(tmp_path: Path) -> None:
    script = "restic -r {repository}/r init -q && restic -r {repository}/r backup -q {source}"
    fault = {"clock.skew": "target", "by": 365 * DAY, "direction": "forward"}
    with bench(tmp_path, fault, ("sh", "-c", script), env={"RESTIC_PASSWORD": "x"}) as made:
        result = made.go()
        assert result.returncode == 0, result.lines
        command = Command(
            ("restic", "-r", f"{made.world.workspace.location.path}/r", "snapshots", "--json"),
            {"RESTIC_PASSWORD": "x"},
        )
        assert shifted_by(made, command, lambda text: json.loads(text)[0]["time"]) == 365 * DAY
    assert int(result.proof[0].split()[0]) > 10


@pytest.mark.needs("borg")
def test_borg_dates_its_archive_by_the_jobs_clock(tmp_path: Path) -> None:
    script = "borg init -e none {repository}/r && borg create {repository}/r::a {source}"
    with bench(tmp_path, {"clock.skew": "target", "by": DAY}, ("sh", "-c", script)) as made:
        result = made.go()
        assert result.returncode == 0, result.lines
        command = Command(("borg", "list", "--json", f"{made.world.workspace.location.path}/r"))
        assert shifted_by(made, command, lambda text: json.loads(text)["archives"][0]["start"]) == -DAY
    assert result.proof


@pytest.mark.needs("go")
@pytest.mark.slow
def test_a_static_go_program(tmp_path: Path) -> None:
    from tests.sandbox import golang

    environment = LocalEnvironment()
    make = environment.sandbox
    environment.sandbox = lambda sizes, **more: make(sizes, expose=[golang.program()])  # type: ignore[method-assign]
    result = tried(
        tmp_path, {"clock.skew": "target", "by": DAY}, (golang.program(), "now"), environment=environment
    )
    seconds, *durations = result.lines[0].split()
    assert readings([f"now {seconds}"]) == [-DAY]
    assert durations == ["true", "true"]
    assert result.proof
