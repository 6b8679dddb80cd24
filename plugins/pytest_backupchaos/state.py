"""What one pytest process knows about scenarios; made when the first one is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.services.servers import DEFAULT, Servers, chosen
from backupchaos.session.console import Console, style_for
from backupchaos.session.runner import Session
from backupchaos.session.selection import Selected, select
from backupchaos.session.settings import EnvironmentName, KeepWord, LinkWord, PullWord, Settings, check_report
from pytest_backupchaos.options import ALLOW, REPOSITORY, REQUIRE, SERVICE
from pytest_backupchaos.plugin import OPTIONS, STATE, TERMINAL

if TYPE_CHECKING:
    from backupchaos.targets.base import Target


def state_of(config: pytest.Config) -> State:
    """The state of this process."""
    if STATE not in config.stash:
        config.stash[STATE] = State(config)
    return config.stash[STATE]


class State:
    """Selection, targets, runs and console of one pytest process."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.options = config.stash[OPTIONS]
        self.worker: str = getattr(config, "workerinput", {}).get("workerid", "")
        self.seed = self._seed()
        self.session = Session(
            Settings(
                runs=self.options.runs,
                seed=self.seed,
                env=cast("EnvironmentName", self.options.env),
                keep=cast("KeepWord", self.options.keep),
                link=cast("LinkWord", self.options.link),
                require=self.options.require,
                allow=allowed(self.options.allow),
                allow_option=ALLOW,
                pull=cast("PullWord | None", self.options.pull or None),
                remote_docker=self.options.remote_docker,
                servers=servers(self.options.services),
            )
        )
        self.directories: dict[str, None] = {}
        self.deselected = 0
        self.forgiven: list[str] = []
        self.report: Path | None = None
        self.report_problem = ""
        self._taken = 0
        self._selected: list[Selected] | None = None
        self._targets: dict[str, Target] = {}
        self._console: Console | None = None

    def _seed(self) -> int:
        given: int | None = getattr(self.config, "workerinput", {}).get("backupchaos_seed")
        if given is None:
            given = self.options.seed
        if given is None:
            from backupchaos.engine.options import new_seed

            given = new_seed()
        return given

    def validate(self) -> None:
        """Look up everything that was selected; raises ``pytest.UsageError``."""
        from backupchaos.engine.choosing import check_repository

        try:
            selected = self.selected
            if selected or self.options.targets_given:
                for name in self.options.targets:
                    check_repository(self.options.repository, self.target(name), REPOSITORY)
            if selected:
                check_report(self.options.report, "--backup-report")
            self._check_allowed(selected)
            self._check_required()
        except UsageProblem as problem:
            raise pytest.UsageError(str(problem)) from None

    def _check_required(self) -> None:
        from backupchaos.session.requirable import check_capabilities
        from backupchaos.targets.registry import project_targets

        if self.options.require:
            chosen_targets = [self.target(name) for name in self.options.targets]
            own = project_targets(self.options.root)
            check_capabilities(self.options.require, REQUIRE, [*chosen_targets, *own])

    def _check_allowed(self, selected: Iterable[Selected]) -> None:
        from backupchaos.engine.guard import check

        for one in selected:
            check(one.scenario, self.session.settings.allow, ALLOW)

    @property
    def selected(self) -> list[Selected]:
        """What ``--backup-scenario`` names; raises ``UsageProblem``."""
        if self._selected is None:
            import backupchaos_scenarios

            options = self.options
            base = options.here if options.selecting else options.root
            self._selected = select(options.scenarios, backupchaos_scenarios, base, project=options.root)
        return self._selected

    def target(self, name: str) -> Target:
        """The target of that name: a conftest's, an adapter, or a file; raises ``UsageProblem``."""
        if name not in self._targets:
            found = self.config.hook.pytest_backup_target(config=self.config, name=name)
            if found is None:
                from backupchaos.targets.registry import resolve_target

                found = resolve_target(name, self._base(name))
            self._targets[name] = found
        return self._targets[name]

    def _base(self, name: str) -> Path:
        """Where target files and project tables are looked for: here if typed here, else the root."""
        here = self.options.here
        return here if os.sep in name and (here / name).exists() else self.options.root

    def take_new_runs(self) -> list[str]:
        """The folders of runs made since the last call."""
        every = self.session.directories
        new, self._taken = every[self._taken :], len(every)
        return [str(path) for path in new]

    def add_runs(self, directories: Iterable[str]) -> None:
        """Take note of runs made anywhere; one that is known already is not counted twice."""
        self.directories.update(dict.fromkeys(directories))

    @property
    def console(self) -> Console:
        """Where live progress goes."""
        if self._console is None:
            from pytest_backupchaos.live import make_console

            self._console = make_console(self.config, self.config.stash.get(TERMINAL, -1), style_for)
        return self._console


def servers(names: Iterable[str]) -> Servers:
    """The values of --backup-service; raises ``pytest.UsageError``."""
    if not names:
        return DEFAULT
    try:
        return chosen(names, SERVICE)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None


def allowed(words: Iterable[str]) -> frozenset[str]:
    """The values of --backup-allow; raises ``pytest.UsageError`` for one that no scenario could name."""
    from backupchaos.engine.guard import check_words

    try:
        return check_words(words, ALLOW)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
