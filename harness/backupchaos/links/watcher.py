"""Waiting for many sockets at a small price: the selector under the event loop of ``linkd``.

asyncio makes an object, a namedtuple and a turn of its loop of each readable socket, which costs more than the
socket calls of a short connection. The sockets of links are called from within ``select`` instead. All else
(timers, signals, the HTTP side) stays asyncio's. Waits are exact to microseconds, where epoll alone rounds
up to milliseconds, since a toxic's delay is only as good as its timer.
"""

from __future__ import annotations

import os
import select
import selectors
from collections.abc import Callable

Callback = Callable[[], None]
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_BATCH = 512


class Watcher(selectors.EpollSelector):
    """A selector of asyncio, and beside it callbacks by descriptor number.

    A callback may come once more than there is reason for (its number may have been given away in the
    meantime), so it must take "nothing there" for an answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self.on_error: Callable[[Exception], None] | None = None
        """Told of what goes wrong in a callback; without it, it is raised."""

    # -- the sockets of links -----------------------------------------------------------------------

    def reading(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever there is something to read, an end or an error; None ends it."""
        self._change(fd, self._readers, callback, _OUT if fd in self._writers else 0, _IN)

    def writing(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever there is room to write, or an error; None ends it."""
        self._change(fd, self._writers, callback, _IN if fd in self._readers else 0, _OUT)

    def _change(
        self, fd: int, callbacks: dict[int, Callback], callback: Callback | None, other: int, own: int
    ) -> None:
        known = fd in callbacks
        if callback is None:
            if known:
                del callbacks[fd]
                if other:
                    self._epoll.modify(fd, other)
                else:
                    self._epoll.unregister(fd)
            return
        callbacks[fd] = callback
        if known:
            return
        if other:
            self._epoll.modify(fd, other | own)
        else:
            self._epoll.register(fd, own)

    def forget(self, fd: int) -> None:
        """The descriptor is about to be closed: the kernel forgets it then, without a call."""
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait; serve the sockets of links; return what is asyncio's."""
        ready = []
        readers, writers = self._readers, self._writers
        for fd, mask in self._wait(timeout):
            if fd not in readers and fd not in writers:
                ready += self._others(fd, mask)
                continue
            try:
                if mask & ~_OUT and (callback := readers.get(fd)) is not None:
                    callback()
                if mask & ~_IN and (callback := writers.get(fd)) is not None:
                    callback()
            except Exception as error:
                if self.on_error is None:
                    raise
                self.on_error(error)
        return ready

    def _others(self, fd: int, mask: int) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            key = self.get_key(fd)
        except KeyError:
            return []  # stopped by a callback of this very turn
        events = selectors.EVENT_READ if mask & ~_OUT else 0
        events |= selectors.EVENT_WRITE if mask & ~_IN else 0
        events &= key.events
        return [(key, events)] if events else []

    def _wait(self, timeout: float | None) -> list[tuple[int, int]]:
        try:
            if timeout is None:
                return self._epoll.poll(-1, _BATCH)
            if timeout >= 0.001:
                # Too short rather than too long: the rest of a millisecond is another wait. Rounded up, it is whole.
                return self._epoll.poll((int(timeout * 1000) - 0.5) / 1000, _BATCH)
            if timeout > 0 and not select.select([self._epoll], [], [], timeout)[0]:
                return []
            return self._epoll.poll(0, _BATCH)
        except InterruptedError:
            return []

    def close(self) -> None:
        """Wait for nothing any more."""
        self._epoll.close()
        super().close()
