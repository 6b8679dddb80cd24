"""Programs without a vDSO: every reading of the clock is a system call that can be answered.

The kernel tells a new program in its auxiliary vector where the vDSO lies. At the stop after ``exec``,
before the first instruction, that entry is overwritten by one to be ignored, and the C library and the Go runtime make
real calls. The tracer is only there from the call of ``exec`` to the stop after it: threads, forks and
signals are never slowed down. Every exec of a supervised process tree goes through its filter, so that this
holds for all programs that the tree ever starts.

A thread is *seized* while its exec waits for the supervisor, then let go with an interrupt pending: it stops in
any case, after the exec (PTRACE_EVENT_EXEC) or because that has failed. Layout of the first stack: the psABI of
both architectures; requests and offsets: ``linux/ptrace.h``, ``asm/ptrace.h``.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

from backupchaos.environments.local import kernel

_SEIZE, _INTERRUPT, _DETACH, _GETREGSET, _GETEVENTMSG = 0x4206, 0x4207, 17, 0x4204, 0x4201
_OPTIONS = 0x10 | 0x100000
"""PTRACE_O_TRACEEXEC, and PTRACE_O_EXITKILL: who is being changed when we die must not run half changed."""
_EVENT_EXEC, _EVENT_STOP = 4, 128
WALL = 0x40000000
"""For waitpid: threads that are no children too."""
_NT_PRSTATUS = 1
_STACK_POINTER = {"x86_64": (216, 19 * 8), "aarch64": (272, 31 * 8)}
"""Size of the register set of a 64-bit program, and where in it the stack pointer is."""
_AT_NULL, _AT_IGNORE, _AT_SYSINFO_EHDR = 0, 1, 33
_WORD = 8
_MOST_WORDS = 1 << 18
EXEC_CALLS = {"x86_64": (59, 322), "aarch64": (221, 281)}
"""``execve`` and ``execveat``."""

Read = Callable[[int, int, int], bytes]
Write = Callable[[int, int, bytes], None]


class StillThere(Exception):
    """The vDSO of a program could not be hidden; the text says why."""


def seize(tid: int) -> None:
    """Watch a thread that waits in its exec call; raises ``OSError`` (EPERM: ptrace is refused)."""
    _ptrace(_SEIZE, tid, 0, _OPTIONS)


def nudge(tid: int) -> None:
    """After the call was let go: whatever comes of it, the thread will stop."""
    try:
        _ptrace(_INTERRUPT, tid)
    except OSError:
        pass  # it is gone already; waiting will tell


def stops() -> Iterator[tuple[int, int]]:
    """(thread, wait status) of everything that has happened to seized threads; never blocks."""
    while True:
        try:
            tid, status = os.waitpid(-1, os.WNOHANG | WALL)
        except ChildProcessError:
            return
        if not tid:
            return
        yield tid, status


def after_exec(status: int) -> bool:
    """Whether this stop is the one after a successful exec."""
    return os.WIFSTOPPED(status) and status >> 16 == _EVENT_EXEC


def former(pid: int) -> int:
    """The thread that made the exec; it now has the process's number."""
    message = ctypes.c_ulong()
    _ptrace(_GETEVENTMSG, pid, 0, ctypes.byref(message))
    return int(message.value)


def let_go(tid: int, status: int) -> None:
    """No longer watch a stopped thread; a signal that stopped it is delivered."""
    number = 0 if status >> 16 else os.WSTOPSIG(status)
    try:
        _ptrace(_DETACH, tid, 0, number)
    except OSError:
        pass  # killed meanwhile


def hide(pid: int, read: Read, write: Write) -> None:
    """Change the auxiliary vector of a program that has not made a step yet; raises ``StillThere``."""
    try:
        address = find(pid, _stack_pointer(pid), read)
        if address is None:
            return  # a kernel without vDSO
        write(pid, address, struct.pack("Q", _AT_IGNORE))
        if struct.unpack("Q", read(pid, address, _WORD))[0] != _AT_IGNORE:
            raise StillThere("the auxiliary vector did not change")
    except (OSError, struct.error) as problem:
        raise StillThere(f"its first stack is not accessible ({problem})") from None


def find(pid: int, stack: int, read: Read) -> int | None:
    """The address of the vDSO's entry on a first stack: argc, arguments, 0, environment, 0, pairs."""
    words = _words(pid, stack, read)
    _, argc = next(words)
    for _ in range(argc + 1):
        next(words)
    while next(words)[1]:
        pass
    for address, kind in words:
        if kind == _AT_NULL:
            return None
        if kind == _AT_SYSINFO_EHDR:
            return address
        next(words)
    return None


def _words(pid: int, address: int, read: Read) -> Iterator[tuple[int, int]]:
    for _ in range(_MOST_WORDS // 128):
        chunk = read(pid, address, min(128 * _WORD, 4096 - address % 4096))
        for (word,) in struct.iter_unpack("Q", chunk):
            yield address, word
            address += _WORD
    raise StillThere("its first stack has no end")


def _stack_pointer(pid: int) -> int:
    size, offset = _STACK_POINTER[kernel.MACHINE]
    registers = ctypes.create_string_buffer(1024)
    vector = struct.pack("PN", ctypes.addressof(registers), len(registers))
    place = ctypes.create_string_buffer(vector, len(vector))
    _ptrace(_GETREGSET, pid, _NT_PRSTATUS, place)
    if struct.unpack("PN", place.raw)[1] != size:
        raise StillThere("a 32-bit program; the calls of such are not supervised")
    return int(struct.unpack_from("Q", registers, offset)[0])


def _ptrace(request: int, tid: int, address: int = 0, data: Any = 0) -> None:
    kernel.libc.ptrace.restype = ctypes.c_long
    data = ctypes.c_void_p(data) if isinstance(data, int) else data
    if kernel.libc.ptrace(request, ctypes.c_int(tid), ctypes.c_void_p(address), data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "ptrace")
