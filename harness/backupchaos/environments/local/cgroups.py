"""Control groups of the machine, for limits on one job: memory, processes, processor time.

The harness makes them, on the host, below the group that it is in itself, so that every limit on the
harness goes on to hold. The job joins through a descriptor, before its exec. Version 2 is taken where it has
the controller *and* the machine lets children have it; nothing of the machine's own groups is changed.
Otherwise version 1. A directory of a control group is bound to no namespace, so it is announced in the
undo journal before it is made. Source of the file names: the kernel's admin guides cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import get_args

from backupchaos.environments.base import Controller
from backupchaos.environments.local import journal
from backupchaos.errors import HarnessBroken, MissingCapability

PERIOD = 100_000
"""Microseconds over which a processor quota counts."""
_PATIENCE = 5.0
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class _Files:
    """Where a controller has its limit and its count of refusals: (file, key)."""

    limit: str
    none: str
    hits: tuple[str, str]


_FILES: dict[tuple[int, str], _Files] = {
    (1, "memory"): _Files("memory.limit_in_bytes", "-1", ("memory.oom_control", "oom_kill")),
    (1, "pids"): _Files("pids.max", "max", ("pids.events", "max")),
    (1, "cpu"): _Files("cpu.cfs_quota_us", "-1", ("cpu.stat", "nr_throttled")),
    (2, "memory"): _Files("memory.max", "max", ("memory.events", "oom_kill")),
    (2, "pids"): _Files("pids.max", "max", ("pids.events", "max")),
    (2, "cpu"): _Files("cpu.max", f"max {PERIOD}", ("cpu.stat", "nr_throttled")),
}
_SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")


class Group:
    """One group, seen through one controller. All methods raise OSError when the kernel refuses."""

    def __init__(self, path: str, version: int, controller: Controller) -> None:
        self.path = path
        self.controller = controller
        self.mechanism = f"cgroup v{version} {controller}"
        self._files = _FILES[version, controller]

    def limit(self, value: float | None) -> None:
        """Bytes, processes and threads, or a share of one processor; None for no limit."""
        text = self._files.none if value is None else self._text(value)
        if self.controller == "memory" and value is None:
            self._swap(text)
        self._write(self._files.limit, text)
        if self.controller == "memory" and value is not None:
            self._swap(text)

    def limited(self) -> float | None:
        """The limit that is in force, as the kernel has it."""
        text = self._read(self._files.limit).split()[0]
        number = -1.0 if text == "max" else float(text)
        if number < 0 or number >= 1 << 60:  # version 1 writes "no limit" as a number of pages
            return None
        return number / PERIOD if self.controller == "cpu" else number

    def hits(self) -> int:
        """How often the kernel acted: processes killed, forks refused, periods in which the job had to wait."""
        name, key = self._files.hits
        for line in self._read(name).splitlines():
            if line.split()[:1] == [key]:
                return int(line.split()[1])
        raise OSError(0, f"{name} has no {key}", self.path)

    def members(self) -> list[int]:
        """The processes in it."""
        return [int(pid) for pid in self._read("cgroup.procs").split()]

    def _text(self, value: float) -> str:
        if self.controller != "cpu":
            return str(int(value))
        quota = max(1000, int(value * PERIOD))  # the kernel takes no less than a millisecond
        return f"{quota} {PERIOD}" if self._files.limit == "cpu.max" else str(quota)

    def _swap(self, text: str) -> None:
        """What does not fit must not go to the swap either; a kernel without swap accounting has no such file."""
        for name in _SWAP:
            with suppress(FileNotFoundError, PermissionError):
                self._write(name, "0" if name == "memory.swap.max" and text != "max" else text)

    def _write(self, name: str, text: str) -> None:
        # Without O_CREAT: a file that this kernel has not must give ENOENT, not EACCES.
        fd = os.open(os.path.join(self.path, name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def _read(self, name: str) -> str:
        with open(os.path.join(self.path, name), encoding="ascii") as file:
            return file.read()


class Groups:
    """The groups of one sandbox: one for each controller, which in version 2 is one and the same directory."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(16)
        self._journal: journal.Journal | None = None
        self._groups: dict[str, Group] = {}

    def of(self, controller: Controller) -> Group:
        """The group with this controller; raises ``MissingCapability``."""
        if controller not in self._groups:
            reason = probe(controller)
            if reason:
                raise MissingCapability(f"cgroup {controller}", reason)
            version, parent = next(_usable(controller))
            try:
                self.make(parent, version, controller)
            except OSError as problem:
                text = f"a control group could be made a moment ago, and now not: {problem}"
                raise HarnessBroken(text) from problem
        return self._groups[controller]

    def make(self, parent: str, version: int, controller: Controller) -> Group:
        """A group below ``parent``; raises OSError if there can be none."""
        if self._journal is None:
            self._journal = journal.Journal(journal.place(journal.home()), self._token, os.getpid())
        path = os.path.join(parent, f"backupchaos-{self._token}")
        if not any(group.path == path for group in self._groups.values()):
            self._journal.make_group(path)
        self._groups[controller] = Group(path, version, controller)
        return self._groups[controller]

    def close(self) -> None:
        """Remove the directories; raises ``HarnessBroken`` if one stays."""
        paths = {group.path for group in self._groups.values()}
        self._groups.clear()
        left = [path for path in sorted(paths) if not journal.remove_group(path, _PATIENCE)]
        if self._journal is not None:
            self._journal.finish(keep=bool(left))
            self._journal = None
        if left:
            raise HarnessBroken(f"the control group {left[0]} could not be removed; see: backupchaos cleanup")


@cache
def probe(controller: Controller) -> str:
    """The reason why no job can be limited by this controller here; empty if one can. Really tried, once."""
    reasons: list[str] = []
    for version, parent in _usable(controller, reasons):
        groups = Groups()
        try:
            reason = _try(groups.make(parent, version, controller))
        except OSError as problem:
            reason = f"{parent}: {problem.strerror}"
        finally:
            groups.close()
        if not reason:
            return ""
        reasons.append(reason)
    return f"no control group with the {controller} controller can be used: " + (
        "; ".join(reasons) or "the kernel has it in neither version, or it is not mounted"
    )


def _try(group: Group) -> str:
    """Set a limit, take it back, and have a child join."""
    group.limit(1 << 30 if group.controller == "memory" else 0.5 if group.controller == "cpu" else 100)
    if group.limited() is None:
        return f"{group.path}: a limit was accepted and not kept"
    group.limit(None)
    group.hits()
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as child:
        fd = os.open(os.path.join(group.path, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(child.pid).encode())
            joined = child.pid in group.members()
        finally:
            os.close(fd)
    return "" if joined else f"{group.path}: a process that joined is no member"


def _usable(controller: Controller, reasons: list[str] | None = None) -> Iterator[tuple[int, str]]:
    """(version, directory) below which a group with this controller may be made, the best first."""
    for version, mount, own in _hierarchies(controller):
        folder = os.path.normpath(mount + own)
        while True:
            hindrance = _hindrance(folder, version, controller)
            if not hindrance:
                yield version, folder
            elif reasons is not None:
                reasons.append(f"{folder} may not be used, as {hindrance}")
            if folder in (mount, "/"):
                break
            folder = os.path.dirname(folder)


def _hindrance(folder: str, version: int, controller: Controller) -> str:
    """Why we cannot make a group there that gets the controller; empty if we can."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return "this user may make no groups there"
    if version == 1:
        return ""
    try:
        with open(os.path.join(folder, "cgroup.subtree_control"), encoding="ascii") as file:
            if controller in file.read().split():
                return ""
    except OSError as problem:
        return f"its cgroup.subtree_control cannot be read ({problem.strerror})"
    return f"its cgroup.subtree_control does not pass {controller} on"


def _hierarchies(controller: Controller) -> Iterator[tuple[int, str, str]]:
    """(version, mount point, our own group below it), version 2 first."""
    mounts, own = _mounts(), _own()
    for version, name in ((2, ""), (1, controller)):
        for kind, options, root, point in mounts:
            wanted = kind == ("cgroup2" if version == 2 else "cgroup")
            if wanted and name in own and (version == 2 or name in options.split(",")):
                below = own[name].removeprefix(root.rstrip("/"))
                yield version, point, below if below.startswith("/") and "/.." not in below else "/"
                break


def _own() -> dict[str, str]:
    """Our own group by controller; the empty name stands for version 2."""
    found: dict[str, str] = {}
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            found |= dict.fromkeys(names.split(","), path)
    return found


def _mounts() -> list[tuple[str, str, str, str]]:
    """(kind, options of the file system, its root, mount point) of all that is mounted."""
    found = []
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            _, _, _, root, point, *_ = fields.split(" ")
            kind, _, options = rest.split()[:3]
            if kind.startswith("cgroup"):
                found.append((kind, options, _plain(root), _plain(point)))
    return found


def _plain(path: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)


assert {name for _, name in _FILES} == set(get_args(Controller))
