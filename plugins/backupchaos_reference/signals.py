"""TERM and INT end a job at once, cleanly; only while a snapshot is being published they wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from backupchaos_reference import misbehaviour

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def leave_to_main_thread() -> None:
    """Called by another thread: signals that end a job are not for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


class TerminatedError(KeyboardInterrupt):
    """A signal asked the job to end.  (A KeyboardInterrupt, as asyncio lets nothing else through its callbacks.)"""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.message = f"stopped by {signal.Signals(number).name}"


class SignalGuard:
    """Turns the first signal into a TerminatedError and ignores later ones: the way out is bounded anyway."""

    def __init__(self) -> None:
        self._deferring = False
        self._raised = False
        self._pending: int | None = None

    @contextmanager
    def installed(self) -> Iterator[SignalGuard]:
        """Handle signals within the block (does nothing outside the main thread)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        handler: Any = signal.SIG_IGN if misbehaviour.on("ignores_term") else self._handle
        # A signal that the caller chose to ignore (nohup) stays ignored.
        chosen = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in chosen}
        try:
            yield self
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            return
        if self._deferring:
            self._pending = number
            return
        self._raised = True
        raise TerminatedError(number)

    def check(self) -> None:
        """Raise TerminatedError for a signal that waits: called where a deferred block may give up."""
        if self._pending is not None and not self._raised:
            self._raised = True
            raise TerminatedError(self._pending)

    def ignore(self) -> None:
        """From now on signals change nothing: the job is on its way out already."""
        self._raised = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let signals wait.  When the block ends well they have come too late, and are dropped."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
