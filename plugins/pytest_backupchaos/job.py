"""The callable behind the fixture: from words to a run, from a run to pass, fail or skip."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.session.overrides import with_overrides
from backupchaos.session.progress import defused
from backupchaos.session.runner import NotCovered, Order
from backupchaos.session.selection import NORMAL, Selected, from_file, is_path, select
from pytest_backupchaos.api import SELECTED, BackupJobFailed, BackupJobInvalid, BackupJobUnverified
from pytest_backupchaos.choosing import Choice
from pytest_backupchaos.items import ScenarioItem
from pytest_backupchaos.options import REPOSITORY, SERVICE
from pytest_backupchaos.state import state_of

if TYPE_CHECKING:
    from backupchaos.engine.run import Run
    from backupchaos.model.scenario import Scenario
    from backupchaos.targets.base import Target


class Job:
    """``testexecbackupjob`` of one test; see ``TestExecBackupJob``."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._node: pytest.Item = request.node
        self._state = state_of(request.config)
        self._choice = _choice_of(request)

    def __call__(
        self,
        scenario: Any = SELECTED,
        *,
        failure_mode: Any = SELECTED,
        target: Any = None,
        repository: str | None = None,
        source: Any = None,
        expect: Mapping[str, Any] | None = None,
        deadline: str | float | None = None,
        seed: int | None = None,
        env: str | None = None,
        check: bool = True,
    ) -> Run:
        """Run it; see ``TestExecBackupJob``."""
        __tracebackhide__ = True
        if scenario is not SELECTED and failure_mode is not SELECTED:
            raise UsageProblem("give the scenario once: 'failure_mode' is another name of the first argument")
        wanted = scenario if failure_mode is SELECTED else failure_mode
        chosen = self._choice.selected if wanted is SELECTED else None
        selected = chosen or self._named(NORMAL if wanted is SELECTED or wanted is None else wanted)
        changed = with_overrides(
            selected.scenario,
            self._node.path.parent,
            repository=repository or self._state.options.repository or None,
            source=source,
            expect=_merged(selected.scenario, expect),
            deadline=deadline,
        )
        tool, tool_name = self._target(target)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise UsageProblem(f"seed={seed!r}: expected a whole number from 0")
        order = Order(
            scenario=changed,
            target=tool,
            file=str(selected.file) if selected.file else None,
            reproduce=self._reproduce(selected, tool_name, seed),
            seed=seed,
            env=env,
        )
        return self._run(order, check)

    def _run(self, order: Order, check: bool) -> Run:
        __tracebackhide__ = True
        label = f"{order.target.name} × {order.scenario.scenario}"
        if self._state.worker:
            label = f"{self._state.worker} {label}"
        try:
            with self._state.console.follow(label) as progress:
                run = self._state.session.run(order, progress)
        except NotCovered as gap:
            if gap.required:
                pytest.fail(f"required, but missing here: {gap}", pytrace=False)
            pytest.skip(str(gap))
        self._record(run)
        if check and run.verdict != "pass":
            raise _failure(run, self._state.options.report)
        return run

    def _record(self, run: Run) -> None:
        from backupchaos_reports.junit import properties

        self._node.user_properties += properties(run.result, report=str(self._state.options.report))

    def _named(self, wanted: Any) -> Selected:
        """One scenario from a name, a path or a value."""
        from backupchaos.model.scenario import Scenario

        if isinstance(wanted, Scenario):
            return Selected(wanted, None, wanted.scenario)
        if isinstance(wanted, os.PathLike) or (isinstance(wanted, str) and is_path(wanted)):
            return from_file(self._find(os.fspath(wanted)), os.fspath(wanted))
        if not isinstance(wanted, str):
            raise UsageProblem(f"expected a scenario's name, path or value, not {type(wanted).__name__}")
        import backupchaos_scenarios

        found = select(
            [wanted], backupchaos_scenarios, self._node.path.parent, project=self._state.options.root
        )
        if len(found) != 1:
            raise UsageProblem(f"{wanted!r} names {len(found)} scenarios; one call runs one")
        return found[0]

    def _find(self, path: str) -> Path:
        """Beside the test, else below the root directory, else where pytest was started."""
        options = self._state.options
        places = [
            Path(base, os.path.expanduser(path))
            for base in (self._node.path.parent, options.root, options.here)
        ]
        return next((place for place in places if place.exists()), places[0])

    def _target(self, wanted: Any) -> tuple[Target, str]:
        if wanted is None:
            name = self._choice.target or self._state.options.targets[0]
            return self._state.target(name), name
        if isinstance(wanted, str | os.PathLike):
            name = os.fspath(wanted)
            if is_path(name):
                name = str(self._find(name))
            return self._state.target(name), name
        if not all(hasattr(wanted, part) for part in ("name", "profile", "backup", "restore")):
            raise UsageProblem(
                f"target={wanted!r}: expected a target's name, the path of its YAML file, or a Target object"
            )
        return wanted, wanted.name

    def _reproduce(self, selected: Selected, target: str, seed: int | None) -> str:
        """The command that makes the same run again."""
        options = self._state.options
        words = ["pytest"]
        if not isinstance(self._node, ScenarioItem) or (
            self._node.parent is not None and selected.spec == str(self._node.path)
        ):
            words.append(self._node.nodeid)
        if self._choice.from_option:
            words.append(f"--backup-scenario={selected.spec}")
        if target != "reference" or options.targets != ("reference",):
            words.append(f"--backup-target={target}")
        words.append(f"--backup-seed={self._state.seed if seed is None else seed}")
        words += [f"{REPOSITORY}={options.repository}"] if options.repository else []
        words += [f"{SERVICE}={name}" for name in options.services]
        allow = selected.scenario.allow
        words += [f"--backup-allow={entry}" for entry in (allow.entries() if allow else ())]
        for name, value in (("env", options.env), ("link", options.link)):
            if value != "auto":
                words.append(f"--backup-{name}={value}")
        return shlex.join(words)


def _choice_of(request: pytest.FixtureRequest) -> Choice:
    param = getattr(request, "param", None)
    if isinstance(param, Choice):
        return param
    node = request.node
    if isinstance(node, ScenarioItem):
        return Choice(node.selected, node.target, from_option=node.selected.spec != str(node.path))
    return Choice(None, None)


def _merged(scenario: Scenario, expect: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Single expectations replace those of the scenario, the others stay."""
    return None if expect is None else {**scenario.to_yaml_dict()["expect"], **expect}


def _failure(run: Run, report: Path) -> BackupJobFailed:
    """The exception for a run that is not a pass, with its message ready for a CI log."""
    from backupchaos_reports.table import failure_text

    result = dataclasses.replace(
        run.result, history=str(run.directory / "history.jsonl"), log=str(run.directory / "job.log")
    )
    text = defused(failure_text(result, report=str(report)))
    kinds = {"unverified": BackupJobUnverified, "invalid": BackupJobInvalid}
    return kinds.get(str(run.verdict), BackupJobFailed)(text, run)
