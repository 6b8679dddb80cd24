"""One toxic's place in one direction of one connection.

A stage gets chunks with their time of arrival, and passes them to ``out`` now or later. It never
waits for anything: time is a timer of the loop, so adding, changing and removing toxics cannot hang.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from backupchaos.links.draws import stream

if TYPE_CHECKING:
    from backupchaos.links.flow import Flow
    from backupchaos.links.toxics import Toxic


class Outlet(Protocol):
    """Where a stage's output goes: the next stage, or the flow's sink."""

    def feed(self, data: bytes, arrival: float) -> None:
        """Take a chunk."""

    def eof(self, arrival: float) -> None:
        """No more chunks will come."""


class Stage:
    """Passes everything on: the ``noop`` toxic, and what a connection spared by toxicity gets."""

    def __init__(self, toxic: Toxic, flow: Flow) -> None:
        self.toxic = toxic
        self.flow = flow
        self.out: Outlet = flow
        self.loop = flow.conn.loop
        self.closed = False
        self._chance = self._draws("toxicity")
        self.active = self._draw_active()

    def _draws(self, purpose: str) -> Random:
        conn = self.flow.conn
        link = conn.link
        return stream(
            link.registry.seed, link.name, conn.number, self.flow.direction, self.toxic.name, purpose
        )

    def _draw_active(self) -> bool:
        active = self._chance.random() < self.toxic.toxicity
        if 0 < self.toxic.toxicity < 1:
            self.flow.conn.link.emit("draw", self.flow.conn.number, toxic=self.toxic.name, active=active)
        return active

    def hit(self, what: str, **data: Any) -> None:
        """Record that this toxic has touched the connection."""
        self.flow.conn.hit(f"toxic:{self.toxic.name}", what, dir=self.flow.direction, **data)

    @property
    def accepts(self) -> bool:
        """Whether more may be read from the source."""
        return True

    def begin(self) -> None:
        """The stage is part of the chain now."""

    def cut(self) -> None:
        """End the connection, after what this stage has let through went its way."""
        if not self.closed:
            self.closed = True
            self.flow.cut(f"toxic:{self.toxic.name}")
            self.out.eof(self.loop.time())

    def feed(self, data: bytes, arrival: float) -> None:
        """Take a chunk."""
        if self.closed:
            return
        if self.active:
            self.take(data, arrival)
        else:
            self.out.feed(data, arrival)

    def eof(self, arrival: float) -> None:
        """No more chunks will come."""
        if self.closed:
            return
        if self.active:
            self.end(arrival)
        else:
            self.out.eof(arrival)

    def take(self, data: bytes, arrival: float) -> None:
        """An active stage's way with a chunk."""
        self.out.feed(data, arrival)

    def end(self, arrival: float) -> None:
        """An active stage's way with the end of the stream."""
        self.out.eof(arrival)

    def patched(self) -> None:
        """The toxic's attributes or toxicity have changed: the toxicity is drawn again."""
        self.active = self._draw_active()

    def removed(self) -> None:
        """The toxic is gone: pass on what was held back."""

    def stop(self) -> None:
        """The connection is over."""
