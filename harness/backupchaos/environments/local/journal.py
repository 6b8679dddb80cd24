"""The undo journal of ``plain`` sandboxes: what was made, written down before it was made.

Namespace sandboxes need none, the kernel takes everything with it. A plain one leaves a directory
(and perhaps daemons) behind when its agent is killed too. The next start, and ``heal``, undo that;
only what a journal proves to be ours: a path with its inode, a process with our random token in its
environment. A run of which any process lives is never touched.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from backupchaos.environments.local.processes import read_process, send

RUN_MARK = "BACKUPCHAOS_RUN"
"""Environment variable with the run's token, on every process of a plain sandbox."""
_SUFFIX = ".journal"


def home() -> str:
    """Where this user's plain sandboxes are: a directory in the temporary one."""
    import tempfile

    return os.path.join(tempfile.gettempdir(), f"backupchaos-{os.geteuid()}")


def place(path: str) -> str:
    """Make sure that ``path`` is a directory that only this user can enter; raises OSError if it is not."""
    for _ in range(10):
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue  # another run has just tidied up
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(1, "is not a directory that only you can enter; remove it", path)
        return path
    raise FileNotFoundError(2, "keeps vanishing", path)


class Journal:
    """One run's journal; every line is on disk before the action that it announces."""

    def __init__(self, folder: str, token: str, harness: int) -> None:
        self.token = token
        self.root = os.path.join(folder, token)
        """The directory that the run may make."""
        self.path = self.root + _SUFFIX
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = open(fd, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the run
        self.write(run=token, boot=_boot(), space=_space())
        self.alive(harness)
        self.alive(os.getpid())

    def write(self, **record: Any) -> None:
        """Append one record and wait for the disk."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def alive(self, pid: int) -> None:
        """Name a process whose life means that the run lives."""
        if process := read_process(pid):
            self.write(process=pid, started=process.started)

    def make_root(self) -> None:
        """Announce the directory, make it, note its identity."""
        self.write(making=self.root)
        os.mkdir(self.root, 0o700)
        found = os.lstat(self.root)
        self.write(made=self.root, device=found.st_dev, inode=found.st_ino)


def heal(dry_run: bool = False, folder: str | None = None) -> list[str]:
    """Undo what dead runs left; returns what was (or would be) done, one line each."""
    folder = folder or home()
    done: list[str] = []
    if not _private(folder):
        return done
    for name in sorted(os.listdir(folder)):
        if name.endswith(_SUFFIX):
            done += heal_run(folder, name.removesuffix(_SUFFIX), dry_run=dry_run)
    if not dry_run:
        with suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106 - only if nobody uses it
    return done


def heal_run(folder: str, token: str, *, dry_run: bool = False, mine: bool = False) -> list[str]:
    """Undo one run unless it lives; ``mine`` when the caller is the run itself, at its end."""
    path = os.path.join(folder, token + _SUFFIX)
    try:
        records = list(_records(path))
    except OSError:
        return []
    head = records[0] if records else {}
    if not mine and _lives(records):
        return []
    done = []
    if head.get("boot") == _boot() and head.get("space") == _space():
        done += _end_processes(token, dry_run)
    root = os.path.join(folder, token)
    if _is_ours(root, records):
        done.append(f"removed the directory {root}")
        if not dry_run:
            from backupchaos.environments.operations.files import force_remove

            force_remove(root)
    if not dry_run:
        with suppress(FileNotFoundError):
            os.unlink(path)
    return done


def _records(path: str) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut off in the middle of a write: the action was not started
            if isinstance(record, dict):
                yield record


def _lives(records: list[dict[str, Any]]) -> bool:
    """Whether any named process is still the same one; unknown (another PID namespace) counts as alive."""
    if not records or records[0].get("boot") != _boot():
        return False
    if records[0].get("space") != _space():
        return True
    for record in records:
        if "process" in record:
            process = read_process(record["process"])
            if process and process.started == record["started"] and process.state not in "ZX":
                return True
    return False


def _is_ours(root: str, records: list[dict[str, Any]]) -> bool:
    try:
        found = os.lstat(root)
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return False
    for record in records:
        if record.get("made") == root:
            return (record.get("device"), record.get("inode")) == (found.st_dev, found.st_ino)
    announced = any(record.get("making") == root for record in records)
    return announced and not os.listdir(root)  # killed between making it and noting so


def _end_processes(token: str, dry_run: bool) -> list[str]:
    """Kill what carries the run's token; at most a few rounds, for forkers."""
    done = []
    wanted = f"{RUN_MARK}={token}".encode()
    for _ in range(20):
        found = 0
        for name in os.listdir("/proc"):
            process = read_process(int(name)) if name.isdigit() else None
            if (
                process
                and process.state not in "ZX"
                and process.pid != os.getpid()
                and wanted in _environment(process.pid)
            ):
                found += 1
                done.append(f"ended process {process.pid}")
                if not dry_run:
                    send(process, signal.SIGKILL)
        if not found or dry_run:
            break
    return done


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _private(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _space() -> str:
    return os.readlink("/proc/self/ns/pid")
