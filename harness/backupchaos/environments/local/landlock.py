"""The kernel holds a process to some folders (Landlock, Linux 5.19): for plain sandboxes, which have no mounts.

Numbers and bits: the kernel's uapi header ``linux/landlock.h``. Modes, owners and times of files are
outside of what Landlock guards; ``operations.bounds`` looks after those.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from backupchaos.environments.local import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE = 1 << 1
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_NEEDED = 2
"""The first version that lets a file be renamed into another directory."""


def version() -> int:
    """Which Landlock the kernel has; 0 if none that we can use."""
    try:
        found = kernel.syscall("landlock version", _CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0
    return found if found >= _NEEDED else 0


def write_only_below(roots: Sequence[str]) -> bool:
    """From now on this process and its children may change files below ``roots`` only; False where unknown.

    Raises ``OSError`` if the kernel knows Landlock and refuses all the same. Open descriptors stay as they are.
    """
    found = version()
    if not found:
        return False
    rights = _WRITE_FILE | _MAKE_AND_REMOVE | _REFER | (_TRUNCATE if found > _NEEDED else 0)
    ruleset = kernel.syscall("landlock ruleset", _CREATE_RULESET, struct.pack("Q", rights), 8, 0)
    try:
        for root in roots:
            folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, folder))
                kernel.syscall("landlock rule", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
            finally:
                os.close(folder)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall("landlock", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True
