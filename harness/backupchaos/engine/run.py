"""``run_scenario``: one scenario against one target, from an empty sandbox to a verdict."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from backupchaos.engine import guard
from backupchaos.engine.assemble import assemble
from backupchaos.engine.attempt import Attempt
from backupchaos.engine.choosing import choose_repository, make_sure_of, with_needed_services
from backupchaos.engine.options import RunOptions
from backupchaos.engine.refine import refined
from backupchaos.engine.tiers import check_places
from backupchaos.history import Event, History
from backupchaos.model.scenario import Scenario
from backupchaos.model.words import escape
from backupchaos.results import CheckResult, RestoreResult, RunResult, Verdict
from backupchaos.targets.base import Target


@dataclass(frozen=True)
class Run:
    """What ``testexecbackupjob`` returns: the result, with short names for what tests ask."""

    result: RunResult
    events: tuple[Event, ...]
    directory: Path

    @property
    def verdict(self) -> Verdict:
        """``pass``, ``fail``, ``unverified``, ``invalid`` or ``skipped``."""
        return self.result.verdict

    @property
    def outcome(self) -> str | None:
        """What the job claimed: ``success``, ``partial`` or ``failure``."""
        return self.result.outcome

    @property
    def states(self) -> list[str]:
        """The job's states in order."""
        return [change.state for change in self.result.states]

    @property
    def retries(self) -> int:
        """How often the job tried again."""
        return len(self.result.retries)

    @property
    def log(self) -> list[Event]:
        """The job's log records; each has ``level``, ``text`` and, where given, ``trace_id``."""
        return [e for e in self.events if e.kind == "log" and e["job"] == "fault"]

    @property
    def restore(self) -> RestoreResult | None:
        """The restore of what the job claimed, else that of the older snapshot."""
        by_name = {restore.which: restore for restore in self.result.restores}
        return next((by_name[w] for w in ("newest", "mirror", "older") if w in by_name), None)

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """The rows of the expectations table."""
        return self.result.checks

    @property
    def history(self) -> tuple[Event, ...]:
        """Every event of the run."""
        return self.events

    @property
    def report(self) -> Path:
        """The folder with ``results.json``, ``history.jsonl`` and ``job.log``."""
        return self.directory


def run_scenario(scenario: Scenario, target: Target, options: RunOptions) -> Run:
    """Run it, judge it, store it.

    Raises ``MissingCapability`` when the environment or the target cannot do what the scenario
    needs, and ``UsageProblem`` for mistakes of the user; everything else ends in a verdict.
    The sandbox is gone when this returns, however it returns.
    """
    guard.check(scenario, options.allow, "allow")
    check_places(scenario)
    make_sure_of(target, options.environment)
    profile = target.profile_for(choose_repository(scenario, target, options.servers))
    scenario, notes = refined(with_needed_services(scenario, profile), profile)
    run_id = _run_id(scenario, target)
    directory = options.results / run_id
    history = History(directory / "history.jsonl")
    if options.progress is not None:
        history.listen(options.progress)
    attempt = Attempt(scenario, target, profile, run_id=run_id, options=options, history=history, notes=notes)
    try:
        attempt.go()
    except BaseException:
        if not attempt.worth_keeping:
            history.close()
            _discard(directory)
        raise
    finally:
        attempt.close(directory)
        history.close()
    result = assemble(attempt)
    result.save(directory / "results.json")
    _write_log(directory / "job.log", history.events)
    return Run(result, tuple(history.events), directory)


def _run_id(scenario: Scenario, target: Target) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return f"{stamp}-{target.name}-{scenario.scenario}-{uuid.uuid4().hex[:6]}"


def _discard(directory: Path) -> None:
    """A run that never began leaves no folder."""
    for name in ("history.jsonl",):
        (directory / name).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except OSError:
        pass


def _write_log(path: Path, events: list[Event]) -> None:
    """The job's own output, with times, as people want to read it, who may well do so in a terminal."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for event in events:
            if event.kind == "log":
                file.write(f"{event.t:10.3f} {event['job']:>8} {event['level']:<7} {_shown(event['text'])}\n")


def _shown(line: str) -> str:
    r"""Without what drives a terminal: controls other than the tab become ``\x1b``, ``\x07``."""
    return "\t".join(map(escape, line.split("\t")))
