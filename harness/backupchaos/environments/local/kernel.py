"""System calls that the standard library does not offer, through the C library.

Numbers and flags: the kernel's uapi headers. Every function raises ``OSError`` with the
call's errno and the name of what was tried.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_NUMBERS = {
    # architecture: pivot_root, mount_setattr, capget, capset, seccomp
    "x86_64": (155, 442, 125, 126, 317),
    "aarch64": (41, 442, 90, 91, 277),
}
MACHINE = platform.machine()
_PIVOT_ROOT, _MOUNT_SETATTR, _CAPGET, _CAPSET, SECCOMP = _NUMBERS.get(MACHINE, (-1,) * 5)
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_CAPABILITY_VERSION_3 = 0x20080522

libc: Any = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def syscall(what: str, number: int, *arguments: Any) -> int:
    """A raw system call; integers are passed as machine words."""
    if number < 0:
        raise OSError(38, f"not known on {MACHINE}", what)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _check(int(libc.syscall(ctypes.c_long(number), *words)), what)


def prctl(option: int, *arguments: int) -> int:
    """``prctl(2)``; unused arguments are zero, as newer options demand."""
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(int(libc.prctl(option, *words)), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags``."""
    _check(libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """``mount(2)``."""
    _check(
        libc.mount(
            source.encode(errors="surrogateescape"),
            target.encode(errors="surrogateescape"),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() if options else None,
        ),
        f"mount {target}",
    )


def umount(target: str) -> None:
    """Detach a mount now; it ends when its last user is gone."""
    _check(libc.umount2(target.encode(errors="surrogateescape"), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root and put the old one at ``old``."""
    syscall("pivot_root", _PIVOT_ROOT, new.encode(), old.encode())


def set_mount_flags(path: str, flags: int) -> None:
    """Set MOUNT_ATTR flags (same values as MS_RDONLY, MS_NODEV) on a whole mount tree: Linux 5.12."""
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    path_bytes = path.encode(errors="surrogateescape")
    syscall(
        f"mount_setattr {path}",
        _MOUNT_SETATTR,
        _AT_FDCWD,
        path_bytes,
        _AT_RECURSIVE,
        attributes,
        len(attributes),
    )


def set_hostname(name: str) -> None:
    """``sethostname(2)`` in the current UTS namespace."""
    raw = name.encode()
    _check(libc.sethostname(raw, len(raw)), "sethostname")


def capabilities() -> int:
    """The effective capabilities of this process as a bit mask."""
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    syscall("capget", _CAPGET, header, data)
    low, _, _, high, _, _ = struct.unpack("6I", data.raw)
    return int(low) | int(high) << 32


def set_capabilities(mask: int) -> None:
    """Make ``mask`` the effective and permitted set, and the inheritable one empty."""
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    syscall("capset", _CAPSET, header, struct.pack("6I", low, low, 0, high, high, 0))


def last_capability() -> int:
    """The highest capability number that this kernel knows."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 40
