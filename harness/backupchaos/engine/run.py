"""``run_scenario``: one scenario against one target, from an empty sandbox to a verdict."""

from __future__ import annotations

import os
import platform
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backupchaos._version import __version__
from backupchaos.checks import judge
from backupchaos.checks.case import Case
from backupchaos.engine.options import RunOptions
from backupchaos.engine.phases import ControlFailed, Phases
from backupchaos.engine.prepare import choose_repository, make_world
from backupchaos.engine.refine import refined
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.errors import BackupChaosError, MissingCapability, UsageProblem
from backupchaos.faults.base import Ground
from backupchaos.history import Event, History
from backupchaos.model.scenario import Scenario
from backupchaos.results import CheckResult, RestoreResult, RunResult, Verdict
from backupchaos.targets.base import Profile, Target


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
    target.available()
    profile = target.profile_for(choose_repository(scenario, target))
    scenario, notes = refined(scenario, profile)
    run_id = _run_id(scenario, target)
    directory = options.results / run_id
    history = History(directory / "history.jsonl")
    if options.progress is not None:
        history.listen(options.progress)
    attempt = _Attempt(scenario, target, profile, options=options, history=history, notes=notes)
    attempt.run_id = run_id
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
    result = attempt.result(run_id)
    result.save(directory / "results.json")
    _write_log(directory / "job.log", history.events)
    return Run(result, tuple(history.events), directory)


class _Attempt:
    """The state of one run while it is made."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        profile: Profile,
        *,
        options: RunOptions,
        history: History,
        notes: list[str],
    ) -> None:
        self.scenario = scenario
        self.target = target
        self.profile = profile
        self.options = options
        self.history = history
        self.notes = notes
        self.world: World | None = None
        self.words: Mapping[str, str] = {}
        self.version = "unknown"
        self.broken: str | None = None
        self.control_failed: str | None = None
        self.worth_keeping = False
        self.run_id = ""
        self.started = datetime.now(UTC)

    def go(self) -> None:
        """All phases; what breaks is remembered, not raised, unless it is the user's to know."""
        self.history.append(
            "run.start",
            run_id=self.run_id,
            scenario=self.scenario.to_yaml_dict(),
            target=self.target.name,
            seed=self.options.seed,
            harness=__version__,
        )
        try:
            self._phases()
        except ControlFailed as failure:
            self.control_failed = str(failure)
        except (MissingCapability, UsageProblem):
            raise
        except (KeyboardInterrupt, SystemExit):
            self.history.append("interrupted")
            self.worth_keeping = True
            raise
        except BackupChaosError as error:
            self.broken = str(error)
        except Exception as error:
            self.broken = f"{type(error).__name__}: {error}"
            self.history.append("crash", traceback=traceback.format_exc())
        if self.broken or self.control_failed:
            self.history.append("note", text=self.broken or self.control_failed)

    def _phases(self) -> None:
        self.history.append("phase", name="prepare")
        self.world, self.words = make_world(self.scenario, self.target, self.options, self.history)
        world = self.world
        ground = Ground(
            sandbox=world.sandbox,
            history=self.history,
            seed=self.options.seed,
            source=world.path(Place.SOURCE),
            repository=world.path(Place.REPOSITORY),
            link=world.link,
        )
        phases = Phases(world, self.target, self.scenario, self.options.seed, ground)
        try:
            self.version = self.target.parse_version(world.run(self.target.version(), what="version"))
            phases.make_faults()
            phases.init_repository()
            phases.phase("control")
            key = f"{self.target.name}/{self.version}/{self.scenario.source!r}/{world.workspace.location.kind}/{self.options.seed}"
            known = key in self.options.control_cache
            phases.control(restore=not known)
            self.options.control_cache[key] = True
            phases.phase("change")
            phases.change()
            phases.phase("fault")
            job = phases.fault()
            phases.phase("heal")
            phases.phase("verify")
            claims = Case(self.scenario, self.profile, self.history.events).claims_success
            phases.verify_claim(job, claims)
            phases.phase("recover")
            phases.recover()
            phases.phase("verify")
            phases.verify()
            phases.prove_bites()
        finally:
            phases.oracle.close()

    def close(self, directory: Path) -> None:
        """Destroy the sandbox; keep its repository if asked to."""
        if self.world is None:
            return
        try:
            if self.options.keep == "always" or (self.options.keep == "failed" and self._looks_bad()):
                self._export(directory)
        finally:
            self.world.close()
            self.world = None

    def _looks_bad(self) -> bool:
        if self.broken or self.control_failed:
            return True
        case = Case(self.scenario, self.profile, self.history.events)
        return judge.overall(judge.evaluate(case)) is not Verdict.PASS

    def _export(self, directory: Path) -> None:
        """The repository as a tar file beside the results, for a closer look."""
        assert self.world is not None
        path = directory / "repository.tar"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self.world.sandbox.call("export_tar", fds=(fd,), path=self.world.path(Place.REPOSITORY))
        except (BackupChaosError, OSError) as error:
            self.history.append("note", text=f"the repository could not be kept: {error}")
        finally:
            os.close(fd)

    def result(self, run_id: str) -> RunResult:
        """Judge, and put everything into one value."""
        self.history.append("phase", name="judge") if self.history._file else None
        case = Case(self.scenario, self.profile, self.history.events)
        rows, verdict, headline, paragraph = self._judge(case)
        job = case.job()
        jobs = [case.job(name) for name in ("control", "fault", "recovery")]
        restores = [
            case.restore(w) for w in ("control", "newest", "unclaimed", "mirror", "older", "recovered")
        ]
        return RunResult(
            run_id=run_id,
            scenario=self.scenario.scenario,
            title=self.scenario.title,
            target=self.target.name,
            target_version=self.version,
            repository=self.words.get("repository", ""),
            envelope=self.scenario.envelope,
            seed=self.options.seed,
            verdict=verdict,
            headline=headline,
            explanation=paragraph,
            outcome=job.outcome if job else None,
            states=tuple(case.states()),
            retries=tuple(case.retries()),
            checks=tuple(rows),
            faults=tuple(case.faults()),
            restores=tuple(r for r in restores if r is not None),
            jobs=tuple(j for j in jobs if j is not None),
            waived={str(law): reason for law, reason in self.scenario.waive.items()},
            notes=(*self.notes, *(str(e["text"]) for e in case.of("note"))),
            severity=judge.severity(case, rows) if verdict is Verdict.FAIL else "none",
            scenario_file=self.options.scenario_file,
            scenario_yaml=_yaml(self.scenario),
            environment=self._environment(),
            started_at=self.started.isoformat(timespec="milliseconds"),
            duration=round(self.history.now(), 3),
            reproduce=self.options.reproduce,
        )

    def _judge(self, case: Case) -> tuple[list[CheckResult], Verdict, str, str]:
        from backupchaos.checks.rows import row

        name = f"{self.target.name} × {self.scenario.scenario}"
        if self.broken is not None:
            short = (self.broken.splitlines() or ["no words"])[0][:300]
            text = (
                f"Sorry: the harness broke, so this run says nothing about {self.target.name}: {short}. "
                "The history has the details; please report it."
            )
            rows = [CheckResult("harness", "the harness worked", "yes", short, Verdict.INVALID)]
            return rows, Verdict.INVALID, f"{name}: INVALID — the harness broke: {short}", text
        if self.control_failed is not None:
            holds = False if not self.scenario.faults else None
            made = row(
                "control", "the job without a fault", "success, restore equal", self.control_failed, holds
            )
            if holds is None:
                made = CheckResult(
                    made.id,
                    made.title,
                    made.expected,
                    made.observed,
                    Verdict.INVALID,
                    reason="control run failed",
                )
            verdict = made.verdict
            text = (
                f"{self.scenario.title}. Without any fault, {self.control_failed[0].lower()}{self.control_failed[1:]}. "
                "Run the scenario 'normal' to look at that alone."
            )
            return (
                [made],
                verdict,
                f"{name}: {verdict.value.upper()} — control run: {self.control_failed}",
                text,
            )
        rows = judge.evaluate(case)
        verdict = judge.overall(rows)
        headline, paragraph = judge.words(case, self.target.name, verdict, rows)
        return rows, verdict, headline, paragraph

    def _environment(self) -> dict[str, str]:
        return {
            **self.words,
            "harness": f"backupchaos {__version__}",
            "python": platform.python_version(),
            "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "user": "root" if os.geteuid() == 0 else "ordinary user",
        }


def _run_id(scenario: Scenario, target: Target) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return f"{stamp}-{target.name}-{scenario.scenario}-{uuid.uuid4().hex[:6]}"


def _yaml(scenario: Scenario) -> str:
    import yaml

    return str(yaml.safe_dump(scenario.to_yaml_dict(), sort_keys=False, allow_unicode=True))


def _discard(directory: Path) -> None:
    """A run that never began leaves no folder."""
    for name in ("history.jsonl",):
        (directory / name).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except OSError:
        pass


def _write_log(path: Path, events: list[Event]) -> None:
    """The job's own output, with times, as people want to read it."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for event in events:
            if event.kind == "log":
                file.write(f"{event.t:10.3f} {event['job']:>8} {event['level']:<7} {event['text']}\n")
