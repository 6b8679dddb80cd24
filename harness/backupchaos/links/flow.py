"""One direction of a connection: source, toxic stages, sink.

Without stages a chunk goes from a shared read buffer straight to the sink's socket, without a
copy. What the sink does not take is kept, and nothing more is read until it is gone: that is
the backpressure. A byte counts as passed when the kernel of the sink has accepted it, so a
byte trigger can be exact.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from backupchaos.links.connection import Connection
    from backupchaos.links.stage import Stage

Direction = Literal["up", "down"]

DIRECT_CHUNKS = 1 << 16, 1 << 20
"""Bytes that are read at a time: at first, and at most, which a source reaches that is ahead of its reader."""
STAGED_CHUNK = 1 << 15
_PENDING_LIMIT = 1 << 18
_shared = memoryview(bytearray(DIRECT_CHUNKS[1]))


class Fuse(NamedTuple):
    """What happens when so many bytes have passed, before another one does."""

    at: int
    owner: str
    blow: Callable[[], None]


class Flow:
    """Bytes from ``src`` to ``dst``; ``up`` is client to server."""

    __slots__ = (
        "_chunk",
        "_reading",
        "_writing",
        "conn",
        "cut_by",
        "direction",
        "dst",
        "eof_reached",
        "finished",
        "fuses",
        "in_fd",
        "out_fd",
        "passed",
        "pending",
        "pending_bytes",
        "received",
        "spoilers",
        "src",
        "src_eof",
        "stages",
    )

    def __init__(
        self, conn: Connection, direction: Direction, src: socket.socket, dst: socket.socket
    ) -> None:
        self.conn = conn
        self.direction: Direction = direction
        self.src = src
        self.dst = dst
        self.in_fd = src.fileno()
        self.out_fd = dst.fileno()
        self.stages: list[Stage] = []
        self.pending: deque[bytes] = deque()
        self.pending_bytes = 0
        self.received = 0
        self.passed = 0
        self.src_eof = False
        self.eof_reached = False
        self.finished = False
        self.cut_by = ""
        self.fuses: tuple[Fuse, ...] = ()
        self.spoilers: tuple[Any, ...] = ()
        """Called with each chunk that was read, and its offset in the stream; they may change it."""
        self._reading = False
        self._writing = False
        self._chunk = DIRECT_CHUNKS[0]

    # -- interest ---------------------------------------------------------------------------

    def update(self) -> None:
        """Watch exactly those sockets that can make progress now."""
        watcher = self.conn.watcher
        moving = not self.finished and not self.conn.stalled
        read = moving and not self.src_eof and not self.cut_by and self._room()
        if read != self._reading:
            self._reading = read
            watcher.reading(self.in_fd, self._readable if read else None)
        write = moving and self.pending_bytes > 0
        if write != self._writing:
            self._writing = write
            watcher.writing(self.out_fd, self.flush if write else None)
        if not read and not self.finished:
            self.conn.link.watch()

    def _room(self) -> bool:
        if not self.stages:
            return self.pending_bytes == 0
        return self.pending_bytes < _PENDING_LIMIT and all(stage.accepts for stage in self.stages)

    def try_now(self) -> None:
        """Read, if that is wanted: who connects has often spoken already."""
        if self._reading:
            self._readable()

    # -- source -----------------------------------------------------------------------------

    def _readable(self) -> None:
        staged = bool(self.stages)
        try:
            count = self.src.recv_into(_shared, STAGED_CHUNK if staged else self._chunk)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.conn.peer_gone(self, error, wrote=False)
            return
        if count == 0:
            self.source_ended()
            return
        if not self.received:
            self.conn.first_byte(self.direction)
        for spoil in self.spoilers:
            spoil(_shared[:count], self.received)
        self.received += count
        if staged:
            self.stages[0].feed(bytes(_shared[:count]), self.conn.loop.time())
            if not self.finished:
                self.update()
        elif self.pending_bytes:
            self._keep(_shared[:count])
        else:
            if count == self._chunk < DIRECT_CHUNKS[1]:
                self._chunk *= 2
            self._send(_shared[:count])

    def source_ended(self) -> None:
        """The source has shut down its writing side: pass that on after all data."""
        self.src_eof = True
        self.conn.source_eof(self.direction)
        if self.finished:
            return
        if self.stages:
            self.stages[0].eof(self.conn.loop.time())
        else:
            self.eof(0.0)
        if not self.conn.closed:
            self.update()

    # -- sink: the end of the chain of stages ---------------------------------------------------

    def feed(self, data: bytes, _arrival: float) -> None:
        """Take a chunk that has passed all stages."""
        if self.finished or not data:
            return
        if self.pending_bytes or self.conn.stalled:
            self._keep(memoryview(data))
        else:
            self._send(memoryview(data))

    def eof(self, _arrival: float) -> None:
        """All stages have ended: end the sink's stream once everything is written."""
        self.eof_reached = True
        self._settle()

    def cut(self, reason: str) -> None:
        """Read no more; when the chain ends, close the whole connection instead of one direction."""
        self.cut_by = self.cut_by or reason
        self.update()

    def _keep(self, data: memoryview) -> None:
        self.pending.append(bytes(data))
        self.pending_bytes += len(data)
        self.update()

    def _send(self, view: memoryview) -> None:
        """Write; keep the rest. Triggers split the chunk, and act before the next byte goes."""
        link = self.conn.link
        while True:
            piece = view
            if link.meter.arms or self.fuses:
                piece = view[: self._allowed(len(view))]
            try:
                count = self.dst.send(piece)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.conn.peer_gone(self, error, wrote=True)
                return
            self.passed += count
            view = view[count:]
            link.meter.count(self.direction, count, self.conn.number)
            for fuse in self.fuses:
                if self.passed >= fuse.at and not self.finished:
                    fuse.blow()
            if self.finished or not view:
                return
            if count < len(piece) or self.conn.stalled:
                break
        self._chunk = max(DIRECT_CHUNKS[0], self._chunk // 2)
        self.pending.appendleft(bytes(view))
        self.pending_bytes += len(view)
        self.update()

    def _allowed(self, wanted: int) -> int:
        """Bytes that may go before a trigger or a fuse must act."""
        least = self.conn.link.meter.allowance(self.direction)
        limits = [fuse.at - self.passed for fuse in self.fuses]
        return max(1, min([wanted, *limits] if least is None else [wanted, least, *limits]))

    def flush(self) -> None:
        """The sink can take more (or the link moves again)."""
        while self.pending and not self.finished and not self.conn.stalled:
            data = self.pending.popleft()
            self.pending_bytes -= len(data)
            before = self.pending_bytes
            self._send(memoryview(data))
            if self.pending_bytes > before:
                return
        if not self.finished:
            self.update()
            self._settle()

    def _settle(self) -> None:
        if not self.eof_reached or self.pending or self.finished or self.conn.stalled:
            return
        if self.cut_by:
            self.conn.close(self.cut_by, drain=True)
        else:
            self.finished = True
            for stage in self.stages:
                stage.stop()
            if not self.conn.flow_ended():
                try:
                    self.dst.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # already reset by the peer; its reader will tell
                self.update()

    def stop(self) -> None:
        """The connection is over, and nobody watches its sockets any more."""
        self.finished = True
        self._reading = self._writing = False
        stages, self.stages = self.stages, []
        for stage in stages:
            stage.stop()

    @property
    def lost(self) -> int:
        """Bytes that were read and never passed on."""
        return self.received - self.passed
