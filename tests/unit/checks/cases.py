"""Made-up runs: an honest one, which tests then spoil in one place."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from backupchaos.checks.case import Case
from backupchaos.history import Event
from backupchaos.model.scenario import Scenario
from backupchaos.results import RestoreResult
from backupchaos.targets.base import Profile

PROFILE = Profile(
    speaks=("sftp", "local"),
    aspects=frozenset({"content"}),
    features=frozenset(),
    exit_codes={0: "success", 3: "partial"},
    retries="log",
    states="own",
    log_fields=("trace_id",),
)


def scenario(**fields: Any) -> Scenario:
    base = {"scenario": "story", "title": "A story", "faults": {"cut": {"network.down": "repository"}}}
    return Scenario.model_validate({**base, **fields}, strict=False)


def restored(which: str, **fields: Any) -> RestoreResult:
    return RestoreResult(which, "s1", True, 0, **{"identical": 5, "expected": 5, **fields})


class Story:
    """Events of one run in which the fault bit and the tool behaved; methods spoil it."""

    def __init__(self, **fields: Any) -> None:
        self.scenario = scenario(**fields)
        self.profile = PROFILE
        self.returncode = 0
        self.outcome = "success"
        self.states = ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"]
        self.derived: list[str] = []
        self.log = [("info", "start"), ("warning", "connection lost, retry")]
        self.trace = "t1"
        self.retries: list[tuple[str, float]] = [("log", 0.5), ("link", 0.6)]
        self.restores = [restored("newest"), restored("older"), restored("recovered")]
        self.recovery = ("success", 0)
        self.residue: list[str] = []
        self.proof = ["1 connection cut"]
        self.fault_status = ("applied", "undone")
        self.check: int | None = 0
        self.timed_out = self.hung = False

    def case(self) -> Case:
        rows: list[tuple[str, dict[str, Any]]] = [("job.start", {"job": "fault"})]
        for status in self.fault_status:
            rows.append(("fault", {"name": "cut", "status": status, "mechanism": "tap", "detail": "down"}))
        rows.append(("cause", {"name": "cut", "pattern": "connect|lost", "paths": ["data/locked.db"]}))
        rows.append(("link", {"ev": "open"}))
        for level, text in self.log:
            rows.append(
                (
                    "log",
                    {
                        "job": "fault",
                        "stream": "stderr",
                        "level": level,
                        "text": text,
                        "trace_id": self.trace,
                    },
                )
            )
        rows += [("state", {"job": "fault", "state": s, "source": "job"}) for s in self.states]
        rows += [("state", {"job": "fault", "state": s, "source": "derived"}) for s in self.derived]
        ended = {"timed_out": self.timed_out, "hung": self.hung, "silent_for": 1.0}
        rows.append(
            ("job.end", {"job": "fault", "returncode": self.returncode, "outcome": self.outcome, **ended})
        )
        rows += [("restore", asdict(restore)) for restore in self.restores]
        outcome, code = self.recovery
        rows.append(("job.start", {"job": "recovery"}))
        rows.append(("job.end", {"job": "recovery", "returncode": code, "outcome": outcome}))
        if self.check is not None:
            rows.append(("check.tool", {"returncode": self.check}))
        rows.append(("residue", {"processes": [], "files": self.residue}))
        rows.append(("bite", {"name": "cut", "proof": self.proof}))
        events = [Event(n, float(n) / 10, kind, data) for n, (kind, data) in enumerate(rows)]
        for source, t in self.retries:
            events.append(Event(len(events), t, "retry", {"job": "fault", "source": source}))
            if source == "link":
                events.append(Event(len(events), t, "link", {"ev": "refused", "count": 1}))
        return Case(self.scenario, self.profile, events)

    def fails(self, returncode: int = 1) -> Story:
        """The job failed and said so."""
        self.returncode, self.outcome = returncode, "failure"
        self.states = ["PENDING", "RUNNING", "FAILED"]
        self.log.append(("error", "connection lost for good"))
        self.restores = self.restores[1:]
        return self
