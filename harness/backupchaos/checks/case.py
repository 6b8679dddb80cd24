"""A run, folded from its history into what the checks ask for.

Nothing here looks at a clock, a file or a process: the same history always gives the same
case, so an old run can be judged again.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from backupchaos.history import Event
from backupchaos.model.scenario import Scenario
from backupchaos.results import Evidence, FaultResult, JobResult, RestoreResult, Retry, StateChange
from backupchaos.targets.base import Profile

JOB = "fault"
"""The name of the job that runs under the schedule (job 2)."""


@dataclass(frozen=True)
class Case:
    """One run under judgement."""

    scenario: Scenario
    profile: Profile
    events: Sequence[Event]

    def of(self, *kinds: str) -> list[Event]:
        """Events of these kinds."""
        return [event for event in self.events if event.kind in kinds]

    def end(self, name: str = JOB) -> Event | None:
        """The end of one of the three jobs. What was taken over before it, by its place in the history, had happened by then."""
        return next((e for e in self.of("job.end") if e["job"] == name), None)

    def job(self, name: str = JOB) -> JobResult | None:
        """How one of the three jobs went, or None if it never ended."""
        start = next((e for e in self.of("job.start") if e["job"] == name), None)
        end = self.end(name)
        if start is None or end is None:
            return None
        return JobResult(
            name,
            end["returncode"],
            end["outcome"],
            start.t,
            end.t,
            end.get("timed_out", False),
            end.get("hung", False),
            end.get("link_bytes"),
            end.get("silent_for"),
        )

    def logs(self, job: str = JOB) -> list[Event]:
        """Log records of a job."""
        return [event for event in self.of("log") if event["job"] == job]

    def states(self, job: str = JOB) -> list[StateChange]:
        """The states of a job: what it said itself, if it keeps states, else what was derived."""
        found = [
            StateChange(e["state"], e.get("entered", e.t), e["source"])
            for e in self.of("state")
            if e["job"] == job
        ]
        derived = [state for state in found if state.source == "derived"]
        if self.profile.states != "own":
            return derived
        own = [state for state in found if state.source == "job"]
        ended = self.job(job)
        killed = ended is not None and ended.returncode is not None and ended.returncode < 0
        if own and killed and own[-1].state not in {"SUCCESS", "FAILED"}:
            # Nobody was left to write the last state down; its death is the fact.
            own.append(derived[-1])
        return own

    def retries(self, source: str | None = None, job: str = JOB) -> list[Retry]:
        """Further attempts of a job as one source saw them, or as the best source did."""
        found = [
            Retry(e.t, e["source"], e.get("cause", ""), e.get("delay"), e.get("link", ""))
            for e in self.of("retry")
            if e["job"] == job
        ]
        if source is not None:
            return [retry for retry in found if retry.source == source]
        best = [retry for retry in found if retry.source == self.profile.retries]
        return best or [r for r in found if r.source == "log"] or [r for r in found if r.source == "syscall"]

    def restore(self, which: str) -> RestoreResult | None:
        """One of the restores, or None if none was tried."""
        event = next((e for e in self.of("restore") if e["which"] == which), None)
        if event is None:
            return None
        fields = dict(event.data)
        for name in ("differences", "aspects"):
            fields[name] = tuple(fields.get(name, ()))
        return RestoreResult(**fields)

    def faults(self) -> list[FaultResult]:
        """What became of each fault."""
        return [self._fault(name) for name in self.scenario.faults]

    def _fault(self, name: str) -> FaultResult:
        spec = self.scenario.faults[name]
        mine = [e for e in self.of("fault") if e["name"] == name]
        applied = next((e for e in mine if e["status"] == "applied"), None)
        undone = next((e for e in mine if e["status"] == "undone"), None)
        failed = next((e for e in mine if e["status"] == "failed"), None)
        judged = next((e for e in self.of("bite") if e["name"] == name), None)
        proof = () if judged is None else tuple(Evidence(text) for text in judged["proof"])
        return FaultResult(
            name=name,
            kind=spec.kind,
            place=str(getattr(spec, "place", "")),
            layer=spec.layer,
            description=str(applied.get("detail", "")) if applied else "",
            mechanism=applied["mechanism"] if applied else "",
            trigger=spec.when.describe(),
            started=applied.t if applied else None,
            ended=undone.t if undone else (applied.t if applied and spec.instant else None),
            bit=None if judged is None else bool(judged["proof"]),
            proof=proof,
            undone=False if failed else (undone is not None or spec.instant) if applied else None,
        )

    def killed_by(self) -> FaultResult | None:
        """The fault that ended the job's own process by SIGKILL, by the proof of its bite; None if none did.

        Not where the harness ended the job at a deadline: that is its own SIGKILL.
        """
        job = self.job()
        if job is None or job.returncode != -signal.SIGKILL or job.timed_out or job.hung:
            return None
        return next((f for f in self.faults() if f.bit and self.scenario.faults[f.name].strikes_dumb), None)

    def causes(self) -> list[tuple[str, str]]:
        """(fault name, pattern that a log record naming the cause matches)."""
        return [(e["name"], e["pattern"]) for e in self.of("cause")]

    def faulted_paths(self) -> list[str]:
        """Source paths that a fault made unreadable, relative to the source."""
        return [path for e in self.of("cause") for path in e.get("paths", ())]

    @property
    def claimed_state(self) -> str | None:
        """The last state the fault job itself recorded, if it keeps states."""
        states = self.states()
        return states[-1].state if states else None

    def told(self, service: str, job: str = JOB) -> Event | None:
        """What another service said of a job when the harness asked it; None if it was not asked."""
        return next((e for e in self.of("told") if e["service"] == service and e["job"] == job), None)

    @property
    def says_success(self) -> bool:
        """By its exit code, or by the state it recorded, the job says that all is well."""
        job = self.job()
        if job is None:
            return False
        own = self.profile.states == "own" and self.claimed_state == "SUCCESS"
        return job.outcome == "success" or own

    @property
    def claims_success(self) -> bool:
        """The job says so, or another service was told so: both are read by whoever relies on the backup."""
        told = any(e["job"] == JOB and e["state"] == "SUCCESS" for e in self.of("told"))
        return self.says_success or told
