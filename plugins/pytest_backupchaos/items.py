"""Scenarios as tests: of ``*.chaos.yaml`` files, and those that an option selects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.session.selection import Selected, from_file
from pytest_backupchaos.api import BackupJobFailed, TestExecBackupJob
from pytest_backupchaos.plugin import MARKER, OPTIONS


def run_the_scenario(testexecbackupjob: TestExecBackupJob) -> None:
    """What every scenario test does; its fixtures and those of the user's conftest apply."""
    testexecbackupjob()


class ScenarioItem(pytest.Function):
    """One scenario against one target. A ``pytest.Function``, so that fixtures and ``--setup-show`` work."""

    def __init__(self, *, selected: Selected, target: str, **rest: Any) -> None:
        super().__init__(callobj=run_the_scenario, **rest)
        self.selected = selected
        self.target = target
        self.add_marker(getattr(pytest.mark, MARKER)(selected.name))

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """The file and the scenario's name."""
        return self.path, 0 if isinstance(self.parent, ScenarioFile) else None, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]
        """The verdict speaks for itself; the plugin's own frames would only hide it."""
        if isinstance(excinfo.value, BackupJobFailed | UsageProblem):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class _Scenarios(pytest.Module):
    """A module without a Python file, as pytest's own text doctests are: module-scoped fixtures need one."""

    obj = None

    def _items(self, selected: Selected, targets: tuple[str, ...]) -> Iterator[ScenarioItem]:
        from pytest_backupchaos.choosing import target_id

        for target in targets:
            name = f"{selected.name}[{target_id(target)}]"
            yield ScenarioItem.from_parent(self, name=name, selected=selected, target=target)


class ScenarioFile(_Scenarios):
    """A ``*.chaos.yaml`` below the test paths."""

    def collect(self) -> Iterator[ScenarioItem]:
        """Validate the file; its mistakes are collection errors with file, line and column."""
        try:
            selected = from_file(self.path)
        except UsageProblem as problem:
            raise self.CollectError(_relative(str(problem), self.path)) from None
        yield from self._items(selected, self.config.stash[OPTIONS].targets)


class Builtins(_Scenarios):
    """The scenarios that ``--backup-scenario`` selects, which no test of the project need mention."""

    wanted: list[tuple[Selected, str]]

    def collect(self) -> Iterator[ScenarioItem]:
        """In the order of the selection."""
        for selected, target in self.wanted:
            yield from self._items(selected, (target,))


def _relative(text: str, path: Path) -> str:
    """Problems name the file as people type it."""
    return text.replace(str(path), os.path.relpath(path))
