"""Who runs a job: process id, start time and boot, so that a reused pid is never taken for a living job."""

from __future__ import annotations

import os
from typing import NamedTuple


class Identity(NamedTuple):
    """A process, told apart from any later one with the same pid."""

    pid: int
    start: int
    boot: str


def _start_time(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # A zombie has ended: only its parent has not noticed yet.
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def current() -> Identity:
    """The identity of this process."""
    return Identity(os.getpid(), _start_time(os.getpid()) or 0, _boot_id())


def alive(identity: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identity.boot == _boot_id() and _start_time(identity.pid) == identity.start
