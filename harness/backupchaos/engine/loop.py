"""One selector for everything that a run must listen to: sandbox, links, outputs."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable

from backupchaos.engine.output import Capture, LineSplitter

CHUNK = 256 * 1024


class Loop:
    """Calls back when descriptors become readable; owned and run by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``fd`` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove(self, fd: int) -> None:
        """Stop watching ``fd``; fine if it is not watched."""
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError):  # the latter for the -1 of what is closed
            pass

    def pump(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds, run what is ready; True if anything was."""
        ready = self._selector.select(max(0.0, timeout))
        for key, _ in ready:
            key.data()
        return bool(ready)

    def pump_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Pump until ``done()`` is true; False when the time is over first."""
        end = time.monotonic() + timeout
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.pump(min(left, 0.05))
        return True

    def close(self) -> None:
        """Forget everything."""
        self._selector.close()


class OutputPipe:
    """A pipe whose write end goes to a process; lines come back through a callback."""

    def __init__(
        self,
        loop: Loop,
        on_line: Callable[[str], None],
        secrets: tuple[str, ...] = (),
        *,
        head: int | None = None,
    ) -> None:
        self._loop = loop
        self._on_line = on_line
        self._splitter = LineSplitter(secrets)
        self.capture = Capture() if head is None else Capture(head=head)
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.eof = False
        loop.add(self.read_end, self._readable)

    def started(self) -> None:
        """The process holds the write end now; drop ours."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def _readable(self) -> None:
        try:
            chunk = os.read(self.read_end, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._end()
            return
        self.capture.feed(chunk)
        for line in self._splitter.feed(chunk):
            self._on_line(line)

    def _end(self) -> None:
        if not self.eof:
            self.eof = True
            self._loop.remove(self.read_end)
            os.close(self.read_end)
            for line in self._splitter.finish():
                self._on_line(line)

    def drain(self) -> None:
        """Read what is there now, without waiting for the end."""
        while not self.eof:
            before = self.capture.total
            self._readable()
            if self.capture.total == before:
                break

    def close(self) -> None:
        """Close both ends; idempotent."""
        self.started()
        self._end()
