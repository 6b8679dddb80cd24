"""Calls that cannot succeed in full: what a rule with ``measure`` ``space``, ``inodes`` or ``length`` means.

The answer is worked out before the call is made, from where it would write and what the file system
still has. That is how a full disk proves that a job met it, without asking for the job's words.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Sequence

from backupchaos.syscalls.decode import Decoder
from backupchaos.syscalls.tables import Call

Condition = Callable[[Decoder, Call, int, Sequence[int], int], bool]
"""(decoder, call, thread, arguments, the rule's size) -> whether the rule means this call."""

_TARGET = {"sendfile": 0, "copy_file_range": 2, "splice": 2}
_SOURCE = {"sendfile": 1, "copy_file_range": 0, "splice": 0}
_OFFSET_ARGUMENT = ("pwrite64", "pwritev", "pwritev2")
_OFFSET_POINTER = {"copy_file_range": 3, "splice": 3}
_SIGN = 1 << 63


def end_of(decoder: Decoder, call: Call, tid: int, args: Sequence[int]) -> tuple[str, int, int] | None:
    """(the file, where the call begins to write, where it would end), None if it writes to no regular file.

    For calls that only set a length, both numbers are that length. Raises OSError if the file is gone.
    """
    if call.name in ("truncate", "ftruncate"):
        where = (
            _file(tid, args[0])
            if call.name == "ftruncate"
            else os.fsdecode(decoder.paths(call, tid, args)[0])
        )
        return where, args[1], args[1]
    where = _file(tid, args[_TARGET.get(call.name, 0)])
    status = os.stat(where)
    if not stat.S_ISREG(status.st_mode):
        return None
    if call.name == "fallocate":
        return where, args[2], args[2] + args[3]
    count = decoder.size(call, tid, args)
    if call.name in _SOURCE:
        origin = _file(tid, args[_SOURCE[call.name]])
        if call.name == "copy_file_range" and os.stat(origin).st_dev != status.st_dev:
            return None  # EXDEV, whatever the disk has left
        # They are asked for more than there is, to be on the safe side.
        count = min(count, _rest(tid, args[_SOURCE[call.name]]))
    begin = _begin(decoder, call, tid, args, status.st_size)
    return where, begin, begin + count


def _begin(decoder: Decoder, call: Call, tid: int, args: Sequence[int], size: int) -> int:
    if call.name in _OFFSET_ARGUMENT and not args[3] & _SIGN:
        return args[3]
    pointer = args[_OFFSET_POINTER[call.name]] if call.name in _OFFSET_POINTER else 0
    if pointer:
        return int(struct.unpack("q", decoder.memory.read(tid, pointer, 8))[0])
    position, flags = _position(tid, args[_TARGET.get(call.name, 0)])
    return size if flags & os.O_APPEND else position


def _rest(tid: int, number: int) -> int:
    """What a regular file still has behind the position of its descriptor; a pipe may have anything."""
    status = os.stat(_file(tid, number))
    if not stat.S_ISREG(status.st_mode):
        return _SIGN
    return max(0, status.st_size - _position(tid, number)[0])


def _position(tid: int, number: int) -> tuple[int, int]:
    """(offset, flags) of a descriptor."""
    with open(f"/proc/{tid}/fdinfo/{number & 0xFFFFFFFF}", encoding="ascii") as file:
        found = dict(line.split(":", 1) for line in file if line.startswith(("pos:", "flags:")))
    return int(found["pos"]), int(found["flags"], 8)


def _file(tid: int, number: int) -> str:
    return f"/proc/{tid}/fd/{number & 0xFFFFFFFF}"


def lacks_space(decoder: Decoder, call: Call, tid: int, args: Sequence[int], size: int) -> bool:
    """It needs more blocks than are free; what overwrites, or fills what was reserved before, needs none."""
    try:
        span = end_of(decoder, call, tid, args)
        if span is None:
            return False
        where, begin, end = span
        found = os.statvfs(where)
        block = found.f_frsize
        status = os.stat(where)
        taken = max(status.st_size, status.st_blocks * 512)  # room may be reserved behind the end
        there = -(-taken // block)
        needed = -(-end // block) - max(begin // block, there)
    except (OSError, struct.error, KeyError, IndexError):
        return False
    return end > begin and needed > found.f_bavail


def lacks_inodes(decoder: Decoder, call: Call, tid: int, args: Sequence[int], size: int) -> bool:
    """It would make a name, and no more can be made."""
    try:
        path = decoder.paths(call, tid, args)[0]
        return not os.path.lexists(path) and os.statvfs(os.path.dirname(path)).f_favail == 0
    except (OSError, IndexError):
        return False


def too_long(decoder: Decoder, call: Call, tid: int, args: Sequence[int], size: int) -> bool:
    """A file would become longer than ``size``."""
    try:
        span = end_of(decoder, call, tid, args)
    except (OSError, struct.error, KeyError, IndexError):
        return False
    return span is not None and span[2] > size


def lacks_descriptors(decoder: Decoder, call: Call, tid: int, args: Sequence[int], size: int) -> bool:
    """It would make a descriptor, and the caller has as many open as it may have."""
    needed = 2 if call.name in ("pipe", "pipe2", "socketpair") else 1
    try:
        with open(f"/proc/{tid}/limits", "rb") as file:
            line = next(line for line in file if line.startswith(b"Max open files"))
        limit = int(line[26:].split()[0])  # a number always: the kernel knows no unlimited one
        used = sum(int(name) < limit for name in os.listdir(f"/proc/{tid}/fd"))
    except (OSError, StopIteration, ValueError):
        return False
    return used + needed > limit


CONDITIONS: dict[str, Condition] = {
    "space": lacks_space,
    "inodes": lacks_inodes,
    "length": too_long,
    "descriptors": lacks_descriptors,
}
