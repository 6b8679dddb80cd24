"""Packets that the kernel drops before TCP sees them: a socket filter on one of our own sockets.

A classic BPF program needs no program and touches no other traffic. Newer kernels give a TCP socket one only by
CAP_NET_ADMIN in its network namespace: an ordinary user has that in a namespace of their own, and nowhere else.
What it drops was never received, so that the peer's own TCP sends again, backs off and gives up as it does
on a broken network: nothing is imitated. See the kernel's ``Documentation/networking/filter.rst``.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55
"""Of ``asm-generic/socket.h``; Python has no names for them."""
_MEMINFO_DROPS = 8
_ALL = 0xFFFFFFFF
_RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM: loading from there gives 32 random bits."""


class _Step(NamedTuple):
    code: int
    yes: int
    no: int
    value: int


def step(code: int, yes: int = 0, no: int = 0, value: int = 0) -> _Step:
    """One instruction of a filter, as in the kernel's ``linux/bpf_common.h``."""
    return _Step(code, yes, no, value)


_LOAD, _AT_LEAST, _RETURN = 0x20, 0x35, 0x06
_KEEP, _DROP = _Step(_RETURN, 0, 0, _ALL), _Step(_RETURN, 0, 0, 0)


def lose(sock: socket.socket, share: float) -> None:
    """Drop this share of the packets that come to a socket (0..1), by the kernel's dice.

    Connections that a listener accepts later have its filter too. Raises OSError.
    """
    limit = min(round(share * 2**32), _ALL)
    attach(sock, (_Step(_LOAD, 0, 0, _RANDOM), _Step(_AT_LEAST, 1, 0, limit), _DROP, _KEEP))


def swallow(sock: socket.socket) -> None:
    """Drop everything that comes: nothing is acknowledged any more, not even the end. Raises OSError."""
    attach(sock, (_DROP,))


def pass_all(sock: socket.socket) -> None:
    """Take the filter away; fine if there is none."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBADF):
            raise


def filtered(sock: socket.socket) -> bool:
    """Whether the kernel says that a socket has a filter."""
    try:
        # The answer is counted in instructions of eight bytes; ours are at most four.
        return bool(sock.getsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, 64))
    except OSError:
        return False


def dropped(sock: socket.socket) -> int:
    """Packets that the kernel dropped at a socket, for any reason, since it was made."""
    try:
        words = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        return int(struct.unpack_from("I", words, 4 * _MEMINFO_DROPS)[0])
    except (OSError, struct.error):
        return 0


def usable() -> bool:
    """Whether this kernel really drops what a filter tells it to, and lets us; tried on sockets of its own."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
            pass_all(stream)
            swallow(stream)
    except OSError:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        here.setblocking(False)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            try:
                swallow(here)
                there.sendto(b"dropped", here.getsockname())
                pass_all(here)
                there.sendto(b"passed", here.getsockname())
                return here.recv(16) == b"passed"
            except OSError:
                return False


def attach(sock: socket.socket, program: Sequence[_Step]) -> None:
    """Give a socket a filter. Raises OSError."""
    code = array.array("B", b"".join(struct.pack("HBBI", *step) for step in program))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), code.buffer_info()[0])
    )
