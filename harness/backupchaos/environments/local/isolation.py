"""Leave the host: namespaces, then a root file system of our own.

Order matters. The user namespace comes with the others in one ``unshare``, so that it owns
them. Its maps are written before anything else, since a change of credentials clears the
parent-death signal. The host is bound read-only *before* the volumes are mounted over it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Mapping, Sequence

from backupchaos.environments.local import kernel
from backupchaos.environments.local.kernel import MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REC, MS_REMOUNT

BASE = "/backupchaos"
HOSTNAME = "backupchaos"
HIDDEN = ("/tmp", "/run", "/var/tmp", "/dev/shm")  # noqa: S108 - names, not files of ours
"""Host directories that the sandbox replaces by empty ones: temporary files and sockets of others."""
_SCRATCH = "size=64m,mode=1777"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_KERNEL_KNOBS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")


def leave_host(user_namespace: bool) -> None:
    """Unshare everything; with a user namespace the caller becomes root in it."""
    uid, gid = os.getuid(), os.getgid()
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET
    flags |= kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    if not user_namespace:
        kernel.unshare(flags)
        return
    kernel.unshare(flags | kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def loopback_up() -> None:
    """Switch on ``lo`` in a fresh network namespace."""
    up_running = struct.pack("16sh", b"lo", 0x1 | 0x40) + bytes(22)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, up_running)  # SIOCSIFFLAGS


class Root:
    """The new root file system, built under ``/new`` with the host still visible at ``/old``."""

    def __init__(
        self, volumes: Mapping[str, int], keep: Sequence[Sequence[str]], writable: Sequence[str] = ()
    ) -> None:
        self._volumes = volumes
        self._keep = keep
        self._writable = writable
        self.weak: list[str] = []
        """Mounts that could not be made read-only, for the report."""
        self.host: int = -1
        """The hidden host directories, for ``expose`` later; covered, so reachable by this descriptor only."""

    def build(self) -> None:
        """Replace the root of this process and its future children."""
        kernel.mount("none", "/", None, MS_REC | kernel.MS_PRIVATE)
        scaffold = next(p for p in ("/mnt", "/media", "/srv", "/proc") if os.path.isdir(p))
        kernel.mount("backupchaos", scaffold, "tmpfs", 0, "size=1m,mode=755")
        os.mkdir(scaffold + "/old")
        os.mkdir(scaffold + "/new")
        kernel.mount("backupchaos", scaffold + "/new", "tmpfs", 0, "size=1m,mode=755")
        kernel.pivot_root(scaffold, scaffold + "/old")
        os.chdir("/")
        self._bind_host()
        self._mount_hidden_host()
        _each_read_only("/new", self.weak)
        self._mount_proc()
        self._mount_devices()
        self._mount_scratch()
        for path, real in self._keep:
            self._show(path, "/old" + real, self.weak)
        for path in self._writable:
            self._give(path)
        for name, size in self._volumes.items():
            _tmpfs(f"/new{BASE}/{name}", f"size={size},mode=755")
        self.host = os.open(f"/new{BASE}/.host", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _tmpfs(f"/new{BASE}/.host", "size=4k,mode=000", MS_RDONLY)
        os.chdir("/new")
        kernel.pivot_root(".", ".")
        kernel.umount(".")
        os.chdir("/")

    def expose(self, path: str, real: str) -> None:
        """Show one more path of the host, read-only, in the running sandbox.

        Only paths below the hidden directories can be missing; the rest is there already.
        """
        weak: list[str] = []
        self._show(path, f"/proc/self/fd/{self.host}{real}", weak, root="")
        if weak:
            kernel.umount(path)
            raise OSError(errno.EROFS, "cannot be made read-only", path)

    def _bind_host(self) -> None:
        for name in sorted(os.listdir("/old")):
            source, target = f"/old/{name}", f"/new/{name}"
            mode = os.lstat(source).st_mode
            if stat.S_ISLNK(mode):
                os.symlink(os.readlink(source), target)
            elif stat.S_ISDIR(mode):
                os.mkdir(target)
                if name not in ("proc", "dev", "tmp", "run"):
                    kernel.mount(source, target, None, MS_BIND | MS_REC)
            elif stat.S_ISREG(mode):
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
                kernel.mount(source, target, None, MS_BIND)
        for name in ("proc", "dev", "tmp", "run"):
            os.makedirs(f"/new/{name}", exist_ok=True)
        # A file system of its own: when a volume vanishes, its mount point becomes writable, and nothing else.
        os.mkdir(f"/new{BASE}")
        kernel.mount("backupchaos", f"/new{BASE}", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
        for name in (".host", *self._volumes):
            os.mkdir(f"/new{BASE}/{name}")

    def _mount_hidden_host(self) -> None:
        """Keep what is hidden under a directory that is then covered."""
        top = f"/new{BASE}/.host"
        kernel.mount("backupchaos", top, "tmpfs", MS_NODEV | MS_NOSUID, "size=64k,mode=755")
        for path in HIDDEN:
            if os.path.isdir("/old" + path) and not os.path.islink("/old" + path):
                os.makedirs(top + path)
                kernel.mount("/old" + path, top + path, None, MS_BIND | MS_REC)

    def _mount_proc(self) -> None:
        flags = MS_NOSUID | MS_NODEV | 8  # MS_NOEXEC
        kernel.mount("proc", "/new/proc", "proc", flags)
        for name in _KERNEL_KNOBS:  # root may write them by plain file permissions
            path = f"/new/proc/{name}"
            if os.path.lexists(path):
                kernel.mount(path, path, None, MS_BIND | MS_REC)
                _each_read_only(path, self.weak)

    def _mount_devices(self) -> None:
        """Harmless devices only: a target that is root must not reach the host's disks."""
        kernel.mount("backupchaos", "/new/dev", "tmpfs", MS_NOSUID, "size=64k,mode=755")
        for name in _DEVICES:
            source, target = f"/old/dev/{name}", f"/new/dev/{name}"
            if os.path.exists(source):
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
                kernel.mount(source, target, None, MS_BIND)
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, f"/new/dev/{name}")
        for name in ("pts", "shm"):
            os.mkdir(f"/new/dev/{name}")
        _tmpfs("/new/dev/shm", _SCRATCH)
        kernel.mount("devpts", "/new/dev/pts", "devpts", MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620")
        kernel.mount("none", "/new/dev", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)

    def _mount_scratch(self) -> None:
        _tmpfs("/new/tmp", _SCRATCH)
        _tmpfs("/new/run", "size=16m,mode=755")
        if os.path.isdir("/new/var/tmp") and not os.path.islink("/new/var/tmp"):
            _tmpfs("/new/var/tmp", _SCRATCH)

    @staticmethod
    def _give(path: str) -> None:
        """Put an allowed directory of the host over its read-only picture."""
        os.makedirs("/new" + path, exist_ok=True)  # it is not there yet below a hidden directory
        kernel.mount("/old" + path, "/new" + path, None, MS_BIND | MS_REC)
        try:
            kernel.set_mount_flags("/new" + path, MS_NOSUID | MS_NODEV)
        except OSError as problem:
            if problem.errno not in (errno.ENOSYS, errno.EINVAL):
                raise  # before Linux 5.12 it keeps the flags that it has

    @staticmethod
    def _show(path: str, source: str, weak: list[str], root: str = "/new") -> None:
        target = root + path
        if not hidden(path) or os.path.lexists(target):
            return
        if os.path.isdir(source):
            os.makedirs(target)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
        kernel.mount(source, target, None, MS_BIND | MS_REC)
        _each_read_only(target, weak)


def hidden(path: str) -> bool:
    """Whether the host's file of that name is out of sight in the sandbox."""
    return any(path.startswith(place + "/") for place in HIDDEN)


def _tmpfs(path: str, options: str, flags: int = 0) -> None:
    kernel.mount("backupchaos", path, "tmpfs", flags | MS_NOSUID | MS_NODEV, options)


def _each_read_only(top: str, weak: list[str]) -> None:
    """Make a mount tree read-only; where the kernel is older than 5.12, mount by mount."""
    try:
        kernel.set_mount_flags(top, MS_RDONLY | MS_NODEV)
        return
    except OSError as problem:
        if problem.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
    for path, flags in _mounts_below(top):
        try:
            kernel.mount("none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)
        except OSError:
            weak.append(path)


def _mounts_below(top: str) -> list[tuple[str, int]]:
    """Mount points with the flags that a remount must repeat, because they may be locked."""
    known = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
    found = []
    with open("/old/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            path = _unescape(fields[4])
            if path == top or path.startswith(top + "/"):
                found.append((path, sum(known.get(word, 0) for word in fields[5].split(","))))
    return found


def _unescape(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
