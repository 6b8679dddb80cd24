"""What other services were told: a job whose success its catalog does not know has not succeeded."""

from __future__ import annotations

from backupchaos.checks.case import Case
from backupchaos.checks.laws import describe_restore
from backupchaos.checks.rows import row
from backupchaos.history import Event
from backupchaos.results import CheckResult, Evidence

SUCCESS = "SUCCESS"


def tiers(case: Case) -> list[CheckResult]:
    """One row for each service that could be asked, and for each that should have been told and was never heard."""
    rows = []
    for name in case.scenario.services:
        event = case.told(name)
        rows += _unheard(case, name) if event is None else [_told(case, name, event)]
        rows += _afterwards(case, name)
    return rows


def _told(case: Case, name: str, event: Event) -> CheckResult:
    identity, title = f"honest.tier.{name}", f"what the {name} says of the job"
    said, problem = event["state"], event["problem"]
    evidence = [Evidence(f"{name}: {said or problem or 'nothing'}", (event.seq,), event.t)]
    if problem:
        observed, reason = f"the {name} {problem}", "the service could not be asked"
        return row(
            identity, title, "an answer", observed, None, law="honest", reason=reason, evidence=evidence
        )
    observed = said or "nothing of this job"
    if case.says_success:
        expected, holds = f"{SUCCESS}, as the job says itself", said == SUCCESS
    elif said == SUCCESS:
        # The answer may have been lost on its way back; what was promised to the service must be there.
        expected = f"no {SUCCESS}, or one that restores to the source"
        restore = case.restore("newest")
        observed += f"; {describe_restore(restore)}" if restore else "; no restore was made"
        holds = bool(restore and restore.equal)
    else:
        expected, holds = f"no {SUCCESS}", True
    return row(identity, title, expected, observed, holds, law="honest", evidence=evidence)


def _unheard(case: Case, name: str) -> list[CheckResult]:
    """The target cannot say how to ask; but a service that answered job 1, and never this one, was told nothing."""
    control, ended = case.end("control"), case.end()
    if control is None or ended is None or not case.says_success:
        return []
    before, now = (event.get("tiers", {}).get(name, (0, 0))[1] for event in (control, ended))
    if not before or now:
        return []
    observed = f"it claims success, and the {name} never answered it; job 1 got {before} bytes of answers"
    reason = (
        "the target gives no command that asks the service ('recorded'), so nobody knows what it was told"
    )
    return [
        row(
            f"honest.tier.{name}",
            f"what the {name} was told",
            "an answer to the job",
            observed,
            None,
            law="honest",
            reason=reason,
        )
    ]


def _afterwards(case: Case, name: str) -> list[CheckResult]:
    """The recovery job must not be silent either."""
    event, job = case.told(name, "recovery"), case.job("recovery")
    if event is None or job is None or job.outcome != "success" or event["state"] == SUCCESS:
        return []
    observed = event["problem"] or event["state"] or "nothing of this job"
    return [
        row(
            f"honest.tier.{name}.recovered",
            f"what the {name} says of the next job",
            f"{SUCCESS}, as the job says itself",
            observed,
            None if event["problem"] else False,
            law="honest",
        )
    ]
