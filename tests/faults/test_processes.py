"""Signals to the job and to its helpers, and a pause of all of them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Probe, Tried, bench, python, tried

from backupchaos.commands import Command
from backupchaos.engine import world
from backupchaos.errors import MissingCapability
from backupchaos.faults import processes
from backupchaos.targets.base import Workspace

pytestmark = pytest.mark.needs("namespaces", "seccomp")

READY = {"log": "ready"}
WAITS = "import time\nprint('ready', flush=True)\ntime.sleep(60)"
HANDLES = """
import os, signal, sys, time
def told(number, frame):
    os.write(1, b'told %s\\n' % signal.Signals(number).name.encode())  # print cannot be entered twice
    sys.exit(3)
for name in ('TERM', 'HUP', 'USR1', 'QUIT'):
    signal.signal(getattr(signal, 'SIG' + name), told)
print('ready', flush=True)
time.sleep(60)
"""
HELPED = """
import subprocess, sys
first = subprocess.Popen(['sleep', '60'])
second = subprocess.Popen(['sleep', '61'])
print('ready', flush=True)
print('first ended with', first.wait(), flush=True)
print('second', second.poll(), flush=True)
second.kill()
second.wait()
sys.exit(4)
"""
TICKS = """
import time
print('ready', flush=True)
last, longest, end = time.monotonic(), 0.0, time.monotonic() + 5
while longest < 0.4 and last < end:
    time.sleep(0.01)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print('stood still for %.1f' % longest, flush=True)
"""


def kill(**fields: Any) -> dict[str, Any]:
    return {"process.kill": "target", "when": READY, **fields}


def residue(result: Tried) -> list[str]:
    return [text for e in result.events if e.kind == "residue" for text in e["processes"]]


# -- signals ------------------------------------------------------------------------------------


def test_kill_takes_the_job_and_all_that_it_has_started(tmp_path: Path) -> None:
    code = "import subprocess\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\n" + WAITS
    result = tried(tmp_path, kill(), python(code))
    assert result.returncode == -signal.SIGKILL
    assert result.proof == ["the job was ended by SIGKILL"]
    assert residue(result) == []


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "QUIT"])
def test_any_other_signal_is_the_jobs_to_handle(tmp_path: Path, name: str) -> None:
    result = tried(tmp_path, kill(signal=name), python(HANDLES))
    assert result.returncode == 3
    assert f"told SIG{name}" in result.lines
    assert len(result.proof) == 1
    assert f"SIG{name} delivered" in result.proof[0]
    assert result.proof[0].endswith("which caught it")


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "ABRT"])
def test_a_job_that_dies_of_another_signal_has_met_it(tmp_path: Path, name: str) -> None:
    result = tried(tmp_path, kill(signal=name), python(WAITS))
    assert result.returncode == -getattr(signal, f"SIG{name}")
    assert result.proof == [f"the job was ended by SIG{name}"]


@pytest.mark.parametrize(
    "setting",
    [
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})",
    ],
)
def test_a_signal_that_the_job_never_hears_of_is_no_bite(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.3)
    code = f"import signal, time\n{setting}\nprint('ready', flush=True)\ntime.sleep(3)"
    result = tried(tmp_path, kill(signal="USR1"), python(code))
    assert result.returncode == 0
    assert result.proof == []


def test_to_ignore_the_wish_that_it_ends_is_the_jobs_own_answer(tmp_path: Path) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(1)"
    result = tried(tmp_path, kill(signal="TERM"), python(code))
    assert result.returncode == 0
    assert result.proof[0].endswith("which ignores it and goes on")


def test_a_job_may_take_a_signal_from_its_queue(tmp_path: Path) -> None:
    code = (
        "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        "print('ready', flush=True)\nwhile not signal.sigtimedwait({signal.SIGUSR1}, 0): time.sleep(0.01)\n"
        "print('taken', flush=True)\ntime.sleep(1)"
    )
    result = tried(tmp_path, kill(signal="USR1"), python(code))
    assert result.proof[0].endswith("which took it from its queue")


SITS = """
import os, signal, sys, time
job = os.getpid()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
if os.fork() == 0:
    while 'sigtimedwait' not in open(f'/proc/{job}/wchan').read(): time.sleep(0.01)
    print('ready', flush=True)
    os._exit(0)
signal.sigwait({signal.SIGTERM})
"""


@pytest.mark.parametrize(
    "then",
    ["time.sleep(0.5)", "os._exit(143)", "signal.sigtimedwait({signal.SIGTERM}, 2)"],
    ids=["goes on", "ends at once", "sits on"],
)
def test_a_job_may_sit_and_wait_for_its_signal(tmp_path: Path, then: str) -> None:
    result = tried(tmp_path, kill(signal="TERM"), python(SITS + then))
    assert result.returncode in (0, 143)
    assert len(result.proof) == 1
    assert "took it from its queue" in result.proof[0] or "and then ended with 143" in result.proof[0]


IN_A_THREAD = """
import os, signal, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
def take():
    signal.sigwait({signal.SIGTERM})
    os.write(1, b'error: terminated by signal 15\\n')
    os._exit(CODE)
threading.Thread(target=take, daemon=True).start()
"""
BY_SIGNALFD = """
import ctypes, os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
mask = ctypes.c_uint64(1 << (signal.SIGTERM - 1))
libc = ctypes.CDLL(None, use_errno=True)
libc.signalfd.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
sigset = (ctypes.c_uint64 * 16)(mask.value)
asked = libc.signalfd(-1, sigset, 0)
"""
TAKES = "assert len(os.read(asked, 128)) == 128\nos._exit(CODE)"


@pytest.mark.parametrize("code", [1, 0])
@pytest.mark.parametrize(
    "job",
    [IN_A_THREAD + WAITS, BY_SIGNALFD + "print('ready', flush=True)\n" + TAKES],
    ids=["sigwait in a thread", "signalfd"],
)
def test_who_takes_a_blocked_signal_and_ends_at_once_has_met_it(tmp_path: Path, job: str, code: int) -> None:
    """Whether anybody sees it alive after that is a matter of luck, and its claim is judged in any case."""
    for n in range(10):
        result = tried(tmp_path / str(n), kill(signal="TERM"), python(job.replace("CODE", str(code))))
        assert result.returncode == code
        assert len(result.proof) == 1
        assert "took it from its queue" in result.proof[0]


def test_who_is_held_at_a_call_takes_the_signal_when_it_goes_on(tmp_path: Path) -> None:
    code = (
        BY_SIGNALFD + "open('{repository}/f', 'wb', buffering=0).write(b'1')\n" + TAKES.replace("CODE", "1")
    )
    when = {"call": {"name": "write", "place": "repository", "nth": 1}}
    result = tried(tmp_path, kill(signal="TERM", when=when), python(code))
    assert result.returncode == 1
    assert "took it from its queue" in result.proof[0]


def test_a_job_that_never_takes_its_blocked_signal_was_not_hit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.3)
    code = BY_SIGNALFD + "print('ready', flush=True)\nfor n in range(30): time.sleep(0.1)"
    result = tried(tmp_path, kill(signal="TERM"), python(code))
    assert result.returncode == 0
    assert result.proof == []


@pytest.mark.parametrize("name", ["USR1", "HUP"])
def test_who_waits_for_another_signal_blocks_this_one_or_dies_of_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.3)
    result = tried(tmp_path, kill(signal=name), python(SITS), deadline=2.0)
    assert result.proof == ([] if name == "USR1" else ["the job was ended by SIGHUP"])


def test_the_harness_own_signal_at_the_deadline_is_no_bite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job blocks TERM when it is sent, and dies of the one that ends it, as if of ours."""
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    code = (
        "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "print('ready', flush=True)\ntime.sleep(1)\nsignal.sigtimedwait({signal.SIGTERM}, 0)\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})\ntime.sleep(60)"
    )
    result = tried(tmp_path, kill(signal="TERM"), python(code), deadline=2.0)
    assert result.job.timed_out
    assert result.returncode == -signal.SIGTERM
    assert result.proof == []


def test_a_signal_other_than_kill_reaches_the_job_alone(tmp_path: Path) -> None:
    child = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: print('child told', flush=True))\nprint('ready', flush=True)\ntime.sleep(0.7)\nprint('child done', flush=True)"
    code = f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {child!r}])\nimport signal\nsignal.signal(signal.SIGTERM, lambda *_: print('job told', flush=True))\nchild.wait()"
    result = tried(tmp_path, kill(signal="TERM"), python(code))
    assert "job told" in result.lines
    assert "child done" in result.lines
    assert "child told" not in result.lines


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_job_that_has_ended_was_not_hit(tmp_path: Path, name: str) -> None:
    fault = {"process.kill": "target", "signal": name, "when": {"exit": True}}
    result = tried(tmp_path, fault, python("print('done')"))
    assert result.returncode == 0
    assert result.proof == []


def test_a_job_that_somebody_else_kills_is_no_proof(tmp_path: Path) -> None:
    fault = {"process.kill": "target", "when": {"exit": True}}
    result = tried(tmp_path, fault, python("import os\nos.kill(os.getpid(), 9)"))
    assert result.returncode == -signal.SIGKILL
    assert result.proof == []


def test_only_the_oldest_helper_dies(tmp_path: Path) -> None:
    result = tried(tmp_path, kill(who="helper"), python(HELPED))
    assert result.returncode == 4
    assert "first ended with -9" in result.lines
    assert "second None" in result.lines
    assert "sleep 60" in result.proof[0]
    assert "lived on" in result.proof[0]


def test_a_helper_can_get_another_signal(tmp_path: Path) -> None:
    result = tried(tmp_path, kill(who="helper", signal="TERM"), python(HELPED))
    assert "first ended with -15" in result.lines
    assert "died of SIGTERM, sent to it alone" in result.proof[0]


def test_a_stopped_helper_stands_still(tmp_path: Path) -> None:
    code = """
import subprocess, time
helper = subprocess.Popen(['sleep', '60'])
print('ready', flush=True)
while open(f'/proc/{helper.pid}/stat').read().split()[2] != 'T': time.sleep(0.01)
time.sleep(0.5)
helper.kill()
"""
    result = tried(tmp_path, kill(who="helper", signal="STOP"), python(code))
    assert result.returncode == 0
    assert result.proof[0].endswith("which was stopped")


def test_a_stop_that_the_kernel_drops_is_no_bite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TSTP does nothing in a process group without a parent in another one of its session."""
    monkeypatch.setattr(processes, "PATIENCE", 0.3)
    code = (
        "import subprocess, time\nhelper = subprocess.Popen(['sleep', '60'])\nprint('ready', flush=True)\n"
        "time.sleep(1)\nprint(open(f'/proc/{helper.pid}/stat').read().split()[2], flush=True)\nhelper.kill()"
    )
    result = tried(tmp_path, kill(who="helper", signal="TSTP"), python(code))
    assert result.lines == ["ready", "S"]
    assert result.proof == []


def test_a_job_without_a_helper_cannot_have_that_fault(tmp_path: Path) -> None:
    code = "import time\nprint('ready', flush=True)\ntime.sleep(0.3)"
    with pytest.raises(MissingCapability, match="had started no other process"):
        tried(tmp_path, kill(who="helper"), python(code))


def test_a_signal_comes_as_often_as_asked(tmp_path: Path) -> None:
    code = """
import signal, time
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
print('ready', flush=True)
while len(seen) < 3: time.sleep(0.01)
"""
    result = tried(tmp_path, kill(signal="USR1", every=0.3, times=3), python(code))
    assert result.returncode == 0
    assert len(result.proof) == 3


# -- pauses -------------------------------------------------------------------------------------


def test_a_paused_job_stands_still_and_goes_on(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.pause": "target", "when": READY, "for": 0.6}, python(TICKS))
    assert result.returncode == 0
    assert any(line.startswith("stood still for 0.") for line in result.lines)
    assert result.proof[0].startswith("1 process of the job stood still for 0.")
    assert "state T" in result.proof[0]
    assert result.strays == []


def test_its_helpers_stand_still_too(tmp_path: Path) -> None:
    code = (
        f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {TICKS!r}])\nchild.wait()"
    )
    result = tried(tmp_path, {"process.pause": "target", "when": READY, "for": 0.6}, python(code))
    assert "stood still for 0" in "".join(result.lines)
    assert result.proof[0].startswith("2 processes of the job stood still")


def test_a_pause_at_a_system_call_stops_the_thread_that_makes_it(tmp_path: Path) -> None:
    code = "import time\nwith open('{repository}/f', 'wb', buffering=0) as f:\n  for n in range(20):\n    f.write(b'x' * 4096)\n    print(n, flush=True)"
    when = {"call": {"name": "write", "place": "repository", "nth": 5}}
    result = tried(tmp_path, {"process.pause": "target", "when": when, "for": 0.6}, python(code))
    assert result.returncode == 0
    assert result.proof[0].startswith("1 process of the job stood still")
    start, end = result.fault.windows[0]
    assert end is not None
    logs = [e for e in result.events if e.kind == "log" and e["job"] == "fault"]
    assert [e for e in logs if start + 0.3 < e.t < end] == []
    assert len(logs) == 20


def test_a_pause_in_the_middle_of_starting_a_program(tmp_path: Path) -> None:
    """vfork: the parent waits, in a state of its own, for a child that stands still before its exec."""
    code = (
        "import subprocess, time\nprint('ready', flush=True)\nend = time.monotonic() + 3\n"
        "while time.monotonic() < end: subprocess.run(['true'])"
    )
    fault = {"process.pause": "target", "when": {"log": "ready"}, "for": 0.03, "every": 0.06, "times": 30}
    result = tried(tmp_path, fault, python(code))
    assert len(result.proof) == 30
    assert result.strays == []


def test_a_pause_comes_again(tmp_path: Path) -> None:
    code = "import time\nprint('ready', flush=True)\nend = time.monotonic() + 2\nwhile time.monotonic() < end: time.sleep(0.01)"
    fault = {"process.pause": "target", "when": READY, "for": 0.2, "every": 0.6, "times": 2}
    result = tried(tmp_path, fault, python(code))
    assert len(result.proof) == 2


def test_a_job_that_ended_during_its_pause_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline ends a stopped job too: it cannot heed TERM, and KILL needs nobody's help."""
    monkeypatch.setattr(world, "GRACE", 0.3)
    fault = {"process.pause": "target", "when": READY}
    result = tried(tmp_path, fault, python(WAITS), deadline=1.0)
    assert result.job.timed_out
    assert result.returncode == -signal.SIGKILL
    assert result.proof == []


def test_a_pause_that_did_not_hold_is_no_proof(tmp_path: Path) -> None:
    code = "import time\nprint('ready', flush=True)\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    fault = {"process.pause": "target", "when": READY, "for": 1.0}
    with bench(tmp_path, fault, python(code)) as made:
        verify = made.fault.verify

        def meddle() -> None:
            verify()
            assert made.ground.job_pid is not None
            made.world.sandbox.signal(made.ground.job_pid, signal.SIGCONT)

        made.fault.verify = meddle  # type: ignore[method-assign]
        result = made.go()
    assert result.proof == []
    start, end = result.fault.windows[0]
    assert end is not None and end - start >= 0.9


def test_processor_time_in_a_pause_is_a_stray(tmp_path: Path) -> None:
    """It ran, and stood still again when anybody looked."""
    code = "import time\nprint('ready', flush=True)\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    fault = {"process.pause": "target", "when": READY, "for": 1.0}
    with bench(tmp_path, fault, python(code)) as made:
        undo, verify = made.fault.undo, made.fault.verify
        box = made.world.sandbox

        def begin() -> None:
            verify()
            assert made.ground.job_pid is not None
            box.signal(made.ground.job_pid, signal.SIGCONT)

        def end() -> None:
            assert made.ground.job_pid is not None
            box.signal(made.ground.job_pid, signal.SIGSTOP)
            while not any(p.pid == made.ground.job_pid and p.state in "Tt" for p in box.processes()):
                pass  # it is told, and stops when the kernel comes to it
            undo()

        made.fault.verify, made.fault.undo = begin, end  # type: ignore[method-assign]
        result = made.go()
    assert "processor time were used" in result.strays[0]


# -- real tools ---------------------------------------------------------------------------------


class Restic(Probe):
    """``restic backup`` over sftp, which has ssh as its helper."""

    def backup(self, work: Workspace) -> Command:
        from backupchaos_targets.restic import ResticTarget

        return ResticTarget().backup(work)

    def init(self, work: Workspace) -> Sequence[Command]:
        from backupchaos_targets.restic import ResticTarget

        return ResticTarget().init(work)


@pytest.mark.needs("restic", "ssh")
def test_restic_sees_that_its_ssh_died(tmp_path: Path) -> None:
    fault = {"process.kill": "target", "who": "helper", "when": {"at": 0.5}}
    with bench(tmp_path, fault, (), repository="sftp", target=Restic(())) as made:
        made.phases.init_repository()
        result = made.go()
    assert "ssh" in result.proof[0]
    assert result.returncode == 1
    assert any("connection lost" in line for line in result.lines)


def test_a_daemon_that_an_earlier_job_has_left_stands_still_too_and_goes_on(tmp_path: Path) -> None:
    """It is no part of the job's tree, and a laptop that sleeps asks for no such thing."""
    leave = (
        "import subprocess, sys\nquiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True, **quiet)"
    )
    job = "import time\nprint('ready', flush=True)\ntime.sleep(1.5)"
    fault = {"process.pause": "target", "when": {"log": "ready"}, "for": 0.4}
    with bench(tmp_path, fault, python(job)) as made:
        made.world.run(Command(python(leave)), what="an earlier job", role="target")
        result = made.go()
        assert result.proof
        assert "2 processes" in result.proof[0]
        assert [e["status"] for e in result.events if e.kind == "fault"][-1] == "undone"
        assert not [p for p in made.world.sandbox.processes() if p.state in "Tt"]
