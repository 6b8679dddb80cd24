"""The filter program, and its installation in the process that is about to ``exec``."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable

from backupchaos.environments.local import kernel
from backupchaos.syscalls.tables import ARCHITECTURES

_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 1 << 3, 1 << 5
_ALLOW, _USER_NOTIF = 0x7FFF0000, 0x7FC00000
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06


def program(numbers: Iterable[int], machine: str = kernel.MACHINE) -> bytes:
    """Classic BPF: calls with these numbers go to the supervisor, all others straight to the kernel."""
    wanted = sorted(set(numbers))
    if len(wanted) > 250:
        raise ValueError("a filter jumps over at most 255 instructions")
    out = [
        _instruction(_LOAD, 0, 0, 4),  # the architecture: 32-bit calls have other numbers, let them pass
        _instruction(_JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        _instruction(_RETURN, 0, 0, _ALLOW),
        _instruction(_LOAD, 0, 0, 0),
    ]
    out += [_instruction(_JUMP_EQUAL, len(wanted) - index, 0, number) for index, number in enumerate(wanted)]
    out += [_instruction(_RETURN, 0, 0, _ALLOW), _instruction(_RETURN, 0, 0, _USER_NOTIF)]
    return b"".join(out)


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def install(code: bytes) -> tuple[int, bool]:
    """Put this thread under the filter; returns (listener, whether a stopped call only wakes up to die).

    The second is WAIT_KILLABLE_RECV (Linux 5.19). Without it signals such as those of the Go scheduler
    abort and repeat stopped calls. Needs no_new_privs. The listener closes on exec.
    """
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    for extra in (_WAIT_KILLABLE_RECV, 0):
        try:
            flags = _NEW_LISTENER | extra
            return kernel.syscall("seccomp", kernel.SECCOMP, _SET_MODE_FILTER, flags, header), bool(extra)
        except OSError as problem:
            if not extra or problem.errno != errno.EINVAL:
                raise
    raise AssertionError("unreachable")
