"""Toxics that hold data back for a time: latency, bandwidth, slicer."""

from __future__ import annotations

from asyncio import TimerHandle
from collections import deque
from typing import TYPE_CHECKING

from backupchaos.links.stage import Stage

if TYPE_CHECKING:
    from backupchaos.links.flow import Flow
    from backupchaos.links.toxics import Toxic

_WINDOW_CHUNKS = 1024
_CATCH_UP = 0.02


class _Timed(Stage):
    """Holds chunks in order until each one is due."""

    def __init__(self, toxic: Toxic, flow: Flow) -> None:
        super().__init__(toxic, flow)
        self._queue: deque[tuple[bytes, float]] = deque()
        self._held = 0
        self._ended = False
        self._timer: TimerHandle | None = None

    def take(self, data: bytes, arrival: float) -> None:
        self._queue.append((data, arrival))
        self._held += len(data)
        self._pump()

    def feed(self, data: bytes, arrival: float) -> None:
        # Even a stage that was switched off by a patch must not overtake its own queue.
        if self.active or self._queue:
            self.take(data, arrival)
        else:
            self.out.feed(data, arrival)

    def end(self, arrival: float) -> None:
        self._ended = True
        self._pump()

    def due(self, data: bytes, arrival: float) -> float | None:
        """When the head of the queue may go; None: not before a change."""
        raise NotImplementedError

    def gone(self, now: float) -> None:
        """The head has been passed on."""

    def _pump(self) -> None:
        if self._timer is not None:
            return
        while self._queue and not self.flow.finished:
            data, arrival = self._queue[0]
            due = self.due(data, arrival)
            if due is None:
                return
            now = self.loop.time()
            if due > now:
                self._timer = self.loop.call_at(due, self._fire)
                return
            self._pop(now)
        if self._ended and not self._queue and not self.flow.finished:
            self._ended = False
            self.out.eof(self.loop.time())

    def _pop(self, now: float) -> None:
        data, _ = self._queue.popleft()
        self._held -= len(data)
        self.gone(now)
        self.out.feed(data, now)

    def _fire(self) -> None:
        self._timer = None
        self._pump()
        if not self.flow.finished:
            self.flow.update()

    def _let_go(self, count: int) -> None:
        """Pass the first ``count`` chunks on at once."""
        self.stop()
        for _ in range(min(count, len(self._queue))):
            if not self.flow.finished:
                self._pop(self.loop.time())

    def patched(self) -> None:
        super().patched()
        self._let_go(1 if self.active else len(self._queue))
        self._pump()

    def removed(self) -> None:
        self._let_go(len(self._queue))
        if self._ended and not self.flow.finished:
            self._ended = False
            self.out.eof(self.loop.time())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Latency(_Timed):
    """Each chunk leaves ``latency`` ± ``jitter`` ms after its arrival; order is kept."""

    def __init__(self, toxic: Toxic, flow: Flow) -> None:
        super().__init__(toxic, flow)
        self._jitter = self._draws("jitter")
        self._delay: float | None = None

    @property
    def accepts(self) -> bool:
        return len(self._queue) < _WINDOW_CHUNKS

    def due(self, data: bytes, arrival: float) -> float:
        if self._delay is None:
            delay, jitter = self.toxic["latency"], self.toxic["jitter"]
            if jitter > 0:
                delay += self._jitter.randrange(2 * jitter) - jitter
            self._delay = delay / 1000
            if delay > 0:
                self.hit("delayed", ms=delay)
        return arrival + self._delay

    def gone(self, now: float) -> None:
        self._delay = None


class _Bandwidth(_Timed):
    """``rate`` * 1000 bytes a second, in pieces of at most 100 ms; rate 0 lets nothing through."""

    def __init__(self, toxic: Toxic, flow: Flow) -> None:
        super().__init__(toxic, flow)
        self._clock = 0.0
        self._releasing = False

    @property
    def accepts(self) -> bool:
        return self._held < max(1 << 16, self.toxic["rate"] * 20)

    def take(self, data: bytes, arrival: float) -> None:
        if not self._queue:
            self._clock = max(self._clock, arrival)
        self.hit("slowed" if self.toxic["rate"] else "stalled", bytes=len(data))
        super().take(data, arrival)

    def _piece(self, data: bytes) -> int:
        rate = self.toxic["rate"]
        return len(data) if self._releasing or not rate else min(len(data), rate * 100)

    def due(self, data: bytes, arrival: float) -> float | None:
        rate = self.toxic["rate"]
        if not self.active:
            return 0.0
        if rate == 0:
            return None
        seconds = self._piece(data) / (rate * 1000)
        # The clock runs on its own time, so that a late timer is made up for, within limits.
        self._clock = max(self._clock, self.loop.time() - _CATCH_UP - seconds)
        return self._clock + seconds

    def _pop(self, now: float) -> None:
        data, arrival = self._queue.popleft()
        piece = self._piece(data)
        if piece < len(data):
            self._queue.appendleft((data[piece:], arrival))
        if self.toxic["rate"]:
            self._clock += piece / (self.toxic["rate"] * 1000)
        self._held -= piece
        self.out.feed(data[:piece], now)

    def _let_go(self, count: int) -> None:
        self._releasing = True
        super()._let_go(count)
        self._releasing = False
        self._clock = self.loop.time()


class _Slicer(_Timed):
    """Cuts chunks into pieces of ``average_size`` ± ``size_variation``, ``delay`` us apart."""

    def __init__(self, toxic: Toxic, flow: Flow) -> None:
        super().__init__(toxic, flow)
        self._cuts = self._draws("slicer")
        self._free_at = 0.0

    @property
    def accepts(self) -> bool:
        return self._held == 0

    def take(self, data: bytes, arrival: float) -> None:
        pieces = self._cut(len(data)) if self.active else [(0, len(data))]
        if len(pieces) > 1:
            self.hit("sliced", pieces=len(pieces), bytes=len(data))
        for start, end in pieces:
            self._queue.append((data[start:end], arrival))
            self._held += end - start
        self._pump()

    def _cut(self, size: int) -> list[tuple[int, int]]:
        average, variation = self.toxic["average_size"], self.toxic["size_variation"]
        done: list[tuple[int, int]] = []
        todo = [(0, size)]
        while todo:
            start, end = todo.pop()
            if end - start <= average + variation:
                done.append((start, end))
                continue
            middle = start + (end - start) // 2
            if variation:
                middle += self._cuts.randrange(2 * variation) - variation
            middle = min(max(middle, start + 1), end - 1)
            todo += [(middle, end), (start, middle)]
        return done

    def due(self, data: bytes, arrival: float) -> float:
        return self._free_at if self.active else 0.0

    def gone(self, now: float) -> None:
        self._free_at = now + self.toxic["delay"] / 1e6

    def patched(self) -> None:
        self._let_go(len(self._queue))
        super().patched()


STAGES: dict[str, type[Stage]] = {"latency": _Latency, "bandwidth": _Bandwidth, "slicer": _Slicer}
