"""A volume on a real file system: an ext4 image behind a loop device, whose power can be cut.

Runs in the agent, except for ``formatted``. The image is a nameless file in memory and the loop device
clears itself with its last mount, so nothing is left when the sandbox ends, in whatever way.

The cut is what file system developers use for it (*godown*): ``FS_IOC_SHUTDOWN`` without a flush of the journal.
From then on nothing reaches the image; after unmounting, the next mount replays the journal as after a
power failure. Ioctl numbers: the kernel's uapi headers ``linux/fs.h``, ``linux/loop.h``, ``ext4.h``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backupchaos.environments.local import kernel, volumes
from backupchaos.environments.local.isolation import BASE

SMALLEST = 32 << 20
"""Bytes below which ext4 and its journal leave no room to speak of."""
_BLOCK = 4096
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_FREEZE, _THAW = 0xC0045877, 0xC0045878
_LOOP_CONFIGURE, _LOOP_GET_FREE = 0x4C0A, 0x4C82
_AUTOCLEAR = 4
_CONTROL, _LOOP_MAJOR = os.makedev(10, 237), 7
_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
_OPTIONS = "commit=600,noinit_itable"
"""No commit by the timer: a cut would otherwise hide a missing fsync by luck, once in five seconds."""
_PATIENCE = 5.0


def formatted(size: int) -> int:
    """A nameless file with an empty ext4 in it, ``size`` bytes large; the caller closes it.

    Raises ``FileNotFoundError`` without mkfs.ext4, ``OSError`` if it fails.
    """
    program = shutil.which("mkfs.ext4", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "there is no mkfs.ext4 here")
    image = os.memfd_create("volume image", os.MFD_CLOEXEC)
    try:
        os.ftruncate(image, max(size, SMALLEST) // _BLOCK * _BLOCK)
        options = ["-q", "-F", "-b", str(_BLOCK), "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1"]
        argv = [program, *options, f"/proc/self/fd/{image}"]
        done = subprocess.run(argv, pass_fds=[image], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise OSError(errno.EIO, f"mkfs.ext4 failed: {done.stderr.strip()[-300:]}")
    except BaseException:
        os.close(image)
        raise
    return image


def mount(image: int, path: str) -> None:
    """Mount an image; raises ``OSError`` with the step that failed."""
    with attached(image) as device:
        kernel.mount(f"/proc/self/fd/{device}", path, "ext4", _FLAGS, _OPTIONS)


def replace(image: int, path: str) -> None:
    """Put an image in the place of a volume, with what is on the volume so far."""
    old = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount(image, path)
        os.rmdir(f"{path}/lost+found")  # noqa: PTH106 - tools would wonder at it
        shutil.copytree(f"/proc/self/fd/{old}", path, symlinks=True, dirs_exist_ok=True)
        _sync(path)
        fresh = volumes.cloned(path)
        kernel.umount(path)
    finally:
        os.close(old)
    kernel.umount(path)
    volumes.attach(fresh, path)


@contextmanager
def attached(image: int) -> Iterator[int]:
    """A loop device for the image, which lives for as long as it is mounted, or until the end of the block."""
    for _ in range(20):
        device = _configured(image)
        if device >= 0:
            break
    else:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), "loop device")
    try:
        yield device
    finally:
        os.close(device)


def _configured(image: int) -> int:
    """A fresh loop device, or -1 if somebody else took it meanwhile."""
    folder = f"{BASE}/.host"  # device files work only on a mount that allows them, and ours do not
    kernel.mount("backupchaos", folder, "tmpfs", kernel.MS_NOSUID, "size=16k,mode=700")
    try:
        control = _device(f"{folder}/control", stat.S_IFCHR, _CONTROL)
        try:
            number = fcntl.ioctl(control, _LOOP_GET_FREE)
        finally:
            os.close(control)
        device = _device(f"{folder}/loop", stat.S_IFBLK, os.makedev(_LOOP_MAJOR, number))
    finally:
        kernel.umount(folder)
    # struct loop_config: fd, block size, struct loop_info64 with the flags at 52, padding
    configuration = bytearray(304)
    struct.pack_into("II", configuration, 0, image, _BLOCK)
    struct.pack_into("I", configuration, 8 + 52, _AUTOCLEAR)
    try:
        fcntl.ioctl(device, _LOOP_CONFIGURE, configuration)
    except OSError as problem:
        os.close(device)
        if problem.errno != errno.EBUSY:
            raise OSError(problem.errno, problem.strerror, "loop device") from None
        return -1
    return device


def _device(path: str, kind: int, number: int) -> int:
    os.mknod(path, 0o600 | kind, number)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def copied(image: int, copy: int, path: str) -> None:
    """Fill ``copy`` with the image as it stands once everything has been written, and hold it still meanwhile."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(folder, _FREEZE, 0)
        try:
            _copy(image, copy)
        finally:
            fcntl.ioctl(folder, _THAW, 0)
    finally:
        os.close(folder)


def _copy(origin: int, target: int) -> None:
    """Contents become equal; holes stay holes."""
    size = os.fstat(origin).st_size
    os.ftruncate(target, 0)
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(origin, at, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: only a hole is left
        end = os.lseek(origin, at, os.SEEK_HOLE)
        while at < end:
            chunk = os.pread(origin, min(end - at, 1 << 20), at)
            os.pwrite(target, chunk, at)
            at += len(chunk)


def cut(image: int, path: str, earlier: int | None) -> dict[str, Any]:
    """Cut the power and start again; with ``earlier``, the disk is what that copy of it says.

    Nobody may have a file open on the volume. Returns when it happened and what had reached the disk by then.
    """
    written = statistics(path)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        at = time.monotonic()
    finally:
        os.close(folder)
    _unmount(path)
    if earlier is not None:
        _copy(earlier, image)
    mount(image, path)
    return {"at": at, **written}


def _unmount(path: str) -> None:
    """Really: a lazy unmount would leave the file system alive, and the next mount would find it so."""
    deadline = time.monotonic() + _PATIENCE
    while kernel.libc.umount2(os.fsencode(path), 0) < 0:
        number = ctypes.get_errno()
        if number != errno.EBUSY or time.monotonic() > deadline:
            raise OSError(number, os.strerror(number), f"umount {path}")
        time.sleep(0.005)  # the killed are still letting go of their files


def contents(root: str) -> dict[str, tuple[int, str]]:
    """Every file and directory below ``root``: its size and a digest of its content or link text."""
    found: dict[str, tuple[int, str]] = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
            else:
                digest = os.readlink(path) if stat.S_ISLNK(status.st_mode) else "-"
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            found[os.path.relpath(path, root)] = (size, digest)
    return found


def statistics(path: str) -> dict[str, int]:
    """What reached the disk, by the kernel's own count: sectors of 512 bytes, requests to flush; -1 if not known."""
    device = os.lstat(path).st_dev
    wanted = (str(os.major(device)), str(os.minor(device)))
    with open("/proc/diskstats", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if (fields[0], fields[1]) == wanted:
                return {"sectors": int(fields[9]), "flushes": int(fields[18]) if len(fields) > 18 else -1}
    return {"sectors": -1, "flushes": -1}


def _sync(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if kernel.libc.syncfs(folder) < 0:
            raise OSError(ctypes.get_errno(), "syncfs", path)
    finally:
        os.close(folder)
