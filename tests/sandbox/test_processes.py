"""Exits, roles, orphans, and signals that reach whole trees."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from .conftest import Box

DAEMON = """
import os, sys
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(w, b"%d" % os.getpid())  # w itself closes on exec, which ends the reading below
        if sys.argv[1] == "wipe":
            os.execve("/bin/sleep", ["sleep", "1000"], {})
        os.execv("/bin/sleep", ["sleep", "1000"])
    os._exit(0)
os.close(w)
os.wait()
print(os.fdopen(r).read(), flush=True)
"""


def test_exit_events_tell_code_signal_and_role(any_box: Box) -> None:
    assert any_box.run("exit 7").returncode == 7
    assert any_box.run("kill -TERM $$").returncode == -signal.SIGTERM
    event = next(e for e in any_box.run("true", role="service").events if e.kind == "exit")
    assert (event.kind, event.data["role"]) == ("exit", "service")


@pytest.mark.parametrize("how", ["keep", "wipe"])
def test_a_daemon_is_found_as_orphan_and_killed(any_box: Box, how: str) -> None:
    result = any_box.run(sys.executable, "-IS", "-c", DAEMON, how)
    daemon = int(result.output)
    found = {p.pid: p for p in any_box.sandbox.processes()}
    assert found[daemon].role == "orphan"
    assert "sleep 1000" in found[daemon].command
    assert any_box.sandbox.signal(result.pid, signal.SIGKILL, tree=True)
    assert any_box.sandbox.processes() == []
    assert not any_box.sandbox.signal(result.pid, signal.SIGKILL, tree=True)


def test_a_daemon_of_a_service_is_no_orphan_of_the_target(box: Box) -> None:
    box.run(sys.executable, "-IS", "-c", DAEMON, "wipe", role="service")
    assert [p.role for p in box.sandbox.processes()] == ["service"]


def test_children_keep_their_role(any_box: Box) -> None:
    pid, read = any_box.start("sleep 1000 & echo go; wait", role="link")
    assert any_box.line(read) == "go"
    assert {p.role for p in any_box.sandbox.processes()} == {"link"}
    assert len(any_box.sandbox.processes()) == 2
    any_box.kill(pid)
    assert any_box.code(pid) == -signal.SIGKILL
    os.close(read)


def test_a_tree_that_ignores_term_ends_by_kill(any_box: Box) -> None:
    pid, read = any_box.start("trap '' TERM; sleep 1000 & echo go; wait; sleep 1000")
    assert any_box.line(read) == "go"
    assert any_box.sandbox.signal(pid, signal.SIGTERM, tree=True)
    assert any_box.sandbox.processes()
    assert any_box.sandbox.signal(pid, signal.SIGKILL, tree=True)
    assert any_box.code(pid) == -signal.SIGKILL
    assert any_box.sandbox.processes() == []
    assert not any_box.sandbox.signal(pid, signal.SIGKILL)
    os.close(read)


BOMB = """
import os, sys, time
for _ in range(50):
    if os.fork() == 0:
        while True:
            os.setsid() if os.getsid(0) != os.getpid() else None
            if os.fork():
                os._exit(0)
            time.sleep(float(sys.argv[1]))
print("go", flush=True)
time.sleep(1000)
"""


def _bomb(box: Box, pause: str) -> None:
    """Fifty processes, each of which keeps replacing itself by a child in a session of its own."""
    pid, read = box.start(sys.executable, "-IS", "-c", BOMB, pause)
    assert box.line(read) == "go"
    assert box.sandbox.signal(pid, signal.SIGKILL, tree=True)
    assert box.code(pid) == -signal.SIGKILL
    assert box.sandbox.processes() == []
    os.close(read)


def test_a_fork_bomb_of_fifty_ends(box: Box) -> None:
    other, read = box.start("echo go; exec sleep 1000", role="service")
    assert box.line(read) == "go"
    with pytest.raises(AssertionError, match="role='service'"):
        _bomb(box, "0.001")
    assert [(p.pid, p.role) for p in box.sandbox.processes()] == [(other, "service")]
    assert "S" in box.run(f"cut -d' ' -f3 /proc/{other}/stat").output
    os.close(read)


def test_a_slow_fork_bomb_ends_without_namespaces(make_box: Callable[..., Box]) -> None:
    _bomb(make_box("plain"), "1000")


def test_stop_and_continue_reach_the_whole_tree(box: Box) -> None:
    pid, read = box.start("sleep 1000 & echo go; wait")
    assert box.line(read) == "go"

    members = " ".join(f"/proc/{p.pid}/stat" for p in box.sandbox.processes())

    def states() -> set[str]:
        rows = box.run(f"cat {members}", role="tool").output.splitlines()
        assert len(rows) == 2
        return {row.rpartition(") ")[2][0] for row in rows}

    box.sandbox.signal(pid, signal.SIGSTOP, tree=True)
    assert states() == {"T"}
    box.sandbox.signal(pid, signal.SIGCONT, tree=True)
    assert states() == {"S"}
    box.kill(pid)
    os.close(read)


@pytest.mark.needs("namespaces")
def test_processes_of_one_sandbox_are_no_concern_of_another(make_box: Callable[..., Box]) -> None:
    one, two = make_box("root"), make_box("userns")
    pid, read = one.start("echo go; exec sleep 1000")
    assert one.line(read) == "go"
    assert two.sandbox.processes() == []
    assert [p.pid for p in one.sandbox.processes()] == [pid]
    one.run(f"echo 1 > {one.path()}/f")
    assert two.run(f"cat {two.path()}/f").returncode != 0
    one.sandbox.close()
    assert two.run("echo fine").output == "fine\n"
    os.close(read)
