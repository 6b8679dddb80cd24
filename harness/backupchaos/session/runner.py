"""Making the runs of a session: one scenario, one target, and what is stored when there is no run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backupchaos.errors import Misplaced, MissingCapability
from backupchaos.session.settings import EVERYTHING, Settings, make_environment

if TYPE_CHECKING:
    from backupchaos.engine.run import Run
    from backupchaos.environments.base import Environment
    from backupchaos.history import Event
    from backupchaos.model.scenario import Scenario
    from backupchaos.results import RunResult, Verdict
    from backupchaos.targets.base import Target


class NotCovered(MissingCapability):
    """The run could not be made; ``required`` says that this must count as a failure.

    ``directory`` holds the stored result, so that reports count the gap.
    """

    def __init__(self, cause: MissingCapability, directory: Path, *, required: bool) -> None:
        super().__init__(cause.capability, cause.reason, cause.hint)
        self.directory = directory
        self.required = required


@dataclass(frozen=True)
class Order:
    """One run to be made. ``seed`` and ``env`` differ from the session's only if they are given."""

    scenario: Scenario
    target: Target
    file: str | None = None
    reproduce: str = ""
    seed: int | None = None
    env: str | None = None


class Session:
    """Makes runs with shared settings; ``directories`` lists what was stored, in order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directories: list[Path] = []
        self._environments: dict[str, Environment] = {}
        self._controls: dict[str, bool] = {}
        self._unmet: MissingCapability | None = None
        self._asked = False

    def environment(self, name: str | None = None) -> Environment:
        """The environment of that name, made once; raises ``MissingCapability``."""
        key = name or self.settings.env
        if key not in self._environments:
            self._environments[key] = make_environment(
                key, pull=self.settings.pull, remote_docker=self.settings.remote_docker
            )
        return self._environments[key]

    def run(self, order: Order, progress: Callable[[Event], None] | None = None) -> Run:
        """Make one run and store it.

        Raises ``NotCovered`` where something is missing, ``UsageProblem`` for mistakes of the user, among
        them a scenario whose ``allow`` the user did not repeat.
        An interrupt is stored as an ``invalid`` run before it goes on its way.
        """
        from backupchaos.engine import guard
        from backupchaos.engine import run as engine
        from backupchaos.engine.options import RunOptions

        guard.check(order.scenario, self.settings.allow, self.settings.allow_option)
        seed = self.settings.seed if order.seed is None else order.seed
        self._prepare_folder()
        try:
            environment = self.environment(order.env)
            self._check_requirements(environment)
            options = RunOptions(
                environment=environment,
                results=self.settings.runs,
                seed=seed,
                keep=self.settings.keep,
                link_server=self.settings.link,
                pull=self.settings.pull,
                remote_docker=self.settings.remote_docker,
                scenario_file=order.file,
                reproduce=order.reproduce,
                progress=progress,
                control_cache=self._controls,
                allow=self.settings.allow,
                servers=self.settings.servers,
            )
            run = engine.run_scenario(order.scenario, order.target, options)
        except MissingCapability as gap:
            required = self.settings.requires(gap.capability) or gap is self._unmet
            raise NotCovered(gap, self._store_gap(order, seed, gap), required=required) from None
        except Misplaced as mistake:
            if order.file is None:
                raise
            from backupchaos.model.loader import located

            raise located(mistake, Path(order.file)) from None
        except KeyboardInterrupt:
            self._store_interrupt(order, seed)
            raise
        self.directories.append(run.directory)
        return run

    def _prepare_folder(self) -> None:
        from backupchaos.errors import UsageProblem

        runs = self.settings.runs
        try:
            runs.mkdir(parents=True, exist_ok=True)
            if runs.parent.name == ".backupchaos" and not (runs.parent / ".gitignore").exists():
                (runs.parent / ".gitignore").write_text("*\n", "ascii")
        except OSError as error:
            raise UsageProblem(f"{runs}: the folder for results cannot be made: {error.strerror}") from None

    def _check_requirements(self, environment: Environment) -> None:
        """A required capability that the environment lacks fails every run, whatever the run needs."""
        if not self._asked:
            self._asked = True
            wanted = self.settings.require - {EVERYTHING}
            if wanted:
                lacking = environment.probe()
                self._unmet = next(
                    (MissingCapability(name, lacking[name]) for name in sorted(wanted) if lacking.get(name)),
                    None,
                )
        if self._unmet is not None:
            raise self._unmet

    def _store_gap(self, order: Order, seed: int, gap: MissingCapability) -> Path:
        from backupchaos.results import Verdict

        return self._store(order, seed, Verdict.SKIPPED, str(gap), f"Not covered: {gap}.")

    def _store_interrupt(self, order: Order, seed: int) -> None:
        from backupchaos.results import Verdict

        text = f"The run was interrupted, so it says nothing about {order.target.name}."
        self._store(order, seed, Verdict.INVALID, "interrupted", text)

    def _store(self, order: Order, seed: int, verdict: Verdict, headline: str, text: str) -> Path:
        """A result without a run, for the reports."""
        from backupchaos.history import History
        from backupchaos.results import RunResult

        scenario, target = order.scenario, order.target.name
        run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{target}-{scenario.scenario}-{uuid.uuid4().hex[:6]}"
        directory = self.settings.runs / run_id
        history = History(directory / "history.jsonl")
        history.append("note", text=text)
        history.close()
        result: RunResult = RunResult(
            run_id=run_id,
            scenario=scenario.scenario,
            title=scenario.title,
            target=target,
            target_version="",
            repository="",
            envelope=scenario.envelope,
            seed=seed,
            verdict=verdict,
            headline=headline,
            explanation=text,
            outcome=None,
            scenario_file=order.file,
            started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            reproduce=order.reproduce,
        )
        result.save(directory / "results.json")
        self.directories.append(directory)
        return directory
