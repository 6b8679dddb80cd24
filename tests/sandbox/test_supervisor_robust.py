"""What must not bring the supervisor down, and what its own end must not do to a target."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable

import pytest

from backupchaos.environments.local.answers import Pending
from backupchaos.environments.local.channel import Channel, pair
from backupchaos.environments.local.supervised import SupervisedServer

from .conftest import LIMIT, Box
from .test_supervisor import PYTHON, rule, touch

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("seccomp")]
TO_SUPERVISOR = """
import os, sys
for name in os.listdir("/proc"):
    if not name.isdigit() or name == "1": continue
    if b"agent" + b".py" in open(f"/proc/{name}/cmdline", "rb").read():
        if sys.argv[1] == "peak":
            print([l for l in open(f"/proc/{name}/status") if l.startswith("VmHWM")][0].split()[1])
        else:
            os.kill(int(name), int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_supervisor_that_stands_still_or_dies_lets_nobody_hang(box: Box, number: signal.Signals) -> None:
    held, other = touch(box, "held", "other")
    rules = [rule("h", "unlink", held, "hold"), rule("o", "stat", "/nowhere")]
    pid, read = box.start(f"rm {held}; ls -l {other}; echo ended", rules=rules)
    box.wait_for(lambda e: e.kind == "syscall")
    box.run(*PYTHON, TO_SUPERVISOR, str(int(number)), role="tool")
    event = box.wait_for(lambda e: e.kind == "supervisor" and bool(e.data.get("died")))
    assert "supervised processes get ENOSYS" in event.data["message"]
    assert box.code(pid) is not None
    assert box.sandbox.call("digest", path=held) is not None, "the held call was never made"
    os.close(read)


def test_a_question_that_the_supervisor_takes_to_its_grave_is_answered() -> None:
    """The harness waits for an answer without a limit, so that there must be one."""
    (harness, requests), (events, events_end), (agent_side, supervisor) = pair(), pair(), pair()
    harness.settimeout(10)
    server = SupervisedServer(Channel(requests), Channel(events_end), None, {})
    server.use_supervisor(agent_side)
    asked = server.do_totals({}, [])
    assert isinstance(asked, Pending)
    supervisor.close()
    server._hear()
    answer, _ = Channel(harness).receive()
    assert (answer["problem"], "the system call supervisor died" in answer["text"]) == ("HarnessBroken", True)
    event, _ = Channel(events).receive()
    assert event["data"]["died"] is True
    assert server.do_totals({}, []) == {}, "without a supervisor nothing was counted"
    for sock in (harness, requests, events, events_end):
        sock.close()


def test_sixty_four_threads(box: Box) -> None:
    paths = touch(box, "yes", "no")
    script = """
import os, sys, threading
failed = []
def hammer():
    for _ in range(50):
        os.stat(sys.argv[2])
        try: os.stat(sys.argv[1])
        except OSError as e: failed.append(e.errno)
threads = [threading.Thread(target=hammer) for _ in range(64)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(failed), set(failed))
"""
    result = box.run(
        *PYTHON, script, *paths, rules=[rule("r", "stat", paths[0], "errno", errno=errno.EIO, skip=200)]
    )
    assert result.output == f"{64 * 50 - 200} {{{errno.EIO}}}\n"
    assert box.sandbox.totals()["r"]["matched"] == 64 * 50


def test_a_tree_that_forks_all_the_time(box: Box) -> None:
    (path,) = touch(box, "f")
    script = """
import os, sys
def below(depth):
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            if depth: below(depth - 1)
            for _ in range(5): os.stat(sys.argv[1])
            os._exit(0)
        children.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
below(3)
print("done")
"""
    result = box.run(*PYTHON, script, path, rules=[rule("r", "stat", path)])
    assert result.output == "done\n"
    assert box.sandbox.totals()["r"]["matched"] == (4 + 16 + 64 + 256) * 5


def test_killed_while_held_is_forgotten(box: Box) -> None:
    first, second = touch(box, "a", "b")
    rules = [rule("h", "unlink", f"{box.path()}/*", "hold")]
    pid, read = box.start(f"rm {first} & rm {second} & wait", rules=rules)
    holders = {
        path: box.wait_for(lambda e, path=path: e.kind == "syscall" and e.data["path"] == path).data["pid"]  # type: ignore[misc]
        for path in (first, second)
    }
    assert box.sandbox.totals()["h"]["held"] == 2
    box.sandbox.signal(holders[first], signal.SIGKILL)
    deadline = time.monotonic() + LIMIT
    while box.sandbox.totals()["h"]["held"] == 2 and time.monotonic() < deadline:
        pass  # the kernel has to end it first
    assert box.sandbox.totals()["h"]["held"] == 1, "although others of its tree live"
    box.sandbox.release("h")
    assert box.code(pid) == 0
    assert [box.sandbox.call("digest", path=path) is None for path in (first, second)] == [False, True]
    os.close(read)


def test_a_sandbox_closes_although_calls_are_held(any_box: Box) -> None:
    (path,) = touch(any_box, "f")
    script = "import os,sys,threading\n[threading.Thread(target=os.unlink, args=(sys.argv[1],)).start() for _ in range(20)]"
    _, read = any_box.start(*PYTHON, script, path, rules=[rule("h", "unlink", path, "hold")])
    any_box.wait_for(lambda e: e.kind == "syscall" and e.data["ordinal"] == 20)
    started = time.monotonic()
    any_box.sandbox.close()
    assert time.monotonic() - started < 15, "it would have been killed after 20 s"
    os.close(read)


def test_a_listener_of_the_targets_own_is_refused_and_ours_goes_on(box: Box) -> None:
    (path,) = touch(box, "f")
    script = """
import ctypes, errno, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000), 8)
def install(flags):
    r = libc.syscall({"x86_64": 317, "aarch64": 277}[os.uname().machine], 1, flags, struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))
    return errno.errorcode[ctypes.get_errno()] if r < 0 else "ok"
print(install(8), install(0))
try: os.stat(sys.argv[1])
except OSError as e: print(errno.errorcode[e.errno])
"""
    result = box.run(*PYTHON, script, path, rules=[rule("r", "stat", path, "errno", errno=errno.EIO)])
    assert result.output.split() == ["EBUSY", "ok", "EIO"]


def test_io_uring_does_not_exist_for_who_is_supervised(box: Box) -> None:
    script = (
        "import ctypes; print(ctypes.CDLL(None, use_errno=True).syscall(425, 1, None), ctypes.get_errno())"
    )
    result = box.run(*PYTHON, script, rules=[rule("r", "unlink", "/nowhere")])
    assert result.output.split() == ["-1", str(errno.ENOSYS)]


def test_a_flood_of_hits_costs_bounded_memory_and_events(box: Box) -> None:
    """The harness reads nothing meanwhile, and two rules hit at every call."""
    pid, read = box.start("sleep 60", rules=[rule("first", "unlink", "/nowhere")])
    before = int(box.run(*PYTHON, TO_SUPERVISOR, "peak", role="tool").output.split()[-1])
    script = "import os\nfd=os.open('/dev/null',1)\nfor _ in range(20000): os.write(fd, b'ab')"
    rules = [rule("w", "write", "/dev/null"), rule("v", "write", "/dev/null")]
    result = box.run(*PYTHON, script, rules=rules)
    after = int(box.run(*PYTHON, TO_SUPERVISOR, "peak", role="tool").output.split()[-1])
    assert box.sandbox.totals()["w"]["matched"] == 20_000
    assert len([e for e in result.events if e.kind != "exit"]) <= 2 * (1000 + 20 + 1)
    assert after - before < 8_000, "kB"
    box.kill(pid)
    box.code(pid)
    os.close(read)


def test_a_program_with_another_users_bit_stays_supervised_and_powerless(
    make_box: Callable[..., Box],
) -> None:
    box = make_box("root")
    (path,) = touch(box, "f")
    box.run(f"cp $(readlink -f $(command -v cat)) {box.path()}/cat")
    box.sandbox.call("chmod", path=f"{box.path()}/cat", mode=0o4755)
    result = box.run(
        f"{box.path()}/cat {path}", rules=[rule("r", "open", path, "errno", errno=errno.EIO)], user=1000
    )
    assert "Input/output error" in result.output
    assert len(result.hits("r")) == 1


def test_locks_are_refused_and_unlocking_is_not(box: Box) -> None:
    (path,) = touch(box, "f")
    script = """
import errno, fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
def do(f, *a):
    try: f(*a); print("ok", end=" ")
    except OSError as e: print(errno.errorcode[e.errno], end=" ")
do(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB); do(fcntl.flock, fd, fcntl.LOCK_SH); do(fcntl.flock, fd, fcntl.LOCK_UN)
do(fcntl.lockf, fd, fcntl.LOCK_EX); do(fcntl.lockf, fd, fcntl.LOCK_SH | fcntl.LOCK_NB); do(fcntl.lockf, fd, fcntl.LOCK_UN)
do(fcntl.fcntl, fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
do(fcntl.fcntl, fd, fcntl.F_GETFL); do(fcntl.fcntl, fd, fcntl.F_DUPFD, 100)
"""
    rules = [rule("l", "lock", path, "errno", errno=errno.EAGAIN)]
    result = box.run(*PYTHON, script, path, rules=rules)
    assert result.output.split() == ["EAGAIN", "EAGAIN", "ok", "EAGAIN", "EAGAIN", "ok", "EAGAIN", "ok", "ok"]
    assert [h["call"] for h in result.hits("l")] == ["flock"] * 2 + ["fcntl"] * 3
    assert (
        box.run(*PYTHON, script, path, rules=[rule("n", "lock", "/nowhere", "errno", errno=5)]).hits("n")
        == []
    )


def test_directories_and_every_way_to_sync(box: Box) -> None:
    touch(box, "f")
    source = box.path()
    script = """
import ctypes, errno, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def do(f, *a):
    try: f(*a); print("ok", end=" ")
    except OSError as e: print(errno.errorcode[e.errno], end=" ")
def raw(f, *a):
    if f(*a) < 0: raise OSError(ctypes.get_errno(), "")
do(os.listdir, sys.argv[1])
fd = os.open(sys.argv[1] + "/f", os.O_RDWR)
view = mmap.mmap(fd, 0)
do(os.fsync, fd); do(os.fdatasync, fd); do(raw, libc.syncfs, fd); do(raw, libc.sync_file_range, fd, ctypes.c_long(0), ctypes.c_long(0), 7)
do(view.flush); os.sync()
"""
    rules = [
        rule("d", "readdir", f"{source}/**", "errno", errno=errno.EIO),
        rule("s", "sync", f"{source}/**", "errno", errno=errno.EIO),
    ]
    result = box.run(*PYTHON, script, source, rules=rules)
    assert result.output.split() == ["EIO"] * 6
    assert [(h["call"], h["path"].removeprefix(source)) for h in result.hits("s")] == [
        ("fsync", "/f"),
        ("fdatasync", "/f"),
        ("syncfs", "/f"),
        ("sync_file_range", "/f"),
        ("msync", "/f"),
        ("sync", "(every file)"),
    ]


def test_the_root_directory_is_a_path_like_any_other(box: Box) -> None:
    script = "import os; print(len(os.listdir('/')) > 0)"
    assert box.run(*PYTHON, script, rules=[rule("d", "readdir", "/x", "errno", errno=5)]).output == "True\n"


def test_a_copy_between_two_files_is_seen_by_rules_for_either(box: Box) -> None:
    touch(box, "from")
    script = """
import errno, os, sys
d = sys.argv[1]
src, dst = os.open(d + "/from", os.O_RDONLY), os.open(d + "/to", os.O_CREAT | os.O_WRONLY)
for copy in (os.sendfile, os.copy_file_range):
    try: print(copy(dst, src, 0, 9) if copy is os.sendfile else copy(src, dst, 9))
    except OSError as e: print(errno.errorcode[e.errno])
"""
    source = box.path()
    rules = [
        rule("reads", "read", f"{source}/to", "errno", errno=errno.EIO),
        rule("writes", "write", f"{source}/from", "errno", errno=errno.EIO),
        rule("from", "read", f"{source}/from"),
        rule("to", "write", f"{source}/to"),
        rule("both", ("read", "write"), f"{source}/*"),
    ]
    result = box.run(*PYTHON, script, source, rules=rules)
    assert result.output.split() == ["8", "8"], "neither reads the one nor writes the other"
    assert [len(result.hits(name)) for name in ("from", "to", "both")] == [2, 2, 2]
