"""The kernel's side of user notification: a listener, its calls and our answers.

Structures and ioctl numbers: ``linux/seccomp.h``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable

from backupchaos.syscalls.rules import Rule
from backupchaos.syscalls.tables import Call

RECEIVE, SEND, _ID_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x80082102, 0x40082104
# _ID_VALID is the number with the wrong direction, the only one before Linux 5.9, kept ever since.
_SYNC_WAKE_UP = 1
NOTIFICATION = struct.Struct("=QIIiIQ6Q")
RESPONSE = struct.Struct("=QqiI")
EMPTY = bytes(NOTIFICATION.size)
CONTINUE = 1


class Listener:
    """One supervised process tree."""

    __slots__ = ("_by_number", "active", "execs", "fd", "killable", "rules")

    def __init__(self, fd: int, rules: list[Rule], execs: Iterable[int] = (), killable: bool = True) -> None:
        self.fd = fd
        self.killable = killable
        """Whether only death ends the wait of a stopped call (Linux 5.19), and no other signal."""
        self.rules = rules
        self.execs = frozenset(execs)
        """Numbers of the calls after which the vDSO is to be hidden."""
        self._by_number: dict[int, list[tuple[Rule, Call, str]]] = {}
        for rule in rules:
            for number, (call, kind) in rule.calls.items():
                self._by_number.setdefault(number, []).append((rule, call, kind))
        self.active: dict[int, list[tuple[Rule, Call, str]]] = {number: [] for number in self.execs}
        """Call number -> armed rules for it."""
        self.refresh()

    def refresh(self) -> None:
        """After a rule was switched."""
        for number, rules in self._by_number.items():
            self.active[number] = [entry for entry in rules if entry[0].armed]

    def receive(self, buffer: bytearray) -> bool:
        """Fetch a stopped call into the buffer; False if the caller died meanwhile."""
        buffer[:] = EMPTY  # the kernel insists
        try:
            fcntl.ioctl(self.fd, RECEIVE, buffer)
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                return False
            raise
        return True

    def answer(self, ident: int, error: int = 0, flags: int = 0, value: int = 0) -> None:
        """Let the call fail, or return ``value`` without having been made, or with CONTINUE be made."""
        try:
            fcntl.ioctl(self.fd, SEND, RESPONSE.pack(ident, value, -error, flags))
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.EBADF):
                raise  # ENOENT: the caller died meanwhile

    def waits(self, ident: int) -> bool:
        """Whether the call is still stopped, so that what was read belongs to its caller."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("Q", ident))
        except OSError:
            return False
        return True

    def wake_quickly(self) -> None:
        """Linux 6.6: the caller runs on this CPU next, which halves the round trip."""
        try:
            fcntl.ioctl(self.fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError:
            pass

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)
