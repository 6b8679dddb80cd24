"""What a run says in the end: plain values, stored as ``results.json``, read by every report.

Unknown is ``None``, never 0. Times are seconds since the run began; sizes are bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from backupchaos.errors import UsageProblem

SCHEMA = "backupchaos/results/1"


class Verdict(StrEnum):
    """``pass`` only if every check was evaluated and held, and every fault bit."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNVERIFIED = "unverified"
    INVALID = "invalid"
    SKIPPED = "skipped"


SYMBOL = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.UNVERIFIED: "?",
    Verdict.INVALID: "!",
    Verdict.SKIPPED: "-",
}


@dataclass(frozen=True)
class Evidence:
    """One fact behind a verdict: words, and where in the history it stands."""

    text: str
    seq: tuple[int, ...] = ()
    t: float | None = None


@dataclass(frozen=True)
class CheckResult:
    """One row of the expectations table."""

    id: str
    title: str
    expected: str
    observed: str
    verdict: Verdict
    law: str | None = None
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class FaultResult:
    """What became of one fault of the scenario."""

    name: str
    kind: str
    place: str
    layer: str
    description: str
    mechanism: str
    trigger: str
    started: float | None
    ended: float | None
    bit: bool | None
    proof: tuple[Evidence, ...] = ()
    undone: bool | None = None


@dataclass(frozen=True)
class RestoreResult:
    """One restore and its comparison with a manifest.

    ``which`` is ``control`` (job 1 before the fault), ``newest`` (what job 2 claimed), ``older``
    (the snapshot of job 1 after the fault) or ``recovered`` (job 3).
    """

    which: str
    snapshot: str | None
    performed: bool
    returncode: int | None
    identical: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    expected: int = 0
    differences: tuple[str, ...] = ()
    aspects: tuple[str, ...] = ()
    manifest: str | None = None
    duration: float | None = None
    reason: str = ""
    words: str = ""
    """What the tool said at last, if it did not end with 0."""

    @property
    def equal(self) -> bool | None:
        """True when the restore was made and nothing differs; None when it could not be judged."""
        if not self.performed:
            return None
        return self.returncode == 0 and not (self.different or self.missing or self.extra)


@dataclass(frozen=True)
class StateChange:
    """The job entered a state; ``source`` is ``job`` (it said so itself) or ``derived``."""

    state: str
    t: float
    source: str


@dataclass(frozen=True)
class Retry:
    """The job tried again; ``source`` is ``log``, ``link`` or ``syscall``; ``link`` is where to, if that is known."""

    t: float
    source: str
    cause: str = ""
    delay: float | None = None
    link: str = ""


@dataclass(frozen=True)
class JobResult:
    """One execution of the target's backup."""

    name: str
    returncode: int | None
    outcome: str
    started: float
    ended: float
    timed_out: bool = False
    hung: bool = False
    link_bytes: int | None = None
    silent_for: float | None = None


@dataclass(frozen=True)
class RunResult:
    """One scenario against one target."""

    run_id: str
    scenario: str
    title: str
    target: str
    target_version: str
    repository: str
    envelope: str
    seed: int
    verdict: Verdict
    headline: str
    explanation: str
    outcome: str | None
    states: tuple[StateChange, ...] = ()
    retries: tuple[Retry, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    faults: tuple[FaultResult, ...] = ()
    restores: tuple[RestoreResult, ...] = ()
    jobs: tuple[JobResult, ...] = ()
    waived: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    severity: str = "none"
    """``data_loss`` (claimed success, restore differs), ``damage`` (an older snapshot or the source is
    harmed), ``misleading`` (a snapshot that nobody claimed, or stale files, come back with a restore),
    ``wedged`` (no recovery), ``hang``, ``silent``, ``expectation`` or ``none``."""
    scenario_file: str | None = None
    scenario_yaml: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    started_at: str = ""
    duration: float = 0.0
    reproduce: str = ""
    history: str = "history.jsonl"
    log: str = "job.log"
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)

    def save(self, path: Path) -> None:
        """Write ``results.json`` atomically."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.to_json(), indent=1, default=str) + "\n", "utf-8")
        temporary.replace(path)


def load_result(path: Path) -> RunResult:
    """Read a stored result; raises ``UsageProblem`` naming the file and what is wrong with it."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageProblem(f"{path}: cannot read results: {error}") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise UsageProblem(f"{path}: expected schema {SCHEMA!r}")
    try:
        return _revive(RunResult, raw)  # type: ignore[no-any-return]
    except (TypeError, KeyError, ValueError) as error:
        raise UsageProblem(f"{path}: damaged results: {error}") from None


_NESTED: dict[str, Any] = {
    "states": StateChange,
    "retries": Retry,
    "checks": CheckResult,
    "faults": FaultResult,
    "restores": RestoreResult,
    "jobs": JobResult,
    "evidence": Evidence,
    "proof": Evidence,
}


def _revive(kind: Any, raw: Mapping[str, Any]) -> Any:
    """Rebuild nested dataclasses from their JSON form."""
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if name in _NESTED:
            values[name] = tuple(_revive(_NESTED[name], item) for item in value)
        elif name == "verdict":
            values[name] = Verdict(value)
        elif isinstance(value, list):
            values[name] = tuple(value)
        else:
            values[name] = value
    return kind(**values)
