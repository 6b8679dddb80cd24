"""Reading what a stopped call is about: path arguments, descriptors, sizes, addresses."""

from __future__ import annotations

import ctypes
import errno
import os
import posixpath
import re
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from backupchaos.environments.local.kernel import libc
from backupchaos.syscalls.tables import EVERYTHING, Call

_AT_FDCWD = 0xFFFFFF9C
_PAGE = 4096
_DELETED = b" (deleted)"
_F_UNLCK = struct.pack("h", 2)
_COARSE = 5
_KEEP_SIZE = 1
CLOCKS = {time.CLOCK_REALTIME: b"clock:realtime", _COARSE: b"clock:coarse", time.CLOCK_TAI: b"clock:tai"}
"""The wall clocks and what rules call them; all others only ever go forward, and nobody sets them."""
_PROC_LINK = re.compile(rb"/proc/(\d+)/(?:task/\d+/)?(cwd|root|fd/\d+)(/.*)?", re.DOTALL)


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Memory:
    """Reads and writes the memory of stopped threads, by ``process_vm_*`` or else ``/proc/TID/mem``."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_PAGE)
        self._local = _Piece(ctypes.addressof(self._buffer), _PAGE)
        self._remote = _Piece(0, 0)
        self._arguments = (ctypes.byref(self._local), 1, ctypes.byref(self._remote), 1, 0)
        self._call = _transfer("process_vm_readv")
        self._store = _transfer("process_vm_writev")

    def read(self, tid: int, address: int, length: int) -> bytes:
        """Up to one page; fewer if the memory ends there. Raises OSError if it cannot be read."""
        length = min(length, _PAGE)
        if self._call is not None:
            self._remote.base, self._remote.length = address, length
            count = self._call(tid, *self._arguments)
            if count >= 0:
                return self._buffer.raw[:count] if length > 512 else ctypes.string_at(self._buffer, count)
        fd = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, length, address)
        finally:
            os.close(fd)

    def read_all(self, tid: int, address: int, length: int) -> bytes:
        """As many bytes as are asked for, unless the memory ends before. Raises OSError if it cannot be read."""
        out = bytearray()
        while len(out) < length:
            chunk = self.read(tid, address + len(out), length - len(out))
            if not chunk:
                break
            out += chunk
        return bytes(out)

    def write(self, tid: int, address: int, data: bytes) -> None:
        """All of ``data``, or OSError: EFAULT where the caller could not write itself."""
        if self._store is not None:
            source = ctypes.create_string_buffer(data, len(data))
            local = _Piece(ctypes.addressof(source), len(data))
            remote = _Piece(address, len(data))
            count = self._store(tid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
            if count == len(data):
                return
            number = ctypes.get_errno() if count < 0 else errno.EFAULT
            if number != errno.ENOSYS:
                raise OSError(number, os.strerror(number))
        fd = os.open(f"/proc/{tid}/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, data, address)
        finally:
            os.close(fd)

    def text(self, tid: int, address: int) -> bytes:
        """A NUL-terminated string of at most PATH_MAX bytes; never reads beyond a page without need."""
        chunk = self.read(tid, address, min(256, _PAGE - address % _PAGE))
        out, separator, _ = chunk.partition(b"\0")
        while not separator and chunk and len(out) < _PAGE:
            address += len(chunk)
            chunk = self.read(tid, address, min(_PAGE, _PAGE - address % _PAGE))
            more, separator, _ = chunk.partition(b"\0")
            out += more
        return out


def _transfer(name: str) -> Any:
    """``process_vm_readv`` or its counterpart; None in a C library that has it not."""
    call: Any = getattr(libc, name, None)
    if call is not None:
        call.argtypes = (
            ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong
        )  # fmt: skip
        call.restype = ctypes.c_ssize_t
    return call


class Decoder:
    """Turns arguments into absolute paths as the sandbox sees them."""

    def __init__(self) -> None:
        self.memory = Memory()

    def paths(self, call: Call, tid: int, args: Sequence[int]) -> list[bytes]:
        """The files that a call is about; what cannot be told is left out."""
        found = []
        for kind, where in call.where:
            try:
                if kind == "f":
                    found.append(_descriptor(tid, args[where[0]]))
                elif kind == "p":
                    found.append(self._path(tid, _AT_FDCWD, args[where[0]]))
                elif kind == "d":
                    found.append(self._path(tid, args[where[0]], args[where[1]]))
                else:
                    found += self._others(kind, tid, [args[index] for index in where])
            except OSError:
                continue  # a bad pointer or descriptor: the kernel will tell the caller
        return found

    def _others(self, kind: str, tid: int, args: Sequence[int]) -> list[bytes]:
        if kind == "s":
            return [_address(self.memory.read(tid, args[0], min(args[1], 128)))]
        if kind == "m":
            return _mapped(tid, args[0])
        if kind == "l":
            unlocks = self.memory.read(tid, args[1], 2) == _F_UNLCK
            return [] if unlocks else [_descriptor(tid, args[0])]
        if kind == "c":
            return [CLOCKS[args[0] & 0xFFFFFFFF]] if args[0] & 0xFFFFFFFF in CLOCKS else []
        return [EVERYTHING] if kind == "*" else [CLOCKS[time.CLOCK_REALTIME]]

    def size(self, call: Call, tid: int, args: Sequence[int]) -> int:
        """How many bytes the call asks to write, or for how many it asks to reserve room (``call.reserves``)."""
        if call.reserves:
            return _room(tid, args)
        if call.size == "-":
            return 0
        if call.size[0] != "v":
            return args[int(call.size)]
        vector, count = (args[int(part)] for part in call.size[1:].split("."))
        try:
            raw = self.memory.read(tid, vector, min(count, 256) * 16)
        except OSError:
            return 0
        return sum(length for _, length in struct.iter_unpack("QQ", raw[: len(raw) // 16 * 16]))

    def open_flags(self, call: Call, tid: int, args: Sequence[int]) -> int:
        """The O_ flags of an open."""
        if call.flags == "c":
            return os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        if call.flags[0] == "h":
            try:
                return int(struct.unpack("Q", self.memory.read(tid, args[int(call.flags[1:])], 8))[0])
            except (OSError, struct.error):
                return 0
        return args[int(call.flags)]

    def _path(self, tid: int, folder: int, address: int) -> bytes:
        path = self.memory.text(tid, address) if address else b""
        if not path.startswith(b"/"):
            folder &= 0xFFFFFFFF
            base = os.readlink(b"/proc/%d/cwd" % tid) if folder == _AT_FDCWD else _descriptor(tid, folder)
            path = base + b"/" + path if path else base
        if b"/." in path or b"//" in path or path.endswith(b"/"):
            path = posixpath.normpath(path)
            path = path[1:] if path.startswith(b"//") else path
        return _through_proc(path, tid) if path.startswith((b"/proc/", b"/dev/fd/")) else path


def _mapped(tid: int, address: int) -> list[bytes]:
    """The file that is mapped there, if it is one."""
    with open(f"/proc/{tid}/maps", "rb") as file:
        for line in file:
            start, _, rest = line.partition(b"-")
            if int(start, 16) <= address < int(rest.split(b" ", 1)[0], 16):
                columns = line.rstrip(b"\n").split(None, 5)
                name = columns[5] if len(columns) == 6 else b""
                return [name.removesuffix(_DELETED)] if name.startswith(b"/") else []
    return []


def _descriptor(tid: int, fd: int) -> bytes:
    path = os.readlink(b"/proc/%d/fd/%d" % (tid, fd & 0xFFFFFFFF))
    return path[: -len(_DELETED)] if path.endswith(_DELETED) else path


def _through_proc(path: bytes, tid: int) -> bytes:
    """Resolve ``/proc/self/cwd/x`` and its kin, whose meaning depends on the caller."""
    own = b"/proc/%d" % tid
    for name, real in ((b"/proc/self", own), (b"/proc/thread-self", own), (b"/dev/fd", own + b"/fd")):
        if path == name or path.startswith(name + b"/"):
            path = real + path[len(name) :]
    match = _PROC_LINK.fullmatch(path)
    if not match:
        return path
    link = os.readlink(path[: match.end(2)])
    return link.rstrip(b"/") + (match[3] or b"") or b"/"


def _room(tid: int, args: Sequence[int]) -> int:
    """By how many bytes a ``fallocate`` makes a file take more room; 0 where it takes some away, or nothing is known."""
    if args[1] & ~_KEEP_SIZE:
        return 0
    try:
        status = os.stat(f"/proc/{tid}/fd/{args[0] & 0xFFFFFFFF}")
    except OSError:
        return 0
    return max(0, args[2] + args[3] - max(status.st_size, status.st_blocks * 512))


def _address(raw: bytes) -> bytes:
    """A socket address as text: a Unix path, ``@name`` if abstract, ``127.0.0.1:80``, ``[::1]:80``."""
    family = struct.unpack_from("H", raw)[0] if len(raw) >= 2 else -1
    if family == socket.AF_UNIX:
        name = raw[2:]
        return b"@" + name[1:] if name[:1] == b"\0" else name.split(b"\0")[0]
    if family == socket.AF_INET and len(raw) >= 8:
        port = struct.unpack_from("!H", raw, 2)[0]
        return f"{socket.inet_ntop(socket.AF_INET, raw[4:8])}:{port}".encode()
    if family == socket.AF_INET6 and len(raw) >= 24:
        port = struct.unpack_from("!H", raw, 2)[0]
        return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{port}".encode()
    return b"family:%d" % family


def group_of(tid: int) -> int:
    """The process that a thread belongs to; raises ``OSError`` if it is gone."""
    try:
        os.close(os.pidfd_open(tid))  # only the first thread of a process can be opened so: the usual case
        return tid
    except OSError:
        pass
    fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 1024).partition(b"Tgid:")[2].split(None, 1)[0])
    finally:
        os.close(fd)
