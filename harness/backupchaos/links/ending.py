"""Toxics that drop data or end connections: slow_close, timeout, reset_peer, limit_data."""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING

from backupchaos.links.stage import Stage

if TYPE_CHECKING:
    from backupchaos.links.flow import Flow
    from backupchaos.links.toxics import Toxic


class _SlowClose(Stage):
    """Holds back the end of the stream for ``delay`` ms; data passes."""

    def __init__(self, toxic: Toxic, flow: Flow) -> None:
        super().__init__(toxic, flow)
        self._timer: TimerHandle | None = None

    def end(self, arrival: float) -> None:
        self.hit("close delayed", ms=self.toxic["delay"])
        self._timer = self.loop.call_later(self.toxic["delay"] / 1000, self.removed)

    def patched(self) -> None:
        super().patched()
        if self._timer is not None:
            self.stop()
            self.eof(self.loop.time())

    def removed(self) -> None:
        if self._timer is not None:
            self.stop()
            self.out.eof(self.loop.time())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Timeout(Stage):
    """Drops everything; ends the connection ``timeout`` ms after the last chunk (0: never)."""

    _timer: TimerHandle | None = None

    def begin(self) -> None:
        self.stop()
        if self.active and self.toxic["timeout"] > 0:
            self._timer = self.loop.call_later(self.toxic["timeout"] / 1000, self._expire)

    def take(self, data: bytes, arrival: float) -> None:
        self.hit("dropped", bytes=len(data))
        self.begin()

    def end(self, arrival: float) -> None:
        self.cut()

    def _expire(self) -> None:
        self.hit("closed", ms=self.toxic["timeout"])
        self.cut()

    def patched(self) -> None:
        super().patched()
        self.begin()

    def removed(self) -> None:
        # Data was lost, so the connection cannot go on.
        if self.active:
            self.cut()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _ResetPeer(Stage):
    """Drops data; ``timeout`` ms after the first chunk or the end of the stream: RST to both."""

    _timer: TimerHandle | None = None

    def take(self, data: bytes, arrival: float) -> None:
        self.end(arrival)

    def end(self, arrival: float) -> None:
        if self._timer is not None:
            return
        if self.toxic["timeout"] > 0:
            self._timer = self.loop.call_later(self.toxic["timeout"] / 1000, self._expire)
        else:
            self._expire()

    def _expire(self) -> None:
        self.hit("reset", ms=self.toxic["timeout"])
        self.flow.conn.close(f"toxic:{self.toxic.name}", rst=True)

    def patched(self) -> None:
        waiting = self._timer is not None
        self.stop()
        super().patched()
        if waiting and self.active:
            self.end(self.loop.time())

    def removed(self) -> None:
        if self._timer is not None:  # it has dropped data already
            self.flow.conn.close(f"toxic:{self.toxic.name}", rst=True)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _LimitData(Stage):
    """Lets ``bytes`` bytes through, counted from when it came, then ends the connection."""

    _passed = 0

    def take(self, data: bytes, arrival: float) -> None:
        left = max(0, self.toxic["bytes"] - self._passed)
        part = data[:left]
        self._passed += len(part)
        if part:
            self.out.feed(part, arrival)
        if self._passed >= self.toxic["bytes"]:
            self.hit("closed", bytes=self._passed, dropped=len(data) - len(part))
            self.cut()


STAGES: dict[str, type[Stage]] = {
    "slow_close": _SlowClose,
    "timeout": _Timeout,
    "reset_peer": _ResetPeer,
    "limit_data": _LimitData,
}
