"""What ``/proc`` says of a process right after its exec, before it can change anything about itself.

A job that runs a few milliseconds is gone before the harness could ask; so the agent looks at once, and
keeps what it saw as proof of the circumstances under which the job was started.
"""

from __future__ import annotations

import os
import time
from typing import Any

from backupchaos.environments.local.processes import read_process

_PATIENCE = 0.5
"""Seconds until exec has laid out the new program's memory; it takes microseconds."""
_SHOWN = ("HOME", "PATH", "SHELL", "TERM")
"""Variables whose values are kept; others may be secrets."""


def certificate(pid: int) -> dict[str, Any]:
    """``cwd``, ``names`` of all variables, ``env`` with the values of a few, ``limits``; {} if it has ended."""
    end = time.monotonic() + _PATIENCE
    try:
        while not (raw := _read(pid, "environ")):
            process = read_process(pid)
            if process is None or process.state in "ZX" or time.monotonic() > end:
                return {}
            time.sleep(0.0002)
        pairs = dict(entry.split("=", 1) for entry in raw.split("\0") if "=" in entry)
        return {
            "cwd": os.readlink(f"/proc/{pid}/cwd"),
            "names": sorted(pairs),
            "env": {name: pairs[name] for name in _SHOWN if name in pairs},
            "limits": _limits(_read(pid, "limits")),
        }
    except OSError:
        return {}


def _read(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _limits(text: str) -> dict[str, str]:
    """Soft limits by the kernel's own names, such as ``Max open files``."""
    return {line[:26].strip(): line[26:].split()[0] for line in text.splitlines()[1:] if line[26:].strip()}
