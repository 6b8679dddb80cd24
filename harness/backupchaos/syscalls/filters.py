"""The filter program, and its installation in the process that is about to ``exec``."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Mapping, Sequence

from backupchaos.environments.local import kernel
from backupchaos.syscalls.rules import Rule
from backupchaos.syscalls.tables import ARCHITECTURES, Condition

Conditions = Mapping[int, Sequence[Condition]]

_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 1 << 3, 1 << 5
_ALLOW, _USER_NOTIF, _ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_IO_URING_SETUP = 425  # the same on all architectures


def program(numbers: Conditions | Iterable[int], machine: str = kernel.MACHINE) -> bytes:
    """Classic BPF: calls with these numbers go to the supervisor, all others straight to the kernel.

    As a mapping: of which calls only those that meet all conditions on their arguments (their lower
    halves); the kernel decides that at no cost. ``io_uring_setup`` does not exist for the process, since nobody
    would see what is done through it.
    """
    wanted = dict(numbers) if isinstance(numbers, Mapping) else {number: [] for number in numbers}
    always = sorted(number for number, conditions in wanted.items() if not conditions)
    if len(always) > 250:
        raise ValueError("a filter jumps over at most 255 instructions")
    out = [
        _instruction(_LOAD, 0, 0, 4),  # the architecture: 32-bit calls have other numbers, let them pass
        _instruction(_JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        _instruction(_RETURN, 0, 0, _ALLOW),
        _instruction(_LOAD, 0, 0, 0),
        _instruction(_JUMP_EQUAL, 0, 1, _IO_URING_SETUP),
        _instruction(_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for number, conditions in sorted(wanted.items()):
        if conditions:
            block = _conditional(conditions)
            out += [_instruction(_JUMP_EQUAL, 0, len(block), number), *block]
    out += [_instruction(_JUMP_EQUAL, len(always) - index, 0, number) for index, number in enumerate(always)]
    out += [_instruction(_RETURN, 0, 0, _ALLOW), _instruction(_RETURN, 0, 0, _USER_NOTIF)]
    return b"".join(out)


def _conditional(conditions: Sequence[Condition]) -> list[bytes]:
    """Ends in a verdict; built from its end, since jumps go forward."""
    block = [_instruction(_RETURN, 0, 0, _USER_NOTIF)]
    for index, sign, values in reversed(conditions):
        # each test is followed by what is to be done if it holds; before that stands the refusal
        tests = [
            _instruction(_JUMP_SET if sign == "&" else _JUMP_EQUAL, len(values) - place, 0, value)
            for place, value in enumerate(values)
        ]
        if sign == "!":
            tests = [_instruction(_JUMP_EQUAL, 0, 1, 0)]
        load = _instruction(_LOAD, 0, 0, 16 + 8 * index)
        block = [load, *tests, _instruction(_RETURN, 0, 0, _ALLOW), *block]
    return block


def wanted_by(rules: Iterable[Rule]) -> dict[int, list[Condition]]:
    """The calls that rules name, each with its conditions."""
    return {number: call.only for rule in rules for number, (call, _) in rule.calls.items()}


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def install(code: bytes, killable: bool = True) -> tuple[int, bool]:
    """Put this thread under the filter; returns (listener, whether a stopped call only wakes up to die).

    The second is WAIT_KILLABLE_RECV (Linux 5.19), and can be declined. Without it signals such as those of
    the Go scheduler abort and repeat stopped calls. Needs no_new_privs. The listener closes on exec.
    """
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    for extra in (_WAIT_KILLABLE_RECV, 0) if killable else (0,):
        try:
            flags = _NEW_LISTENER | extra
            return kernel.syscall("seccomp", kernel.SECCOMP, _SET_MODE_FILTER, flags, header), bool(extra)
        except OSError as problem:
            if not extra or problem.errno != errno.EINVAL:
                raise
    raise AssertionError("unreachable")
