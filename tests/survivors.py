"""Who lives below a process, and whether they still do: for tests that kill us."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path


def processes() -> dict[int, tuple[int, str]]:
    """pid -> (parent, start time); what ended meanwhile is left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(entry.name)] = (int(fields[1]), fields[19])
    return found


def descendants(pid: int) -> dict[int, str]:
    """All live descendants with their start times (a pid alone may be reused)."""
    table = processes()
    found: dict[int, str] = {}
    queue = [pid]
    while queue:
        parent = queue.pop()
        for child, (above, started) in table.items():
            if above == parent and child not in found:
                found[child] = started
                queue.append(child)
    return found


def alive(known: Mapping[int, str]) -> list[int]:
    table = processes()
    return [pid for pid, started in known.items() if pid in table and table[pid][1] == started]


def wait_until(done: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)  # a poll of /proc, not a guess about how long something takes
    return True
