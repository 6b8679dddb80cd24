"""A shifted wall clock: whoever reads it, however it was started, and nothing else but it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from backupchaos.environments.base import SyscallRule

from . import golang
from .conftest import Box, Result
from .test_supervisor import PYTHON, rule

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("seccomp"), pytest.mark.needs("clock")]
YEAR = 365 * 86400.0
TOLERANCE = 60
"""Seconds between a reading inside and ours; machines are slow, shifts are long."""


def shifted(by: float = YEAR, armed: bool = True) -> list[SyscallRule]:
    return [rule("c", "clock", "*", "clock", delay=by, armed=armed)]


def run(box: Box, *argv: str, by: float = YEAR, rules: Sequence[SyscallRule] | None = None) -> Result:
    return box.run(*argv, rules=shifted(by) if rules is None else rules, hide_vdso=True)


def is_shifted(seconds: float, by: float = YEAR) -> bool:
    return abs(seconds - time.time() - by) < TOLERANCE


@pytest.mark.parametrize("by", [YEAR, -86400.0, 0.25])
def test_a_c_program(any_box: Box, by: float) -> None:
    result = run(any_box, "date", "+%s.%N", by=by)
    assert is_shifted(float(result.output), by)
    assert any_box.sandbox.totals()["c"]["acted"] >= 1
    assert {h["path"] for h in result.hits("c")} == {"clock:realtime"}


def test_every_way_to_read_it_and_the_monotonic_clocks_stay(box: Box) -> None:
    script = """
import ctypes, time
libc = ctypes.CDLL(None)
class T(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("n", ctypes.c_long)]
t, zone, seconds = T(), ctypes.c_long(77), ctypes.c_long()
libc.syscall.restype = libc.time.restype = ctypes.c_long
print(time.time()); print(time.clock_gettime(time.CLOCK_REALTIME)); print(time.clock_gettime(5)); print(time.clock_gettime(time.CLOCK_TAI))
libc.gettimeofday(ctypes.byref(t), None); print(t.s); assert 0 <= t.n < 1000000
assert libc.gettimeofday(None, None) == 0
print(libc.time(ctypes.byref(seconds)), seconds.value, libc.time(None), sep="\\n")
print("monotonic", time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(4))
assert libc.syscall(%d, 0, ctypes.c_void_p(8)) == -1
"""
    number = {"x86_64": 228, "aarch64": 113}[os.uname().machine]
    before = time.monotonic()
    result = run(box, *PYTHON, script % number)
    *wall, last = result.output.splitlines()
    assert [is_shifted(float(reading)) for reading in wall] == [True] * 8, result.output
    word, *others = last.split()
    assert word == "monotonic"
    assert all(abs(float(reading) - before) < TOLERANCE * 60 for reading in others[:1] + others[2:])
    assert result.returncode == 0


@pytest.mark.needs("go")
@pytest.mark.slow
def test_a_static_go_program_and_what_it_starts(make_box: Callable[..., Box]) -> None:
    go = golang.program()
    box = make_box(expose=[go])
    result = run(box, go, "now")
    seconds, slept, soon = result.output.split()
    assert is_shifted(float(seconds))
    assert (slept, soon) == ("true", "true"), "its sleeps and durations are by the monotonic clock"
    times = run(box, go, "run", "date", "+%s").output.split()
    assert [is_shifted(float(reading)) for reading in times] == [True] * 8


def test_every_exec_of_the_tree(any_box: Box) -> None:
    script = """
import os, subprocess, sys, threading
def start(*argv): sys.stdout.write(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
start("date", "+%s")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execvp("date", ["date", "+%s"])
    os.wait(); os._exit(0)
os.wait(); sys.stdout.flush()
threading.Thread(target=lambda: os.execvp("sh", ["sh", "-c", "env -i date +%s; exec date +%s"])).start()
threading.Event().wait()
"""
    result = run(any_box, "sh", "-c", 'date +%s; exec "$@"', "sh", *PYTHON, script)
    assert [is_shifted(float(word)) for word in result.output.split()] == [True] * 5, result.output
    assert not [e for e in result.events if "cannot" in e.data], "nothing escaped"


def test_the_vdso_is_hidden_with_and_without_rules_and_only_when_asked(box: Box) -> None:
    script = "import ctypes; print(ctypes.CDLL(None).getauxval(33)); print([l for l in open('/proc/self/status') if 'Tracer' in l])"
    for rules in ([], [rule("o", "unlink", "/nowhere")]):
        hidden = box.run(*PYTHON, script, rules=rules, hide_vdso=True)
        assert hidden.output == "0\n['TracerPid:\\t0\\n']\n", "and nobody traces it any longer"
    assert box.run(*PYTHON, script, rules=[rule("o", "unlink", "/nowhere")]).output[0] != "0"
    assert box.run(*PYTHON, script).output[0] != "0"


def test_a_failed_exec_leaves_nothing_behind(box: Box) -> None:
    script = """
import os, signal, time
caught = []
def free():
    end = time.monotonic() + 20
    while time.monotonic() < end: # the tracer needs a moment
        if "TracerPid:\\t0" in open("/proc/self/status").read(): return True
signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
for name in ("/no/such", "/etc/passwd", "/tmp"):
    try: os.execv(name, ["x"])
    except OSError as e: print(e.errno, free())
os.kill(os.getpid(), signal.SIGUSR1)
print(free(), caught, flush=True)
try: os.execvpe("date", ["date", "+%s"], {"PATH": "/no/such:/etc:" + os.environ["PATH"]})
finally: pass
"""
    result = run(box, *PYTHON, script)
    lines = result.output.splitlines()
    assert lines[:-1] == ["2 True", "13 True", "13 True", "True [1]"], "nobody traces it any longer"
    assert is_shifted(float(lines[-1]))


def test_arming_and_disarming_while_it_runs(box: Box) -> None:
    script = "import sys, time\nfor line in sys.stdin: print(time.time(), flush=True)"
    commands, feed = os.pipe()
    pid, read = box.start(*PYTHON, script, stdin=commands, rules=shifted(armed=False), hide_vdso=True)

    def reading() -> float:
        os.write(feed, b"\n")
        return float(box.line(read))

    assert is_shifted(reading(), 0)
    box.sandbox.arm("c", True)
    assert is_shifted(reading())
    acted = box.sandbox.totals()["c"]["acted"]
    box.sandbox.arm("c", False)
    assert is_shifted(reading(), 0)
    assert box.sandbox.totals()["c"]["acted"] == acted > 0, "none is answered after the end"
    for fd in (feed, commands, read):
        os.close(fd)
    assert box.code(pid) == 0


WAITS = """
import ctypes, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
class T(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("n", ctypes.c_long)]
def after(seconds):
    at = time.clock_gettime_ns(time.CLOCK_REALTIME) + int(seconds * 1e9)
    return T(at // 10**9, at % 10**9)
def took(wait, *args):
    start = time.monotonic(); wait(*args); return time.monotonic() - start
sem, mutex, cond = (ctypes.create_string_buffer(64) for _ in range(3))
libc.sem_init(sem, 0, 0)
at = after(0.3); given = at.s, at.n
print(took(libc.sem_timedwait, sem, ctypes.byref(at)))
time.time(); assert (at.s, at.n) == given, "the caller's own deadline is what it was"
print(took(libc.sem_timedwait, sem, ctypes.byref(after(-5))) + 0.3)
libc.pthread_mutex_lock(mutex)
at = after(0.3); given = at.s, at.n
print(took(libc.pthread_cond_timedwait, cond, mutex, ctypes.byref(at)))
assert libc.pthread_cond_timedwait(cond, mutex, ctypes.byref(at)) == 110, "the same deadline again has passed"
print(took(libc.clock_nanosleep, 0, 1, ctypes.byref(after(0.3)), None))
print(took(libc.clock_nanosleep, 0, 0, ctypes.byref(T(0, 300000000)), None))
threading.Timer(0.3, libc.sem_post, (sem,)).start()
print(took(libc.sem_timedwait, sem, ctypes.byref(after(3600))))
"""


@pytest.mark.parametrize("by", [3600.0, -3600.0])
def test_deadlines_from_a_shifted_clock_are_met(box: Box, by: float) -> None:
    """Without translation they would come an hour late, which is a hang, or at once."""
    result = run(box, *PYTHON, WAITS, by=by)
    took = [float(word) for word in result.output.split()]
    assert len(took) == 6, result.output
    assert all(0.29 <= seconds < 20 for seconds in took), took


def test_readings_are_reported_a_few_times_and_counted_exactly(box: Box) -> None:
    script = "import time\nfor _ in range(3000): time.time_ns()\nprint(time.time())"
    result = run(box, *PYTHON, script)
    assert is_shifted(float(result.output))
    assert len(result.hits("c")) == 20
    totals = box.sandbox.totals()["c"]
    assert totals["acted"] == totals["matched"] >= 3001


def test_many_threads_read_a_clock_that_never_goes_back(box: Box) -> None:
    script = """
import threading, time
wrong = []
def read():
    last = 0
    for _ in range(40):
        now = time.time_ns()
        if now < last: wrong.append(last - now)
        last = now
threads = [threading.Thread(target=read) for _ in range(64)]
[t.start() for t in threads]; [t.join() for t in threads]
print(wrong, time.time())
"""
    result = run(box, *PYTHON, script)
    wrong, now = result.output.rsplit(None, 1)
    assert wrong == "[]"
    assert is_shifted(float(now))
    assert box.sandbox.totals()["c"]["acted"] >= 64 * 40


def test_a_program_that_may_not_be_read_or_wants_to_be_another_user(make_box: Callable[..., Box]) -> None:
    """no_new_privs takes the bit's power away, and the clock is shifted as everywhere."""
    box = make_box("root")
    box.run(f"cp $(command -v date) {box.path()}/date; cp {box.path()}/date {box.path()}/unreadable")
    box.sandbox.call("chmod", path=f"{box.path()}/date", mode=0o4755)
    box.sandbox.call("chmod", path=f"{box.path()}/unreadable", mode=0o111)
    for name in ("date", "unreadable"):
        result = run(box, f"{box.path()}/{name}", "+%s", rules=shifted())
        assert is_shifted(float(result.output)), name
    other = box.run(f"{box.path()}/date", "+%s", rules=shifted(), hide_vdso=True, user=1000)
    assert is_shifted(float(other.output))


def test_exec_of_a_tree_that_is_killed_at_any_moment(box: Box) -> None:
    """A thread that dies between the call and the stop after it must not be left as a zombie of ours."""
    for number in range(10):
        name = f"c{number}"
        rules = [rule(name, "clock", "*", "clock", delay=YEAR)]
        pid, read = box.start("while :; do date >/dev/null; done", rules=rules, hide_vdso=True)
        box.wait_for(lambda e, name=name: e.kind == "syscall" and e.data["rule"] == name)  # type: ignore[misc]
        box.kill(pid)
        box.code(pid)
        os.close(read)
    assert [p.command for p in box.sandbox.processes() if "date" in p.command] == []
    assert run(box, "date", "+%s").returncode == 0


def test_what_cannot_be_traced_runs_and_is_said(box: Box) -> None:
    """A program that is traced already cannot be seized: its clock is right, and we know it."""
    script = """
import ctypes, os, shutil, signal, sys
libc = ctypes.CDLL(None)
date = shutil.which("date")
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.execv(date, ["date", "+%s"])
while True:
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status): break
    libc.ptrace(7, pid, None, ctypes.c_void_p(0 if os.WSTOPSIG(status) in (signal.SIGSTOP, signal.SIGTRAP) else os.WSTOPSIG(status)))
"""
    result = run(box, *PYTHON, script)
    assert is_shifted(float(result.output), 0)
    said = [e.data["message"] for e in result.events if e.data.get("cannot") == "hide_vdso"]
    assert len(said) == 1
    assert "is not under control: it cannot be traced (Operation not permitted)" in said[0]
    assert sys.executable.rsplit("/", 1)[-1][:6] in said[0]
