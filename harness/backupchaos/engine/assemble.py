"""From an attempt that has ended to its stored result."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from backupchaos._version import __version__
from backupchaos.checks import judge
from backupchaos.checks.case import Case
from backupchaos.engine.attempt import Attempt
from backupchaos.model.scenario import Scenario
from backupchaos.results import CheckResult, RunResult, Verdict

RESTORES = ("control", "newest", "unclaimed", "mirror", "older", "recovered")
LONGEST = 300
"""Characters of a message that a table cell can bear."""


@dataclass(frozen=True)
class Judgement:
    """Rows, verdict, and the words for people."""

    rows: Sequence[CheckResult]
    verdict: Verdict
    headline: str
    paragraph: str


def assemble(attempt: Attempt) -> RunResult:
    """Judge an attempt that has ended, and put everything into one value."""
    scenario, history = attempt.scenario, attempt.history
    case = Case(scenario, attempt.profile, history.events)
    judgement = _judge(attempt, case)
    verdict = judgement.verdict
    job = case.job()
    jobs = [case.job(name) for name in ("control", "fault", "recovery")]
    restores = [case.restore(which) for which in RESTORES]
    return RunResult(
        run_id=attempt.run_id,
        scenario=scenario.scenario,
        title=scenario.title,
        target=attempt.target.name,
        target_version=attempt.version,
        repository=attempt.words.get("repository", ""),
        envelope=scenario.envelope,
        seed=attempt.options.seed,
        verdict=verdict,
        headline=judgement.headline,
        explanation=judgement.paragraph,
        outcome=job.outcome if job else None,
        states=tuple(case.states()),
        retries=tuple(case.retries()),
        checks=tuple(judgement.rows),
        faults=tuple(case.faults()),
        restores=tuple(r for r in restores if r is not None),
        jobs=tuple(j for j in jobs if j is not None),
        waived={str(law): reason for law, reason in scenario.waive.items()},
        notes=(*attempt.notes, *(str(e["text"]) for e in case.of("note"))),
        severity=judge.severity(case, judgement.rows) if verdict is Verdict.FAIL else "none",
        scenario_file=attempt.options.scenario_file,
        scenario_yaml=_yaml(scenario),
        environment=_environment(attempt),
        started_at=attempt.started.isoformat(timespec="milliseconds"),
        duration=round(history.now(), 3),
        reproduce=attempt.options.reproduce,
    )


def _judge(attempt: Attempt, case: Case) -> Judgement:
    name = f"{attempt.target.name} × {attempt.scenario.scenario}"
    if attempt.broken is not None:
        return _broken(name, attempt)
    if attempt.control_failed is not None:
        return _without_control(name, attempt)
    rows = judge.evaluate(case)
    verdict = judge.overall(rows)
    return Judgement(rows, verdict, *judge.words(case, attempt.target.name, verdict, rows))


def _broken(name: str, attempt: Attempt) -> Judgement:
    """Our own defect, or a scenario that does not fit: the run says nothing about the target."""
    short = ((attempt.broken or "").splitlines() or ["no words"])[0][:LONGEST]
    if attempt.unfit:
        text = f"The scenario does not fit, so this run says nothing about {attempt.target.name}: {short}."
        row = CheckResult("scenario", "the scenario fits", "yes", short, Verdict.INVALID)
        headline = f"{name}: INVALID — the scenario does not fit: {short}"
        return Judgement([row], Verdict.INVALID, headline, text)
    text = (
        f"Sorry: the harness broke, so this run says nothing about {attempt.target.name}: {short}. "
        "The history has the details; please report it."
    )
    row = CheckResult("harness", "the harness worked", "yes", short, Verdict.INVALID)
    return Judgement([row], Verdict.INVALID, f"{name}: INVALID — the harness broke: {short}", text)


def _without_control(name: str, attempt: Attempt) -> Judgement:
    """The job failed without any fault: that is a finding only where no fault was asked for."""
    failure = attempt.control_failed or ""
    verdict = Verdict.INVALID if attempt.scenario.faults else Verdict.FAIL
    reason = "control run failed" if verdict is Verdict.INVALID else ""
    row = CheckResult(
        "control", "the job without a fault", "success, restore equal", failure, verdict, reason=reason
    )
    text = (
        f"{attempt.scenario.title}. Before any fault, in the control run, {failure[:1].lower()}{failure[1:]}."
    )
    if attempt.scenario.faults:
        text += " Run the scenario 'normal' to look at that alone."
    headline = f"{name}: {verdict.value.upper()} — control run: {failure[:LONGEST]}"
    return Judgement([row], verdict, headline, text)


def _environment(attempt: Attempt) -> dict[str, str]:
    return {
        **attempt.words,
        "harness": f"backupchaos {__version__}",
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "user": "root" if os.geteuid() == 0 else "ordinary user",
    }


def _yaml(scenario: Scenario) -> str:
    import yaml

    return str(yaml.safe_dump(scenario.to_yaml_dict(), sort_keys=False, allow_unicode=True))
