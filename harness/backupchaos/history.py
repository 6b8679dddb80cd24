"""The append-only event log of a run; everything else is a fold over it.

One JSON object per line, written and flushed before the next step is taken, so that a
killed run leaves a readable history and an old run can be judged again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from backupchaos.errors import UsageProblem

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Event:
    """``t`` is seconds since the run began (monotonic clock); ``seq`` counts from 0."""

    seq: int
    t: float
    kind: str
    data: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        """A field, or the default."""
        return self.data.get(key, default)


class History:
    """Collects the events of one run, and writes them to a file while they happen."""

    def __init__(self, path: Path | None = None, *, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self.t0: float = clock()
        self.events: list[Event] = []
        self._file: IO[str] | None = None
        self._listeners: list[Any] = []
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="ascii")
        self.append("run.open", format=FORMAT, utc=datetime.now(UTC).isoformat(timespec="milliseconds"))

    def listen(self, callback: Any) -> None:
        """Call back with every event appended from now on (live progress)."""
        self._listeners.append(callback)

    def now(self) -> float:
        """Seconds since the run began."""
        return float(self._clock() - self.t0)

    def append(self, kind: str, *, at: float | None = None, **data: Any) -> Event:
        """Record what happened; ``at`` is an absolute monotonic time, if it is known better than now."""
        t = self.now() if at is None else at - self.t0
        event = Event(len(self.events), round(t, 6), kind, data)
        if self._file is not None:
            line = json.dumps({"seq": event.seq, "t": event.t, "kind": kind, **data}, default=str)
            self._file.write(line + "\n")
            self._file.flush()
        self.events.append(event)
        for callback in self._listeners:
            callback(event)
        return event

    def of(self, *kinds: str) -> Iterator[Event]:
        """The events of these kinds, in order."""
        return (event for event in self.events if event.kind in kinds)

    def last(self, *kinds: str) -> Event | None:
        """The newest event of these kinds."""
        return next((event for event in reversed(self.events) if event.kind in kinds), None)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_history(path: Path) -> list[Event]:
    """Load a stored history; a torn last line (the run was killed) is left out.

    Raises ``UsageProblem`` with file and line for anything else that is not a history.
    """
    events: list[Event] = []
    lines = path.read_text("ascii", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = json.loads(line)
            events.append(Event(record.pop("seq"), record.pop("t"), record.pop("kind"), record))
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines):
                break
            raise UsageProblem(f"{path}:{number}: not a history record") from None
    return events
