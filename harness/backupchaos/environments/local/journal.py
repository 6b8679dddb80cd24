"""The undo journal: what no namespace takes with it, written down before it was made.

A plain sandbox leaves a directory (and perhaps daemons) behind when its agent is killed too, and any
sandbox a control group when the harness is. The next start, and ``heal``, undo that; only what a journal
proves to be ours: a path with its inode, a process with our random token in its environment, or in a
control group that we made. A run of which any process lives is never touched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from backupchaos.environments.local.processes import read_process, send

RUN_MARK = "BACKUPCHAOS_RUN"
"""Environment variable with the run's token, on every process of a plain sandbox."""
_SUFFIX = ".journal"
_NEW = ".new"
_GROUP_PATIENCE = 2.0
_TOKEN = re.compile(r"[0-9a-f]{32}")
_STILLBORN = 60.0
"""Seconds after which a journal that names nobody yet is that of a harness that died while it was born."""


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
        fd = os.open(self.path + _NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = open(fd, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the run
        self.write(run=token, boot=_boot(), space=_space())
        self.alive(harness)
        self.alive(os.getpid())
        # Only now: to whoever heals meanwhile, a journal that names no live process is that of a dead run.
        os.rename(self.path + _NEW, self.path)

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

    def make_group(self, path: str) -> None:
        """Announce a control group and make it; raises OSError if that cannot be.

        Its name must hold the token, which nobody else knows: that is how it is known again as ours.
        """
        self.write(group=path)
        os.mkdir(path, 0o755)

    def finish(self, *, keep: bool = False) -> None:
        """Close it, when all that it names has been undone; ``keep`` it for ``heal`` if something has not."""
        self._file.close()
        if not keep:
            with suppress(OSError):
                os.unlink(self.path)
            with suppress(OSError):
                os.rmdir(os.path.dirname(self.path))  # noqa: PTH106 - only if nobody uses it


def heal(dry_run: bool = False, folder: str | None = None) -> list[str]:
    """Undo what dead runs left; returns what was (or would be) done, one line each."""
    folder = folder or home()
    done: list[str] = []
    if not _private(folder):
        return done
    for name in sorted(os.listdir(folder)):
        if name.endswith(_SUFFIX + _NEW):
            done += _heal_stillborn(os.path.join(folder, name), dry_run)
        token = name.removesuffix(_SUFFIX)
        if token == name or not _TOKEN.fullmatch(token):
            continue
        try:
            done += heal_run(folder, token, dry_run=dry_run)
        except OSError as problem:  # the others can still be healed
            done.append(f"could not undo {os.path.join(folder, token)}: {problem}")
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
    groups = _groups(token, records)
    done += [f"removed the control group {group}" for group in groups]
    if dry_run:
        return done
    stay = [group for group in groups if not remove_group(group, _GROUP_PATIENCE)]
    if not stay:
        with suppress(FileNotFoundError):
            os.unlink(path)
    return done


def _heal_stillborn(path: str, dry_run: bool) -> list[str]:
    """A journal that never got its name: nothing had been made yet."""
    try:
        records, age = list(_records(path)), time.time() - os.lstat(path).st_mtime
    except OSError:
        return []
    named = any("process" in record for record in records)
    if (_lives(records) if named else age < _STILLBORN) or not _TOKEN.match(os.path.basename(path)):
        return []
    if not dry_run:
        with suppress(FileNotFoundError):
            os.unlink(path)
    return [f"removed the journal {path}"]


def remove_group(path: str, patience: float) -> bool:
    """End the members of a control group of ours and remove it; False if it stays for so many seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            with open(os.path.join(path, "cgroup.procs"), encoding="ascii") as file:
                members = [int(pid) for pid in file.read().split()]
            for process in filter(None, map(read_process, filter(None, members))):
                send(process, signal.SIGKILL)
            os.rmdir(path)  # noqa: PTH106 - the kernel refuses while somebody is in it
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)


def _groups(token: str, records: list[dict[str, Any]]) -> list[str]:
    """The control groups of this run that are still there."""
    announced = [record["group"] for record in records if isinstance(record.get("group"), str)]
    return [path for path in announced if token in os.path.basename(path) and _is_group(path)]


def _is_group(path: str) -> bool:
    """Whether it is a directory of a control group file system, reached by no link: nothing else is removed so."""
    if not os.path.isdir(path) or os.path.realpath(path) != path:
        return False
    mount, kind = "", ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            where = line.split(" ")[4]
            if len(where) >= len(mount) and path.startswith(f"{where.rstrip('/')}/"):
                mount, kind = where, line.partition(" - ")[2].split(" ")[0]
    return kind in ("cgroup", "cgroup2")


def _records(path: str) -> Iterator[dict[str, Any]]:
    fd = os.open(
        path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    )  # it may be a trap: a pipe, a link
    with open(fd, encoding="utf-8", errors="replace") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(1, "is no journal of ours", path)
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
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
        if isinstance(record.get("process"), int):
            process = read_process(record["process"])
            if process and process.started == record.get("started") and process.state not in "ZX":
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
