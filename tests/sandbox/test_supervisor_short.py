"""Short writes: the caller's own file, offset and append mode, and what cannot be cut short."""

from __future__ import annotations

import base64
import errno

import pytest

from backupchaos.environments.base import Place
from backupchaos.errors import UsageProblem

from .conftest import Box
from .test_supervisor import PYTHON, rule

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.needs("seccomp")]


@pytest.fixture
def short_box(any_box: Box) -> Box:
    if "short_writes" not in any_box.sandbox.capabilities:
        pytest.skip("pidfd_getfd is refused")
    return any_box


def content(box: Box, path: str) -> bytes:
    return base64.b64decode(box.sandbox.call("read_file", path=path)["base64"])


def test_a_write_takes_a_part_and_moves_the_callers_own_offset(short_box: Box) -> None:
    script = """
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
other = os.dup(fd)
print(os.write(fd, b"abcdefgh"), os.lseek(fd, 0, 1), os.lseek(other, 0, 1))
print(os.write(fd, b"ABCDEFGH"), os.write(fd, b"xy"), os.lseek(fd, 0, 1))
"""
    path = f"{short_box.path()}/f"
    result = short_box.run(*PYTHON, script, path, rules=[rule("s", "write", path, "short", size=3, times=1)])
    assert result.output.splitlines() == ["3 3 3", "8 2 13"]
    assert content(short_box, path) == b"abcABCDEFGHxy"
    (hit,) = result.hits("s")
    assert (hit["call"], hit["path"], hit["action"], hit["ordinal"]) == ("write", path, "short", 1)
    totals = short_box.sandbox.totals()["s"]
    assert (totals["matched"], totals["acted"], totals["bytes"]) == (3, 1, 18)


def test_every_call_of_the_family(short_box: Box) -> None:
    script = """
import os, sys
d = sys.argv[1]
def new(name): return os.open(d + "/" + name, os.O_CREAT | os.O_RDWR)
fd = new("pwrite"); print(os.pwrite(fd, b"abcdef", 2), os.lseek(fd, 0, 1))
fd = new("writev"); print(os.writev(fd, [b"ab", b"", b"cdef", b"gh"]), os.lseek(fd, 0, 1))
fd = new("pwritev"); print(os.pwritev(fd, [b"a", b"bcdef"], 1), os.lseek(fd, 0, 1))
fd = new("append"); os.close(fd); fd = os.open(d + "/append", os.O_WRONLY | os.O_APPEND)
print(os.write(fd, b"xy"), os.write(fd, b"abcdef"), os.pwritev(fd, [b"ABCDEF"], 0, os.RWF_DSYNC))
src = os.open(d + "/pattern", os.O_RDONLY)
fd = new("sendfile"); print(os.sendfile(fd, src, 1, 9), os.lseek(src, 0, 1), os.sendfile(fd, src, None, 9), os.lseek(src, 0, 1))
fd = new("range"); print(os.copy_file_range(src, fd, 7, 2, 1), os.copy_file_range(src, fd, 7), os.lseek(src, 0, 1), os.lseek(fd, 0, 1))
"""
    source = short_box.path()
    short_box.sandbox.call("write_file", path=f"{source}/pattern", text="0123456789")
    result = short_box.run(
        *PYTHON, script, source, rules=[rule("s", "write", f"{source}/**", "short", size=3)]
    )
    assert result.output.splitlines() == ["3 0", "3 3", "3 0", "2 3 3", "3 0 3 3", "3 3 6 3"]
    expected = {
        "pwrite": b"\0\0abc",
        "writev": b"abc",
        "pwritev": b"\0abc",
        "append": b"xyabcABC",
        "sendfile": b"123012",
        "range": b"3454",
    }
    assert {name: content(short_box, f"{source}/{name}") for name in expected} == expected
    assert len(result.hits("s")) == 9


def test_what_fits_is_no_short_write_and_does_not_count_as_one(box: Box) -> None:
    script = "import os, sys\nfd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\nprint(*(os.write(fd, bytes(n)) for n in (9, 4, 9, 5, 9)))"
    path = f"{box.path()}/f"
    result = box.run(
        *PYTHON, script, path, rules=[rule("s", "write", path, "short", size=4, skip=1, times=2)]
    )
    assert result.output.split() == ["9", "4", "4", "4", "9"]
    assert [hit["ordinal"] for hit in result.hits("s")] == [3, 4]


def test_the_kernels_own_refusal_is_the_answer(box: Box) -> None:
    script = """
import errno, os, sys
def tried(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
fd = os.open(sys.argv[1] + "/f", os.O_CREAT | os.O_WRONLY)
print(tried(os.write, os.open(sys.argv[1] + "/f", os.O_RDONLY), b"abcdef"))
while tried(os.write, fd, bytes(1 << 20)) != "ENOSPC": pass
print("full")
"""
    place = box.sandbox.path(Place.REPOSITORY)
    result = box.run(*PYTHON, script, place, rules=[rule("s", "write", f"{place}/**", "short", size=300_000)])
    assert result.output.split() == ["EBADF", "full"]
    usage = box.sandbox.usage(Place.REPOSITORY)
    assert usage.free == 0
    assert box.sandbox.totals()["s"]["acted"] == len(result.hits("s")) > 2


def test_what_cannot_be_cut_short_is_made_whole_and_said(box: Box) -> None:
    script = """
import os, sys
os.mkfifo(sys.argv[1])
r = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
w = os.open(sys.argv[1], os.O_WRONLY)
print(os.write(w, b"abcdef"), os.write(w, b"abcdef"), os.read(r, 100))
"""
    path = f"{box.path()}/fifo"
    result = box.run(*PYTHON, script, path, rules=[rule("s", "write", path, "short", size=1)])
    assert result.output == "6 6 b'abcdefabcdef'\n"
    assert result.hits("s") == []
    assert box.sandbox.totals()["s"]["acted"] == 0
    said = [e.data for e in result.events if e.kind == "supervisor" and "cannot" in e.data]
    assert [(e["rule"], e["cannot"]) for e in said] == [("s", "short")], "once a rule"
    assert f"write on {path} was not cut short: it is no regular file" in said[0]["message"]


def test_bad_pointers_and_forked_writers(box: Box) -> None:
    script = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print(libc.write(fd, ctypes.c_void_p(8), 100), ctypes.get_errno())
done = []
def child():
    done.append(os.write(fd, b"thread"))
t = threading.Thread(target=child); t.start(); t.join()
if os.fork() == 0: os.write(fd, b"FORK!!"); os._exit(0)
os.wait()
print(done, os.lseek(fd, 0, 1))
"""
    path = f"{box.path()}/f"
    result = box.run(*PYTHON, script, path, rules=[rule("s", "write", path, "short", size=2)])
    assert result.output.splitlines() == [f"-1 {errno.EFAULT}", "[2] 4"]
    assert content(box, path) == b"thFO"


def test_only_writes_can_be_short(box: Box) -> None:
    with pytest.raises(UsageProblem, match="rule s: the action 'short' is for calls of the family 'write'"):
        box.run("true", rules=[rule("s", ("write", "read"), "/x", "short", size=1)])
