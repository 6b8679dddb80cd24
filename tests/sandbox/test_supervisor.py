"""The system call supervisor on real processes: shells, threads, static Go."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from backupchaos.environments.base import Place, SandboxEvent, SyscallRule
from backupchaos.errors import UsageProblem

from . import golang
from .conftest import LIMIT, Box

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("seccomp")]
PYTHON = (sys.executable, "-IS", "-c")
OPEN = """
import errno, os, sys
for path in sys.argv[1:]:
    try: os.close(os.open(path, os.O_RDONLY)); print("ok")
    except OSError as e: print(errno.errorcode[e.errno])
"""


def rule(
    name: str,
    calls: tuple[str, ...] | str,
    paths: tuple[str, ...] | str,
    action: Any = "observe",
    **more: Any,
) -> SyscallRule:
    calls = (calls,) if isinstance(calls, str) else calls
    paths = (paths,) if isinstance(paths, str) else paths
    return SyscallRule(name, calls, paths, action, armed=more.pop("armed", True), **more)


def held_at(path: str) -> Callable[[SandboxEvent], bool]:
    return lambda e: e.kind == "syscall" and e.data["path"] == path


def touch(box: Box, *names: str) -> list[str]:
    paths = [f"{box.path()}/{name}" for name in names]
    for path in paths:
        box.sandbox.call("write_file", path=path, text="content\n")
    return paths


@pytest.mark.parametrize(
    ("skip", "times", "expected"),
    [
        (0, 1, "EBUSY ok ok ok"),
        (0, None, "EBUSY EBUSY EBUSY EBUSY"),
        (2, None, "ok ok EBUSY EBUSY"),
        (1, 2, "ok EBUSY EBUSY ok"),
    ],
)
def test_errno_once_for_ever_and_after_some(
    any_box: Box, skip: int, times: int | None, expected: str
) -> None:
    (path,) = touch(any_box, "f")
    result = any_box.run(
        *PYTHON,
        OPEN,
        path,
        path,
        path,
        path,
        rules=[rule("r", "open", path, "errno", errno=errno.EBUSY, skip=skip, times=times)],
    )
    assert result.output.split() == expected.split()
    hits = result.hits("r")
    assert len(hits) == expected.count("EBUSY")
    assert [h["ordinal"] for h in hits] == [
        i + 1 for i, word in enumerate(expected.split()) if word == "EBUSY"
    ]
    assert {(h["call"], h["path"], h["action"], h["pid"]) for h in hits} == {
        ("openat", path, "errno", result.pid)
    }
    assert any_box.sandbox.totals()["r"]["matched"] == 4


def test_patterns(box: Box) -> None:
    paths = touch(box, "a.txt", "b.bin", "deep/er/c.txt", "odd[1]/d")
    source = box.path()

    def refused(*patterns: str) -> list[str]:
        rules = [rule("p" + str(hash(patterns)), "open", patterns, "errno", errno=errno.EIO)]
        out = box.run(*PYTHON, OPEN, *paths, source, rules=rules).output.split()
        return [
            p.removeprefix(source) for p, word in zip([*paths, source], out, strict=True) if word == "EIO"
        ]

    assert refused(f"{source}/*.txt") == ["/a.txt", "/deep/er/c.txt"]
    assert refused(f"{source}/deep/**") == ["/deep/er/c.txt"]
    assert refused(f"{source}/**") == ["/a.txt", "/b.bin", "/deep/er/c.txt", "/odd[1]/d", ""]
    assert refused(f"{source}/?.bin", f"{source}/odd[[]1]/d") == ["/b.bin", "/odd[1]/d"]
    assert refused(f"{source}/dee") == []


def test_every_spelling_of_a_path_matches(box: Box) -> None:
    (path,) = touch(box, "sub/f")
    folder = os.path.dirname(path)
    script = """
import os, sys
folder, name = os.path.split(sys.argv[1])
os.chdir(folder)
fd = os.open(".", os.O_RDONLY)
up = os.open("..", os.O_RDONLY)
for what, how in [(name, {}), ("./" + name, {}), ("../sub/" + name, {}), (name, {"dir_fd": fd}), ("sub//f", {"dir_fd": up}),
                  ("/proc/self/cwd/f", {}), (f"/proc/self/fd/{fd}/f", {}), (f"/proc/{os.getpid()}/cwd/f", {}), (f"/dev/fd/{up}/sub/f", {}),
                  ("/proc/thread-self/cwd/f", {}), ("/proc/self/root" + sys.argv[1], {})]:
    try: os.open(what, os.O_RDONLY, **how); print("opened", what)
    except PermissionError: pass
"""
    result = box.run(*PYTHON, script, path, rules=[rule("r", "open", path, "errno", errno=errno.EACCES)])
    assert (result.output, len(result.hits("r"))) == ("", 11)
    assert {h["path"] for h in result.hits("r")} == {f"{folder}/f"}


def test_calls_on_descriptors_renames_and_families(box: Box) -> None:
    source = box.path()
    script = """
import os, sys
d = sys.argv[1]
def do(f, *a, **k):
    try: f(*a, **k); print("ok", end=" ")
    except OSError as e: print(e.errno, end=" ")
fd = os.open(d + "/f", os.O_CREAT | os.O_RDWR)
do(os.write, fd, b"x"); do(os.writev, fd, [b"x"]); do(os.pwrite, fd, b"x", 0)
do(os.fsync, fd); do(os.fdatasync, fd); do(os.ftruncate, fd, 0)
do(os.rename, d + "/f", d + "/g"); do(os.rename, d + "/f", "/tmp/elsewhere"); do(os.mkdir, d + "/m"); do(os.unlink, d + "/f"); do(os.rmdir, d)
do(os.link, d + "/f", "/tmp/l"); do(os.symlink, "x", d + "/s"); do(os.stat, d + "/f"); do(os.listdir, d); do(os.chmod, d + "/f", 0o600)
do(os.setxattr, d + "/f", "user.a", b"1"); do(os.truncate, d + "/f", 0); do(os.read, fd, 1); do(os.utime, d + "/f")
"""
    families = (
        "write",
        "fsync",
        "truncate",
        "rename",
        "mkdir",
        "unlink",
        "link",
        "symlink",
        "stat",
        "getdents",
        "chmod",
        "setxattr",
        "read",
        "utime",
    )
    result = box.run(
        *PYTHON, script, source, rules=[rule("all", families, f"{source}/**", "errno", errno=errno.EIO)]
    )
    assert result.output.split() == ["5"] * 20


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("create", "5 ok ok"), ("openwrite", "5 5 ok"), ("openread", "ok ok 5"), ("openat", "5 5 5")],
)
def test_kinds_of_open(box: Box, kind: str, expected: str) -> None:
    script = """
import os, sys
for flags in (os.O_CREAT | os.O_WRONLY, os.O_RDWR, os.O_RDONLY):
    try: os.open(sys.argv[1], flags); print("ok", end=" ")
    except OSError as e: print(e.errno, end=" ")
"""
    (path,) = touch(box, "f")
    assert (
        box.run(
            *PYTHON, script, path, rules=[rule(kind, kind, path, "errno", errno=errno.EIO)]
        ).output.split()
        == expected.split()
    )


def test_skip_counted_in_bytes(box: Box) -> None:
    script = """
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for n in (4000, 4000, 3000, 100, 1):
    try: os.write(fd, bytes(n)); print("ok", end=" ")
    except OSError as e: print(e.errno, end=" ")
try: os.writev(fd, [bytes(10), bytes(10)])
except OSError as e: print(e.errno)
"""
    path = f"{box.path()}/f"
    result = box.run(
        *PYTHON,
        script,
        path,
        rules=[rule("b", "write", path, "errno", errno=errno.ENOSPC, skip=10_000, measure="bytes")],
    )
    assert result.output.split() == ["ok", "ok", "28", "28", "28", "28"]
    assert box.sandbox.call("stat", path=path)["size"] == 8000
    assert box.sandbox.totals()["b"]["bytes"] == 11_121


def test_room_that_is_reserved_counts_by_what_the_file_has_not_yet(box: Box) -> None:
    """KEEP_SIZE is 1, PUNCH_HOLE 2: the one reserves room behind the end of the file, the other gives some back."""
    script = """
import ctypes, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
call = ctypes.CDLL(None, use_errno=True).fallocate
call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
os.write(fd, bytes(4096))
for mode, begin, length in ((0, 0, 8192), (3, 0, 1 << 20), (1, 0, 12288), (1, 8192, 4096), (0, 0, 16385)):
    print("ok" if call(fd, mode, begin, length) == 0 else ctypes.get_errno(), end=" ")
"""
    path = f"{box.path()}/f"
    calls = ("write", "fallocate")
    result = box.run(
        *PYTHON,
        script,
        path,
        rules=[rule("b", calls, path, "errno", errno=errno.ENOSPC, skip=8192, measure="bytes")],
    )
    assert result.output.split() == ["ok", "ok", "ok", "ok", "28"]
    assert box.sandbox.totals()["b"]["bytes"] == 4096


def test_success_without_doing_it(box: Box) -> None:
    (path,) = touch(box, "f")
    result = box.run(
        f"rm {path} && echo removed; cat {path}", rules=[rule("lie", "unlink", path, "errno", errno=0)]
    )
    assert result.output == "removed\ncontent\n"


def test_kill_comes_before_the_call(box: Box) -> None:
    a, b = touch(box, "a", "b")
    script = "import os,sys,threading\nt=threading.Thread(target=lambda: (os.unlink(sys.argv[1]), os.unlink(sys.argv[2])))\nt.start(); t.join(); print('lived')"
    result = box.run(*PYTHON, script, a, b, rules=[rule("k", "unlink", f"{box.path()}/*", "kill", skip=1)])
    assert (result.output, result.returncode) == ("", -signal.SIGKILL)
    assert box.sandbox.call("digest", path=a) is None
    assert box.sandbox.call("digest", path=b) is not None
    assert result.hits("k")[0]["pid"] == result.pid


def test_signals_do_not_abort_a_stopped_call(box: Box) -> None:
    """Go preempts its threads by signals; a stopped call that they abort is made, and counted, again."""
    if "killable" not in box.sandbox.capabilities:
        pytest.skip("needs Linux 5.19")
    script = """
import os, signal, sys
count = 0
def tick(*_):
    global count
    count += 1
signal.signal(signal.SIGALRM, tick)
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
os.write(fd, b"x")
signal.setitimer(signal.ITIMER_REAL, 0)
print(count > 0)
"""
    path = f"{box.path()}/f"
    result = box.run(*PYTHON, script, path, rules=[rule("d", "write", path, "delay", delay=0.1)])
    assert result.output == "True\n"
    assert box.sandbox.totals()["d"]["matched"] == 1


def test_output_ends_with_the_process(any_box: Box) -> None:
    """The supervisor starts while the descriptors of the first process are open; it must not keep them."""
    pid, read = any_box.start("echo x", rules=[rule("o", "open", "/nowhere/**")])
    assert any_box.line(read) == "x"
    assert any_box.code(pid) == 0
    assert select.select([read], [], [], LIMIT)[0]
    assert os.read(read, 1) == b""
    os.close(read)


def test_delay(box: Box) -> None:
    (path,) = touch(box, "f")
    script = "import os,sys,time\nt=time.monotonic(); os.stat(sys.argv[1]); print(time.monotonic()-t)"
    took = float(box.run(*PYTHON, script, path, rules=[rule("d", "stat", path, "delay", delay=0.2)]).output)
    assert 0.2 <= took < LIMIT


def test_hold_and_release_many_threads_while_others_go_on(any_box: Box) -> None:
    paths = touch(any_box, *(f"f{i}" for i in range(8)), "free")
    script = """
import os, sys, threading
def one(path): os.unlink(path)
threads = [threading.Thread(target=one, args=(p,)) for p in sys.argv[1:9]]
[t.start() for t in threads]
os.unlink(sys.argv[9]); print("free", flush=True)
[t.join() for t in threads]; print("done", flush=True)
"""
    pid, read = any_box.start(
        *PYTHON, script, *paths, rules=[rule("h", "unlink", f"{any_box.path()}/f[0-9]", "hold")]
    )
    assert any_box.line(read) == "free"
    for path in paths[:8]:
        any_box.wait_for(held_at(path))
    assert any_box.sandbox.totals()["h"]["held"] == 8
    assert all(any_box.sandbox.call("digest", path=path) for path in paths[:8])
    any_box.sandbox.release("h")
    assert any_box.line(read) == "done"
    assert any_box.code(pid) == 0
    assert not any(any_box.sandbox.call("digest", path=path) for path in paths)
    os.close(read)


def test_a_held_process_can_be_killed_and_disarming_lets_go(box: Box) -> None:
    a, b = touch(box, "a", "b")
    rules = [rule("h", "unlink", f"{box.path()}/*", "hold")]
    pid, read = box.start("rm " + a, rules=rules)
    box.wait_for(lambda e: e.kind == "syscall")
    box.kill(pid)
    assert box.code(pid) == -signal.SIGKILL
    pid2, read2 = box.start("rm " + b, rules=rules)
    box.wait_for(lambda e: e.kind == "syscall" and e.data["path"] == b)
    box.sandbox.arm("h", False)
    assert box.code(pid2) == 0
    assert box.sandbox.call("digest", path=a) is not None
    assert box.sandbox.call("digest", path=b) is None
    os.close(read)
    os.close(read2)


def test_a_held_call_is_counted_once_by_every_rule(box: Box) -> None:
    """By those before the one that holds it, which have looked already, and by those behind it, which have not."""
    script = "import os,sys\nfor n in range(4): os.write(1, b'w'); os.stat(sys.argv[1])"
    (path,) = touch(box, "f")
    rules = [
        rule("before", "stat", path, "errno", skip=9),
        rule("h", "stat", path, "hold", skip=1, times=1),
        rule("second", "stat", path, "hold", skip=2, times=1),
        rule("behind", "stat", path, "errno", skip=9),
    ]
    pid, read = box.start(*PYTHON, script, path, rules=rules)
    for name in ("h", "second"):
        box.wait_for(lambda e, name=name: e.kind == "syscall" and e.data["rule"] == name)  # type: ignore[misc]
        box.sandbox.release(name)
    assert box.code(pid) == 0
    assert {name: counts["matched"] for name, counts in box.sandbox.totals().items()} == dict.fromkeys(
        ("before", "h", "second", "behind"), 4
    )
    os.close(read)


def test_arming_in_mid_run_counts_from_there(box: Box) -> None:
    (path,) = touch(box, "f")
    script = """
import os, sys
for line in sys.stdin:
    try: os.close(os.open(sys.argv[1], os.O_RDONLY)); print("ok", flush=True)
    except OSError as e: print(e.errno, flush=True)
"""
    commands, feed = os.pipe()
    pid, read = box.start(
        *PYTHON,
        script,
        path,
        stdin=commands,
        rules=[rule("late", "open", path, "errno", errno=errno.EIO, skip=1, times=1, armed=False)],
    )

    def tries(count: int) -> list[str]:
        found = []
        for _ in range(count):
            os.write(feed, b"\n")
            found.append(box.line(read))
        return found

    assert tries(3) == ["ok"] * 3
    box.sandbox.arm("late", True)
    assert tries(3) == ["ok", "5", "ok"]
    box.sandbox.arm("late", True)
    assert tries(3) == ["ok"] * 3, "already armed: nothing starts afresh"
    box.sandbox.arm("late", False)
    assert tries(2) == ["ok"] * 2
    box.sandbox.arm("late", True)
    assert tries(3) == ["ok", "5", "ok"]
    for fd in (feed, commands, read):
        os.close(fd)
    assert box.code(pid) == 0


def test_armed_before_any_process_and_for_later_ones(box: Box) -> None:
    (path,) = touch(box, "f")
    box.sandbox.arm("early", True)
    rules = [rule("early", "open", path, "errno", errno=errno.EIO, times=3, armed=False)]
    assert [box.run(*PYTHON, OPEN, path, path, rules=rules).output.split() for _ in range(2)] == [
        ["EIO", "EIO"],
        ["EIO", "ok"],
    ]
    assert box.run(*PYTHON, OPEN, path).output == "ok\n", "a process without rules is not supervised"
    assert "Seccomp:\t0" in box.run("grep Seccomp: /proc/self/status").output


def test_forks_exec_and_lost_dac_are_supervised(box: Box) -> None:
    (path,) = touch(box, "f")
    result = box.run(
        f"(sh -c 'env -i cat {path}' &) ; wait; exec cat {path}",
        drop_dac=True,
        rules=[rule("o", "open", path)],
    )
    deadline = time.monotonic() + LIMIT
    while len(result.hits("o")) < 2 and time.monotonic() < deadline:
        result.events += box.sandbox.events()
    assert len(result.hits("o")) == 2
    assert len({h["pid"] for h in result.hits("o")}) == 2


def test_two_rules_see_the_same_call(box: Box) -> None:
    (path,) = touch(box, "f")
    rules = [
        rule("fail", "open", path, "errno", errno=errno.EIO, times=1),
        rule("never", "open", path, "errno", errno=errno.EPERM, times=1),
        rule("watch", "open", path),
    ]
    result = box.run(*PYTHON, OPEN, path, path, path, rules=rules)
    assert result.output.split() == ["EIO", "EPERM", "ok"]
    assert [len(result.hits(name)) for name in ("fail", "never", "watch")] == [1, 1, 3]


def test_reports_are_capped_but_totals_are_exact(box: Box) -> None:
    script = "import os\nfd=os.open('/dev/null',1)\nfor _ in range(2500): os.write(fd, b'ab')"
    result = box.run(*PYTHON, script, rules=[rule("w", "write", "/dev/null")])
    assert len(result.hits("w")) == 1000
    box.wait_for(lambda e: e.kind == "supervisor" and e.data["matched"] == 2500 and e.data["bytes"] == 5000)
    assert box.sandbox.totals()["w"] == {
        "matched": 2500,
        "acted": 2500,
        "bytes": 5000,
        "held": 0,
        "armed": 1,
    }


def test_connect_is_matched_by_address(box: Box) -> None:
    script = """
import socket
for port in (80, 81):
    s = socket.socket()
    print(s.connect_ex(("127.0.0.1", port)))
s = socket.socket(socket.AF_UNIX)
print(s.connect_ex("/tmp/no-such-socket"))
"""
    rules = [rule("c", "connect", ("127.0.0.1:80", "/tmp/*"), "errno", errno=errno.ETIMEDOUT)]
    assert box.run(*PYTHON, script, rules=rules).output.split() == ["110", "111", "110"]


def test_the_end_of_the_supervisor_is_an_error_not_a_hang(box: Box) -> None:
    (path,) = touch(box, "f")
    pid, read = box.start("rm " + path, rules=[rule("h", "unlink", path, "hold")])
    box.wait_for(lambda e: e.kind == "syscall")
    script = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and name != "1" and b"agent.py" in open(f"/proc/{name}/cmdline", "rb").read():
        os.kill(int(name), signal.SIGKILL)
"""
    box.run(*PYTHON, script, role="tool")
    box.wait_for(lambda e: e.kind == "supervisor" and bool(e.data.get("died")))
    assert box.code(pid) != 0
    assert box.sandbox.call("digest", path=path) is not None
    again = box.run(*PYTHON, OPEN, path, rules=[rule("r", "open", path, "errno", errno=errno.EIO)])
    assert again.output == "EIO\n", "the next supervised process gets a new supervisor"
    os.close(read)


def test_an_unknown_call_is_the_users_mistake(box: Box) -> None:
    with pytest.raises(
        UsageProblem, match="unknown system call or family 'opne'; did you mean 'open'\\? known are"
    ):
        box.run("true", rules=[rule("r", "opne", "/x")])


@pytest.mark.needs("go")
@pytest.mark.slow
def test_a_static_go_program_with_many_goroutines(make_box: Callable[..., Box]) -> None:
    box = make_box(expose=[golang.program()])
    source = box.path(Place.SOURCE)
    rules = [
        rule("slow", "write", f"{source}/g0-*", "delay", delay=0.05, times=10),
        rule("w", "write", f"{source}/g[1-9]*", "errno", errno=errno.EIO, skip=100, times=7),
    ]
    result = box.run(golang.program(), "write", source, rules=rules)
    assert (result.output, result.returncode) == ("7\n", 0)
    totals = box.sandbox.totals()
    assert (totals["w"]["matched"], totals["w"]["acted"]) == (620, 7)
    assert len(result.hits("w")) == 7
    assert totals["slow"]["matched"] == 20, "no call is seen twice, in spite of preemption signals"
