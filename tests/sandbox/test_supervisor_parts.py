"""Parts of the supervisor by themselves: deadlines, auxiliary vectors, memory."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from backupchaos.environments.local import vdso
from backupchaos.syscalls import tables
from backupchaos.syscalls.clocks import Clocks
from backupchaos.syscalls.decode import Decoder, Memory
from backupchaos.syscalls.execs import Execs
from backupchaos.syscalls.listener import Listener
from backupchaos.syscalls.parking import Stopped

SECOND = 10**9


class Pages(Memory):
    """The memory of one imaginary process."""

    def __init__(self, size: int = 4096) -> None:
        self.data = bytearray(size)

    def read(self, tid: int, address: int, length: int) -> bytes:
        if not 0 <= address < len(self.data):
            raise OSError(errno.EFAULT, "Bad address")
        return bytes(self.data[address : address + length])

    def write(self, tid: int, address: int, data: bytes) -> None:
        if not 0 <= address < len(self.data):
            raise OSError(errno.EFAULT, "Bad address")
        self.data[address : address + len(data)] = data

    def time(self, address: int) -> tuple[int, ...]:
        return struct.unpack_from("qq", self.data, address)


def call(name: str) -> tables.Call:
    return next(call for call in tables.calls("x86_64") if call.name == name)


def clocks() -> tuple[Clocks, Pages]:
    memory = Pages()
    return Clocks(memory, now=lambda clock: (1000 + clock) * SECOND + 999_999_999), memory


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(10.0, (1010, 999_999_999)), (-0.5, (1000, 499_999_999)), (0.000_000_001, (1001, 0)), (-2000.0, (-1000, 999_999_999))],
)  # fmt: skip
def test_readings(shift: float, expected: tuple[int, int]) -> None:
    clock, memory = clocks()
    assert clock.answer(call("clock_gettime"), 7, (0, 64), shift) == 0
    assert memory.time(64) == expected
    assert clock.answer(call("clock_gettime"), 7, (5, 64), shift) == 0
    assert memory.time(64) == (expected[0] + 5, expected[1]), "each clock has its own time"
    assert clock.answer(call("gettimeofday"), 7, (128, 200), shift) == 0
    assert memory.time(128) == (expected[0], expected[1] // 1000)
    assert clock.answer(call("time"), 7, (0,), shift) == expected[0]
    assert clock.answer(call("time"), 7, (256,), shift) == memory.time(256)[0] == expected[0]
    with pytest.raises(OSError, match="Bad address"):
        clock.answer(call("clock_gettime"), 7, (0, 9999), shift)


WAIT_BITSET, WAIT, REALTIME = 9, 0, 256


def deadline(memory: Pages, at: tuple[int, int]) -> None:
    memory.write(0, 64, struct.pack("qq", *at))


def test_a_deadline_is_translated_and_given_back() -> None:
    clock, memory = clocks()
    wait = call("futex"), 7, (0, WAIT_BITSET | REALTIME, 0, 64)
    deadline(memory, (5000, 100))
    clock.translate(*wait, 3600.0)
    assert memory.time(64) == (1400, 100)
    clock.translate(*wait, 3600.0)
    assert memory.time(64) == (1400, 100), "the same deadline again is not shifted twice"
    clock.answer(call("clock_gettime"), 8, (0, 512), 3600.0)
    assert memory.time(64) == (1400, 100), "another thread's reading ends nothing"
    clock.answer(call("clock_gettime"), 7, (0, 512), 3600.0)
    assert memory.time(64) == (5000, 100)
    clock.translate(*wait, -3600.0)
    assert memory.time(64) == (8600, 100)
    deadline(memory, (9000, 0))
    clock.answer(call("clock_gettime"), 7, (0, 512), -3600.0)
    assert memory.time(64) == (9000, 0), "what the thread has written since is its own"


@pytest.mark.parametrize(
    ("name", "args", "at", "after"),
    [
        ("futex", (0, WAIT | REALTIME, 0, 64), (5, 0), (5, 0)),  # relative
        ("futex", (0, WAIT_BITSET | REALTIME, 0, 64), (-5, 0), (-5, 0)),  # the kernel will refuse it
        ("futex", (0, WAIT_BITSET | REALTIME, 0, 64), (5, SECOND), (5, SECOND)),
        ("futex", (0, WAIT_BITSET | REALTIME, 0, 64), (5, 7), (0, 0)),  # long ago is now
        ("clock_nanosleep", (0, 1, 64, 0), (5000, 7), (1400, 7)),
    ],
)
def test_what_is_a_deadline(
    name: str, args: Sequence[int], at: tuple[int, int], after: tuple[int, int]
) -> None:
    clock, memory = clocks()
    deadline(memory, at)
    clock.translate(call(name), 7, args, 3600.0)
    assert memory.time(64) == after


def test_threads_that_never_come_back_are_forgotten() -> None:
    clock, memory = clocks()
    futex = call("futex")
    for tid in range(10_500):
        deadline(memory, (5000, tid))
        clock.translate(futex, tid, (0, WAIT_BITSET | REALTIME, 0, 64), 1.0)
    assert len(clock._moved) == 10_000


def stack(*auxiliary: tuple[int, int], arguments: int = 2, environment: int = 3) -> Pages:
    words = [arguments, *[0x1000] * arguments, 0, *[0x2000] * environment, 0]
    for pair in (*auxiliary, (0, 0)):
        words += pair
    memory = Pages(0)
    memory.data = bytearray(4096 - 24) + struct.pack(f"{len(words)}Q", *words)  # it crosses a page
    return memory


@pytest.mark.parametrize("arguments", [0, 1, 5000])
def test_the_entry_is_found_on_any_first_stack(arguments: int) -> None:
    memory = stack((6, 4096), (1, 33), (33, 0x7FFF0000), (3, 64), arguments=arguments, environment=700)
    address = vdso.find(7, 4096 - 24, memory.read)
    assert address is not None
    assert struct.unpack_from("QQ", memory.data, address) == (33, 0x7FFF0000)


def test_a_kernel_without_vdso_has_no_entry() -> None:
    assert vdso.find(7, 4096 - 24, stack((6, 4096), (1, 33), (3, 33)).read) is None


def test_a_stack_without_end_is_no_stack() -> None:
    with pytest.raises(vdso.StillThere, match="no end"):
        vdso.find(7, 0, lambda tid, address, length: b"\\x01" * length)


def test_our_own_stack() -> None:
    """As ``/proc`` has it, which is a copy of what the kernel put on the stack."""
    with open("/proc/self/auxv", "rb") as file:
        raw = file.read()
    assert any(kind == 33 for kind, _ in struct.iter_unpack("QQ", raw))


@pytest.mark.parametrize("without", [False, True])
def test_memory_of_a_process_is_read_and_written(without: bool) -> None:
    text = ctypes.create_string_buffer(b"x" * 5000 + b"end")
    address = ctypes.addressof(text)
    memory = Memory()
    if without:  # a C library that has no process_vm_readv
        memory._call = memory._store = None
    assert memory.text(os.getpid(), address + 4990) == b"x" * 10 + b"end"
    assert memory.read_all(os.getpid(), address, 5003) == text.raw[:-1]
    memory.write(os.getpid(), address, b"written")
    assert text.raw[:8] == b"writtenx"
    with pytest.raises(OSError):
        memory.write(os.getpid(), 8, b"x")
    with pytest.raises(OSError):
        memory.read(os.getpid(), 8, 8)


def test_a_bad_address_is_no_reason_to_fail() -> None:
    decoder = Decoder()
    args = (8, 8, 8, 8, 8, 8)
    for one in tables.calls():
        decoder.paths(one, os.getpid(), args)
        decoder.size(one, os.getpid(), args)


class Kernel:
    """What ``Execs`` asks of ptrace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[int, int]] = []
        self.did: list[Any] = []
        monkeypatch.setattr(vdso, "seize", lambda tid: self.did.append(("seize", tid)))
        monkeypatch.setattr(vdso, "nudge", lambda tid: self.did.append(("nudge", tid)))
        monkeypatch.setattr(vdso, "stops", lambda: [self.events.pop(0) for _ in list(self.events)])
        monkeypatch.setattr(vdso, "former", lambda pid: 101)
        monkeypatch.setattr(vdso, "hide", lambda pid, read, write: self.did.append(("hide", pid)))
        monkeypatch.setattr(vdso, "_ptrace", lambda *args: self.did.append(args))


class Caller(Listener):
    """A listener whose callers all wait."""

    def __init__(self) -> None:
        super().__init__(-1, [])

    def waits(self, ident: int) -> bool:
        return True

    def answer(self, ident: int, error: int = 0, flags: int = 0, value: int = 0) -> None:
        pass


DETACH = 17


def stopped_by(number: int, event: int = 0) -> int:
    return event << 16 | number << 8 | 0x7F


@pytest.fixture
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("handlers")
def test_an_exec_is_followed_to_its_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    execs = Execs(Pages(), lambda text: None)
    try:
        execs.let_go(Stopped(Caller(), 1, 101, 59, ()))
        assert kernel.did == [("seize", 101), ("nudge", 101)]
        kernel.events = [(100, stopped_by(5, vdso._EVENT_EXEC))]
        execs.look()
        assert kernel.did[2:] == [("hide", 100), (DETACH, 100, 0, 0)]
        execs.let_go(Stopped(Caller(), 2, 101, 59, ()))
        assert kernel.did[4] == ("seize", 101), "the thread became its process; its number is free again"
        kernel.events = [(101, stopped_by(signal.SIGURG))]
        execs.look()
        assert kernel.did[-1] == (DETACH, 101, 0, signal.SIGURG), "a signal that came between is delivered"
        execs.let_go(Stopped(Caller(), 3, 101, 59, ()))
        kernel.events = [(101, stopped_by(signal.SIGTRAP, 128))]
        execs.look()
        assert kernel.did[-1] == (DETACH, 101, 0, 0), "the exec has failed"
        execs.let_go(Stopped(Caller(), 4, 101, 59, ()))
        count = len(kernel.did)
        kernel.events = [(101, signal.SIGKILL)]
        execs.look()
        assert len(kernel.did) == count, "the dead need nothing"
    finally:
        execs.close()
