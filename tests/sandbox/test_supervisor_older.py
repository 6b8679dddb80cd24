"""Linux before 5.19, where any signal aborts a stopped call: the same, by declining the newer flag."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import backupchaos
from backupchaos.environments.local import kernel
from backupchaos.syscalls import filters
from backupchaos.syscalls.listener import Listener
from backupchaos.syscalls.parking import Parking, Stopped

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("seccomp")]
ROOT = str(Path(backupchaos.__file__).parents[1])
HARNESS = """
import json, os, signal, socket, sys
from dataclasses import asdict
from backupchaos.environments.base import SyscallRule
from backupchaos.environments.local import kernel, vdso
from backupchaos.environments.local.channel import Channel, pair
from backupchaos.syscalls import filters
from backupchaos.syscalls.rules import Rule
from backupchaos.syscalls.supervisor import INTERRUPTIBLE, Supervisor

def supervised(rules, execs, work):
    ours, theirs = pair()
    if os.fork() == 0:
        ours.close()
        try: Supervisor(Channel(theirs)).run()
        finally: os._exit(1)
    theirs.close()
    control = Channel(ours)
    a, b = socket.socketpair()
    control.send({"do": "attach", "rules": [asdict(r) for r in rules], "execs": execs}, [b.fileno()])
    code = filters.program({**filters.wanted_by([Rule(asdict(r)) for r in rules]), **dict.fromkeys(execs, ())})
    pid = os.fork()
    if pid == 0:
        ours.close()
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        listener, killable = filters.install(code, killable=False)
        assert not killable
        socket.send_fds(a, [INTERRUPTIBLE], [listener])
        os.close(listener)
        try: work()
        finally: os._exit(1)
    a.close(); b.close()
    return pid, control

def ask(control, what, **more):
    control.send({"do": what, **more})
    while True:
        message, _ = control.receive()
        if "answer" in message: return message["answer"]
"""
DELAYED = """
def work():
    ticks = []
    signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    fd = os.open("/dev/null", os.O_WRONLY)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    os.write(fd, b"x")
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(len(ticks) > 5, flush=True); os._exit(0)
pid, control = supervised([SyscallRule("d", ("write",), ("/dev/null",), "delay", delay=0.5, armed=True)], [], work)
assert os.waitpid(pid, 0)[1] == 0
print(ask(control, "totals")["d"]["matched"])
"""
EXECUTED = """
def work():
    signal.signal(signal.SIGURG, lambda *_: None)
    os.execvp("sh", ["sh", "-c", "date +%s; date +%s"])
rules = [SyscallRule("c", ("clock",), ("*",), "clock", delay=1e8, armed=True)]
pid, control = supervised(rules, list(vdso.EXEC_CALLS[kernel.MACHINE]), work)
for _ in range(50): os.kill(pid, signal.SIGURG)
assert os.waitpid(pid, 0)[1] == 0
print(ask(control, "totals")["c"]["acted"] >= 2)
"""


def run(script: str) -> list[str]:
    command = [sys.executable, "-c", HARNESS + script]
    done = subprocess.run(command, env={"PYTHONPATH": ROOT, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.split()


def test_a_call_that_signals_abort_again_and_again_is_one_call_and_comes_to_its_end() -> None:
    assert run(DELAYED) == ["True", "1"]


@pytest.mark.needs("clock")
def test_the_vdso_is_hidden_there_too() -> None:
    first, second, enough = run(EXECUTED)
    assert all(abs(float(seconds) - time.time() - 1e8) < 60 for seconds in (first, second))
    assert enough == "True"


def test_an_older_kernel_refuses_the_flag_and_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def syscall(what: str, number: int, operation: int, flags: int, header: bytes) -> int:
        asked.append(flags)
        if flags & 32:
            raise OSError(errno.EINVAL, "Invalid argument", what)
        return 42

    monkeypatch.setattr(kernel, "syscall", syscall)
    assert filters.install(filters.program([1])) == (42, False)
    assert asked == [8 | 32, 8]


class Fake(Listener):
    """A listener whose callers are a set of numbers."""

    def __init__(self, killable: bool) -> None:
        super().__init__(-1, [], killable=killable)
        self.there: set[int] = set()
        self.answered: list[Any] = []

    def waits(self, ident: int) -> bool:
        return ident in self.there


def test_parked_calls_that_come_again() -> None:
    parking = Parking(lambda stopped: listener.answered.append(stopped.ident))
    listener = Fake(killable=False)
    parking.hold("h", Stopped(listener, 1, 100, 87, (7, 8)))
    listener.there = {1, 2}
    assert not parking.comes_again(Stopped(listener, 2, 101, 87, (7, 8))), "another thread"
    listener.there = {3}
    assert parking.comes_again(Stopped(listener, 3, 100, 87, (7, 8)))
    assert parking.held("h") == 1
    assert parking.release("h") == 1
    assert listener.answered == [3], "the call that waits now, not the one that was aborted"
    assert not parking.comes_again(Stopped(listener, 4, 100, 87, (7, 8))), "it was let go"
    parking.hold("h", Stopped(listener, 5, 100, 87, (7, 8)))
    listener.there = set()
    assert not parking.comes_again(Stopped(listener, 6, 100, 87, (9, 8))), "another call"
    assert parking.release("h") == 0


def test_where_only_death_aborts_nothing_comes_again() -> None:
    parking = Parking(lambda stopped: None)
    listener = Fake(killable=True)
    parking.delay(10, Stopped(listener, 1, 100, 87, (7, 8)))
    assert not parking.comes_again(Stopped(listener, 2, 100, 87, (7, 8))), "a new process with an old number"
