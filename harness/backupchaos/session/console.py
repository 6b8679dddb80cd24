"""Showing a running scenario: one repainted line on a terminal, plain lines with a heartbeat elsewhere."""

from __future__ import annotations

import os
import threading
import time
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from backupchaos.session.progress import Story, clock

if TYPE_CHECKING:
    from backupchaos.history import Event

Style = Literal["off", "lines", "live"]
REPAINT = 0.25
FIRST_SILENCE = 10.0
HEARTBEAT = 30.0
_LEAST_ROOM = 40
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def style_for(fd: int, *, quiet: bool = False) -> Style:
    """``live`` on a real terminal, ``lines`` elsewhere and in CI, ``off`` if quiet."""
    if quiet:
        return "off"
    dumb = os.environ.get("TERM", "") in {"", "dumb"} or bool(os.environ.get("CI"))
    try:
        return "live" if os.isatty(fd) and not dumb else "lines"
    except OSError:
        return "off"


def cut(text: str, room: int) -> str:
    """As much as fits into so many columns."""
    width = 0
    for index, char in enumerate(text):
        width += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if width > room:
            return text[:index]
    return text


class Console:
    """The stream that progress goes to. ``write`` may be called from any thread and never raises.

    ``begin`` is called before the first character of a run and returns the column at which the
    cursor stands; ``end`` after the last one, with whether whole lines were written.
    """

    def __init__(
        self,
        fd: int,
        style: Style,
        *,
        begin: Callable[[], int] = lambda: 0,
        end: Callable[[bool], str] = lambda lines: "",
        send: Callable[[str], None] | None = None,
    ) -> None:
        self.fd = fd
        self.style = style
        self.begin = begin
        self.end = end
        self._send = send

    def write(self, text: str) -> None:
        """All of it, or nothing if nobody reads any more."""
        if self._send is not None:
            self._send(text)
            return
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(self.fd, data) :]
        except OSError:
            self.style = "off"

    def columns(self) -> int:
        """Of this very stream: standard output itself may be captured."""
        try:
            return os.get_terminal_size(self.fd).columns or 80
        except OSError:
            return 80

    def follow(self, label: str) -> Follower:
        """Show one run; use it as a context manager, and as the ``progress`` of ``RunOptions``."""
        return Follower(self, Story(label))


class Follower:
    """One run on the console. The thread only repaints and beats; events come from the run's own thread."""

    def __init__(self, console: Console, story: Story) -> None:
        self._console = console
        self._story = story
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()
        self._last_line = self._started
        self._beaten = False
        self._column: int | None = None
        self._lines = False
        self._frame = 0

    def __enter__(self) -> Follower:
        if self._console.style != "off":
            self._thread = threading.Thread(target=self._work, name="backupchaos progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            if self._column is None:
                return
            if self._console.style == "live":
                self._console.write(self._home() + "\x1b[K")
            rest = self._console.end(self._lines)
            if rest:
                self._console.write(rest)

    def __call__(self, event: Event) -> None:
        """Take note of an event; print it if it matters."""
        with self._lock:
            words = self._story.tell(event)
            if words and self._console.style == "lines":
                self._line(f"{self._story.label}: {words}")

    def _work(self) -> None:
        live = self._console.style == "live"
        while not self._stop.wait(REPAINT if live else 1.0):
            with self._lock:
                if live:
                    self._repaint()
                else:
                    self._beat()

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _beat(self) -> None:
        limit = HEARTBEAT if self._beaten else FIRST_SILENCE
        if time.monotonic() - self._last_line >= limit:
            self._line(f"{self._story.label}: still {self._story.now(self._seconds())}")
            self._beaten = True

    def _line(self, text: str) -> None:
        if self._column is None:
            self._column = self._console.begin()
            if self._column:
                self._console.write("\n")
        self._lines, self._beaten = True, False
        self._last_line = time.monotonic()
        self._console.write(f"[{clock(self._seconds())}] {text}\n")

    def _repaint(self) -> None:
        columns = self._console.columns()
        first = self._column is None
        if self._column is None:
            self._column = self._console.begin()
            if columns - self._column < _LEAST_ROOM:
                self._console.write("\n")
                self._column, self._lines = 0, True
        self._frame += 1
        spin = _SPINNER[self._frame % len(_SPINNER)]
        seconds = self._seconds()
        words = f"{spin} {self._story.label}  {clock(seconds)}  {self._story.now(seconds)}"
        text = cut(words, columns - self._column - 1)
        self._console.write(("" if first else self._home()) + "\x1b[K" + text)

    def _home(self) -> str:
        """Back to where the line began; absolute columns, since some terminals forget saved cursors."""
        return f"\x1b[{(self._column or 0) + 1}G"
