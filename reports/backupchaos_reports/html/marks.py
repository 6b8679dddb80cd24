"""What a figure shows, in seconds: spans, marks and samples.

Events may come from a damaged or hostile file: a field of the wrong type is left out, never guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from backupchaos_reports.text import visible


@dataclass(frozen=True)
class Span:
    """From ``start`` to ``end``; ``kind`` chooses the look."""

    start: float
    end: float
    label: str
    kind: str


@dataclass(frozen=True)
class Mark:
    """Something at one instant."""

    t: float
    label: str
    kind: str


@dataclass
class FaultLane:
    """One fault: its windows (``armed``, ``moving``, ``on``), when the job met it, and the proofs in words."""

    name: str
    label: str
    spans: list[Span] = field(default_factory=list)
    proofs: list[Mark] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def windows(self) -> list[Span]:
        """When the fault was in force."""
        return [span for span in self.spans if span.kind == "on"]


@dataclass
class Series:
    """Samples (t, value); for a link each value is the bytes moved between ``since`` and t."""

    name: str
    samples: list[tuple[float, float]] = field(default_factory=list)
    since: list[float] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    top: float = 0.0


@dataclass
class Timeline:
    """All that one figure shows."""

    start: float
    end: float
    phases: list[Span] = field(default_factory=list)
    faults: list[FaultLane] = field(default_factory=list)
    states: list[Span] = field(default_factory=list)
    attempts: dict[str, list[Mark]] = field(default_factory=dict)
    links: list[Series] = field(default_factory=list)
    volumes: list[Series] = field(default_factory=list)
    syscalls: list[Mark] = field(default_factory=list)
    log: dict[str, list[float]] = field(default_factory=dict)
    checkpoints: list[Mark] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def word(value: Any, limit: int = 80) -> str:
    """Short visible text of any value; "" for None."""
    return "" if value is None else visible(value, limit)
