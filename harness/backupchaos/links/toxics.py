"""Toxics as values: the types of Toxiproxy 2.12, their attributes, and what must not be sent.

Used by both sides: the embedded server refuses what ``problem`` names, and the client does so
before it reaches any server, because some of these values crash the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS: dict[str, dict[str, str]] = {
    "latency": {"latency": "ms", "jitter": "ms"},
    "bandwidth": {"rate": "KB/s"},
    "slow_close": {"delay": "ms"},
    "timeout": {"timeout": "ms"},
    "reset_peer": {"timeout": "ms"},
    "slicer": {"average_size": "bytes", "size_variation": "bytes", "delay": "us"},
    "limit_data": {"bytes": "bytes"},
    "noop": {},
}
"""Type -> attribute -> unit. All are integers with default 0."""

GO_TYPES = {
    "latency": "LatencyToxic",
    "bandwidth": "BandwidthToxic",
    "slow_close": "SlowCloseToxic",
    "timeout": "TimeoutToxic",
    "reset_peer": "ResetToxic",
    "slicer": "SlicerToxic",
    "limit_data": "LimitDataToxic",
    "noop": "NoopToxic",
}
"""Names in the original's error texts."""

_LARGEST = {"ms": 2**62 // 10**6, "us": 2**62 // 10**3, "KB/s": 2**62 // 10**3, "bytes": 2**62}


def problem(kind: str, attributes: Mapping[str, int]) -> str:
    """Why these attributes make no toxic; empty when they do."""
    for name, unit in KINDS[kind].items():
        value = attributes.get(name, 0)
        if value < 0:
            return f"{kind}: {name} must not be negative, not {value}"
        if value > _LARGEST[unit]:
            return f"{kind}: {name} must be at most {_LARGEST[unit]} {unit}, not {value}"
    if kind == "slicer":
        average, variation = attributes.get("average_size", 0), attributes.get("size_variation", 0)
        if average < 1:
            return "slicer: average_size must be at least 1 byte"
        if variation > average:
            return f"slicer: size_variation {variation} must not exceed average_size {average}"
    return ""


@dataclass
class Toxic:
    """One toxic of a link. ``stream`` is as the caller wrote it, ``direction`` what it means."""

    name: str
    kind: str
    stream: str
    direction: str
    toxicity: float = 1.0
    attributes: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, attribute: str) -> int:
        return self.attributes[attribute]

    def describe(self) -> dict[str, Any]:
        """As the API shows it."""
        toxicity = int(self.toxicity) if self.toxicity == int(self.toxicity) else self.toxicity
        return {
            "attributes": dict(self.attributes),
            "name": self.name,
            "type": self.kind,
            "stream": self.stream,
            "toxicity": toxicity,
        }
