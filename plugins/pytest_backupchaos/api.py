"""The public types: what the fixture is, and what it raises."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from backupchaos.engine.run import Run
    from backupchaos.model.scenario import Scenario, Source
    from backupchaos.targets.base import Target


class _Selected:
    """The default of ``scenario``: what was selected for this test."""

    def __repr__(self) -> str:
        return "<selected by --backup-scenario, else 'normal'>"


SELECTED = _Selected()


class TestExecBackupJob(Protocol):
    """The fixture ``testexecbackupjob``: runs a backup job under a scenario and judges it by its restore."""

    def __call__(
        self,
        scenario: str | os.PathLike[str] | Scenario | _Selected | None = SELECTED,
        *,
        failure_mode: str | os.PathLike[str] | Scenario | _Selected | None = SELECTED,
        target: str | os.PathLike[str] | Target | None = None,
        repository: str | None = None,
        source: str | os.PathLike[str] | Source | Mapping[str, Any] | None = None,
        expect: Mapping[str, Any] | None = None,
        deadline: str | float | None = None,
        seed: int | None = None,
        env: Literal["local", "docker", "auto"] | None = None,
        check: bool = True,
    ) -> Run:
        """Run one scenario and return what happened.

        ``scenario`` (or ``failure_mode``) is a built-in name, the path of a ``*.chaos.yaml`` file, a ``Scenario``,
        or ``None`` for ``normal``; left out, it is what ``--backup-scenario`` or the marker selected, else
        ``normal``. ``repository``, ``source``, ``expect`` and ``deadline`` replace these keys of the scenario;
        ``source`` may be a directory, or a mapping of single keys. ``deadline`` is text with a unit, or seconds.

        Raises ``BackupJobFailed`` unless the verdict is ``pass``; with ``check=False`` it only observes.
        Skips the test if something is missing here, or fails it where ``--backup-require`` says so.
        """


TestExecBackupJob.__test__ = False  # type: ignore[attr-defined]  # its name begins like a test class


class BackupJobFailed(AssertionError):
    """The run is not a pass: ``run.verdict`` says whether it is ``fail``, ``unverified`` or ``invalid``.

    The message is a paragraph and the expectations table.
    """

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.run)


class BackupJobUnverified(BackupJobFailed):
    """An expectation could not be evaluated, so there is no green."""


class BackupJobInvalid(BackupJobFailed):
    """The run says nothing about the target: the control run failed, no fault bit, or the harness broke."""
