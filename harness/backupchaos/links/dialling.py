"""Reaching the upstream of one connection, without holding up anything else."""

from __future__ import annotations

import errno
import os
import socket
from asyncio import Future, TimerHandle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from backupchaos.links import addresses, sockets

if TYPE_CHECKING:
    from backupchaos.links.registry import Registry

TIMEOUT = 10.0
_RETRY = 0.01


class Dial:
    """One attempt. Either ``reached`` is called with the socket, or ``failed`` with the reason, once."""

    def __init__(
        self,
        registry: Registry,
        reached: Callable[[socket.socket], None],
        failed: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._loop = registry.loop
        self._watcher = registry.watcher
        self._reached = reached
        self._failed = failed
        self._left: list[tuple[socket.AddressFamily, Any]] = []
        """Where it can still be tried."""
        self._sock: socket.socket | None = None
        self._waiting = False
        self._timer: TimerHandle | None = None
        self._retry: TimerHandle | None = None
        self._over = False

    def begin(self, text: str) -> None:
        """Try to reach an address; the answer may be there before this returns."""
        try:
            where = addresses.parse(text)
        except ValueError as error:
            self._end(str(error))
            return
        if where.numeric:
            self._left = [(where.family, where.target)]
            self._connect()
            return
        self._take_time()
        lookup = self._loop.create_task(
            self._loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        )
        lookup.add_done_callback(self._looked_up)

    def abandon(self) -> None:
        """Nobody waits for it any more; idempotent."""
        self._over = True
        self._drop()
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()

    def _take_time(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(TIMEOUT, self._end, "timed out")

    def _end(self, why: str) -> None:
        if not self._over:
            self.abandon()
            self._failed(why)

    def _drop(self) -> None:
        if self._sock is not None:
            self._unwatch(self._sock)
            self._sock.close()
            self._sock = None

    def _looked_up(self, lookup: Future[Any]) -> None:
        error = None if lookup.cancelled() else lookup.exception()
        if self._over:
            return
        if error is not None:
            self._end(str(error))
            return
        # Services of a sandbox listen on IPv4; localhost resolves to ::1 first on many systems.
        found = sorted(lookup.result(), key=lambda item: item[0] != socket.AF_INET)
        self._left = [(item[0], item[4]) for item in found]
        self._connect()

    def _connect(self) -> None:
        family, target = self._left[0]
        try:
            self._sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            result = self._sock.connect_ex(target)
        except OSError as error:
            result = error.errno or errno.EINVAL
        if result == errno.EAGAIN:  # a UNIX socket's queue is full; it does not tell when there is room
            self._drop()
            self._take_time()
            self._retry = self._loop.call_later(_RETRY, self._connect)
        elif result not in (0, errno.EINPROGRESS):
            self._next(result)
        elif not self._answered() and self._sock is not None:
            self._take_time()
            self._waiting = True
            self._registry.dialling += 1
            self._watcher.writing(self._sock.fileno(), self._look)

    def _look(self) -> None:
        self._answered()

    def _answered(self) -> bool:
        """Go on if there is an answer. On a loopback it is there before ``connect`` returns."""
        sock = self._sock
        assert sock is not None
        try:
            sock.getpeername()
        except OSError:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._next(code)
            return bool(code)
        self._unwatch(sock)
        self._sock = None
        self.abandon()
        sockets.hurry(sock)
        self._reached(sock)
        return True

    def _unwatch(self, sock: socket.socket) -> None:
        if self._waiting:
            self._waiting = False
            self._watcher.writing(sock.fileno(), None)
            self._registry.dialling -= 1

    def _next(self, code: int) -> None:
        family, _ = self._left.pop(0)
        self._drop()
        # The kernel counts it among the failed attempts of this network, and it is none of the tool's.
        self._registry.own_refusals += code == errno.ECONNREFUSED and family != socket.AF_UNIX
        if self._left:
            self._connect()
        else:
            self._end(os.strerror(code))
