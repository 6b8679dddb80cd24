"""Journals of runs that never were, for tests of what may be healed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TOKEN = "0123456789abcdef" * 2


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def space() -> str:
    return os.readlink("/proc/self/ns/pid")


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def dead_process() -> dict[str, int]:
    """A record of a process that was and is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    record = {"process": process.pid, "started": started(process.pid)}
    process.wait()
    return record


def folder_in(temporary: Path) -> Path:
    place = temporary / f"backupchaos-{os.geteuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def journal(temporary: Path, records: list[Any], token: str = TOKEN) -> Path:
    """A journal with just these records, as a run would have written them."""
    path = folder_in(temporary) / f"{token}.journal"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def head(token: str = TOKEN) -> dict[str, str]:
    return {"run": token, "boot": boot(), "space": space()}


def plant(temporary: Path, process: dict[str, int] | None = None, token: str = TOKEN) -> Path:
    """What a plain run leaves whose processes were all killed at once; its directory."""
    root = folder_in(temporary) / token
    root.mkdir(mode=0o700)
    (root / "source").mkdir()
    (root / "source/file").write_text("left behind")
    info = root.lstat()
    made = {"made": str(root), "device": info.st_dev, "inode": info.st_ino}
    journal(temporary, [head(token), process or dead_process(), {"making": str(root)}, made], token)
    return root
