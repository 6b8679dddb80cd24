"""Short writes: a part of the caller's data is written in its stead, and the count is the answer.

The descriptor is borrowed by ``pidfd_getfd`` (Linux 5.6), so that the file's offset, its flags and its
append mode are the caller's own. Nothing else would move the offset by what was really written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Sequence

from backupchaos.environments.local import kernel
from backupchaos.syscalls.decode import Memory, group_of
from backupchaos.syscalls.tables import Call

_PIDFD_GETFD = 438  # the same on all architectures
_PIDFD_THREAD = os.O_EXCL
_MOST = 16 << 20
"""No write in the caller's stead is longer; shorter than asked for is what it is about."""
_VECTORS = 1024
"""IOV_MAX."""


class CannotShorten(Exception):
    """This call must be made by its caller; the text says why."""


def borrow(tid: int, fd: int) -> int:
    """A descriptor of ours for the caller's open file; raises ``OSError``."""
    try:
        handle = os.pidfd_open(tid, _PIDFD_THREAD)
    except OSError:  # before Linux 6.9 there are none of threads, which hardly ever have files of their own
        handle = os.pidfd_open(group_of(tid))
    try:
        return kernel.syscall("pidfd_getfd", _PIDFD_GETFD, handle, fd & 0xFFFFFFFF, 0)
    finally:
        os.close(handle)


def perform(
    memory: Memory, call: Call, tid: int, args: Sequence[int], *, size: int, waits: Callable[[], bool]
) -> int:
    """Write at most ``size`` bytes of what the call is about; the count.

    ``waits`` tells, once the caller's descriptors and data are ours, whether it still is the same caller.

    Raises ``OSError`` with what the kernel says to it, which then is the caller's answer too, and
    ``CannotShorten`` where it cannot be done: a borrowed descriptor is refused, the file is no regular file
    (a full pipe would stop everybody), direct input and output takes whole blocks only, the caller is gone.
    """
    source, target = {"sendfile": (1, 0), "copy_file_range": (0, 2)}.get(call.name, (-1, 0))
    if call.name == "splice":
        raise CannotShorten("splice works on a pipe")
    borrowed: list[int] = []
    try:
        out = _borrow_regular(tid, args[target], borrowed)
        size = min(size, _MOST)
        if source >= 0:
            fds = _borrow_regular(tid, args[source], borrowed), out
            if not waits():
                raise CannotShorten("the caller is gone")
            return _copy(memory, call, tid, args, fds=fds, size=size)
        data = _data(memory, call, tid, args, size)
        if not waits():
            raise CannotShorten("the caller is gone")
        return _write(call, args, out, data)
    finally:
        for fd in borrowed:
            os.close(fd)


def _borrow_regular(tid: int, number: int, borrowed: list[int]) -> int:
    try:
        fd = borrow(tid, number)
    except OSError as problem:
        if problem.errno == errno.EBADF:
            raise
        raise CannotShorten(f"pidfd_getfd is refused ({problem.strerror})") from None
    borrowed.append(fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise CannotShorten("it is no regular file")
    return fd


def _data(memory: Memory, call: Call, tid: int, args: Sequence[int], size: int) -> bytes:
    try:
        return _gather(memory, call, tid, args, size)
    except OSError as problem:  # the kernel will say it better
        raise CannotShorten(f"the caller's data cannot be read ({problem.strerror})") from None


def _gather(memory: Memory, call: Call, tid: int, args: Sequence[int], size: int) -> bytes:
    if call.name in ("write", "pwrite64"):
        return memory.read_all(tid, args[1], min(size, args[2]))
    raw = memory.read_all(tid, args[1], min(args[2], _VECTORS) * 16)
    out = bytearray()
    for address, length in struct.iter_unpack("QQ", raw[: len(raw) // 16 * 16]):
        out += memory.read_all(tid, address, min(length, size - len(out)))
        if len(out) >= size:
            break
    return bytes(out)


def _write(call: Call, args: Sequence[int], fd: int, data: bytes) -> int:
    try:
        if call.name in ("write", "writev"):
            return os.write(fd, data)
        offset = args[3] - (1 << 64) if args[3] >> 63 else args[3]
        return os.pwritev(fd, [data], offset, args[5] & 0xFFFFFFFF if call.name == "pwritev2" else 0)
    except OSError as problem:
        if problem.errno == errno.EINVAL and _direct(fd):
            raise CannotShorten("direct input and output takes whole blocks only") from None
        raise


def _direct(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


def _copy(
    memory: Memory, call: Call, tid: int, args: Sequence[int], *, fds: tuple[int, int], size: int
) -> int:
    """``sendfile`` and ``copy_file_range``: offsets in the caller's memory are read, and moved on."""
    if call.name == "sendfile":
        pointers, wanted = (args[2], 0), args[3]
    else:
        pointers, wanted = (args[1], args[3]), args[4]
    offsets = [struct.unpack("q", memory.read(tid, at, 8))[0] if at else None for at in pointers]
    if call.name == "sendfile":
        count = os.sendfile(fds[1], fds[0], offsets[0], min(size, wanted))
    else:
        count = os.copy_file_range(fds[0], fds[1], min(size, wanted), offsets[0], offsets[1])
    for at, offset in zip(pointers, offsets, strict=True):
        if at:
            memory.write(tid, at, struct.pack("q", (offset or 0) + count))
    return count
