"""A picture of the machine before and after, and what differs: for tests that promise to leave nothing.

The machine is shared, so only this counts: what lies in the folders that a test names, what hangs on the
processes that it names as harnesses, and what bears our name and was not there before. Strangers come and
go meanwhile, other runs of ours among them: ``settled`` waits until they have gone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

Picture = Mapping[str, frozenset[str]]
"""Section -> one line for each thing seen."""
NAME = "backupchaos"
_FS_IOC_GETFLAGS = 0x80086601
_LISTENING = "0A"
_HEALED = ("cgroups", "loop devices", "names")
"""Sections from which a line may vanish: what a dead stranger left is healed by whoever starts next."""
_DOCKERS = re.compile(r"docker|\bbr-[0-9a-f]{12}\b", re.IGNORECASE)
_RULES = {"iptables-save": (), "ip6tables-save": (), "nft": ("list", "ruleset")}


@dataclass(frozen=True)
class Watch:
    """``folders`` count with everything in them, except what ``expected`` matches (relative, fnmatch).

    ``harnesses`` are pids: their descendants, and the agents that were started for them, are ours.
    """

    folders: tuple[Path, ...]
    harnesses: tuple[int, ...] = (os.getpid(),)
    expected: tuple[str, ...] = ()

    def look(self) -> Picture:
        """What there is now."""
        processes = dict(self._processes())
        return {
            "mounts": frozenset(self._mounts()),
            "processes": frozenset(processes.values()),
            "ports": frozenset(_ports({*processes, os.getpid()})),
            "rules": frozenset(_rules()),
            "cgroups": frozenset(self._cgroups()),
            "loop devices": frozenset(self._loops()),
            "files": frozenset(line for folder in self.folders for line in self._tree(folder)),
            "names": frozenset(_names()),
        }

    def differences(self, before: Picture) -> list[str]:
        """What came and what went, one line each."""
        now = self.look()
        return [
            f"{section}: {sign} {line}"
            for section in before
            for sign, lines in (("+", now[section] - before[section]), ("-", before[section] - now[section]))
            for line in sorted(lines)
            if sign == "+" or section not in _HEALED
        ]

    def settled(
        self, before: Picture, seconds: float = 15.0, excused: Callable[[str], bool] = lambda line: False
    ) -> list[str]:
        """As ``differences``, without what is ``excused``, once nothing is left of them or the time is over."""
        end = time.monotonic() + seconds
        while left := [line for line in self.differences(before) if not excused(line)]:
            if time.monotonic() > end:
                break
            time.sleep(0.05)  # the kernel takes namespaces down when it likes
        return left

    def _mounts(self) -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
            fields = line.split(" ")
            where, options, kind = fields[4], fields[5], " ".join(line.partition(" - ")[2].split(" ")[:2])
            ours = NAME in line and not _DOCKERS.search(where)
            if ours or any(Path(where).is_relative_to(folder) for folder in self.folders):
                yield f"{where} {options} {kind}"

    def _processes(self) -> Iterator[tuple[int, str]]:
        table: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").iterdir():
            fields = _read(entry / "stat").rpartition(b") ")[2].split() if entry.name.isdigit() else []
            if fields and fields[0] not in (b"Z", b"X"):
                table[int(entry.name)] = int(fields[1]), fields[19].decode()
        ours = {pid for pid in table if pid not in self.harnesses and self._is_root(pid, table[pid][0])}
        grown = True
        while grown:
            more = {pid for pid, (parent, _) in table.items() if parent in ours} - ours
            ours |= more
            grown = bool(more)
        for pid in ours - set(self.harnesses):
            words = _read(Path(f"/proc/{pid}/cmdline")).replace(b"\0", b" ").decode(errors="replace")
            yield pid, f"{pid} started {table[pid][1]}: {words[:160]}"

    def _is_root(self, pid: int, parent: int) -> bool:
        """A child of a harness, its agent whoever adopted it, or a process with our folder in its environment."""
        if parent in self.harnesses:
            return True
        words = _read(Path(f"/proc/{pid}/cmdline")).split(b"\0")
        agent = any(word.endswith(b"/local/agent.py") for word in words)
        if agent and any(b"%d" % harness in words[-2:] for harness in self.harnesses):
            return True
        environment = _read(Path(f"/proc/{pid}/environ"))
        marked = b"BACKUPCHAOS_" in environment
        return marked and any(os.fsencode(folder) in environment for folder in self.folders)

    def _cgroups(self) -> Iterator[str]:
        """Directories of ours, except those whose journal a living stranger holds open."""
        found = [
            f"{parent}/{name}"
            for parent, folders, _ in os.walk("/sys/fs/cgroup")
            for name in folders
            if NAME in name
        ]
        held = _journals(self.harnesses) if found else set()
        yield from (path for path in found if path.rpartition("-")[2] not in held)

    def _loops(self) -> Iterator[str]:
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            text = _read(backing).decode(errors="replace").strip()
            if NAME in text or any(text.startswith(str(folder)) for folder in self.folders):
                yield f"{backing.parts[3]} {text}"

    def _tree(self, folder: Path) -> Iterator[str]:
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(parent, name)
                inside = str(path.relative_to(folder))
                if not any(fnmatch(inside, pattern) for pattern in self.expected):
                    yield _entry(path)
        yield _entry(folder, times=False)


def _entry(path: Path, times: bool = True) -> str:
    """Everything about one file that a fault could have changed."""
    try:
        info = path.lstat()
        words = [f"{path}", f"{info.st_mode:o}", f"{info.st_uid}:{info.st_gid}"]
        if stat.S_ISREG(info.st_mode):
            words += [f"{info.st_size}", hashlib.sha256(_read(path)).hexdigest()[:16]]
        if stat.S_ISLNK(info.st_mode):
            words.append(os.readlink(path))
        if times and not stat.S_ISDIR(info.st_mode):
            words.append(f"{info.st_mtime_ns}")
        names = os.listxattr(path, follow_symlinks=False)
        words += [f"{name}={os.getxattr(path, name, follow_symlinks=False)!r}" for name in sorted(names)]
        if stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
            words.append(f"flags {_flags(path):x}")
    except FileNotFoundError:
        return f"{path} vanished"
    return " ".join(words)


def _flags(path: Path) -> int:
    """The attributes that ``chattr`` sets; 0 where the file system has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(struct.unpack("q", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))[0])
    except OSError:
        return 0
    finally:
        os.close(fd)


def _ports(pids: Iterable[int]) -> Iterator[str]:
    """What these processes listen on in our network namespace."""
    held: dict[str, int] = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                held[os.readlink(link)] = pid
            except OSError:
                continue
    for name in ("tcp", "tcp6"):
        for line in _read(Path("/proc/self/net", name)).decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and f"socket:[{fields[9]}]" in held:
                yield f"{fields[1]} inode {fields[9]}"


def _rules() -> Iterator[str]:
    """Packet filters, without counters and comments, and without those that come and go with containers."""
    for program, arguments in _RULES.items():
        if shutil.which(program) is None:
            continue
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20)
        for line in done.stdout.splitlines():
            if line.strip() and not line.startswith(("#", ":")) and not _DOCKERS.search(line):
                yield f"{program}: {line.strip()}"


def _journals(harnesses: Iterable[int]) -> set[str]:
    """Tokens of the runs whose undo journal is open in a process that is none of these."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.endswith(".journal") and int(link.parts[2]) not in harnesses:
            found.add(Path(target).stem)
    return found


def _names() -> Iterator[str]:
    """What bears our name where people put things that outlive them."""
    home = os.environ.get("HOME", "")
    places = ("/dev/shm", "/var/tmp", "/run/lock", home, f"{home}/.cache", f"{home}/.config")
    for place in dict.fromkeys(places):
        try:
            found = os.listdir(place) if place else []
        except OSError:
            continue
        yield from (f"{place}/{name}" for name in found if NAME in name and not name.startswith("pytest-"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def canary(folder: Path) -> Path:
    """A small tree of everything that a fault aimed badly would change; put it into a watched folder."""
    top = folder / "canary"
    (top / "sub").mkdir(parents=True)
    for name, mode in (("plain", 0o644), ("secret", 0o600), ("sub/tool", 0o755), ("readonly", 0o400)):
        (top / name).write_text(f"canary {name}\n")
        (top / name).chmod(mode)
    (top / "link").symlink_to("plain")
    os.link(top / "plain", top / "sub" / "hard")
    (top / "sub").chmod(0o750)
    return top
