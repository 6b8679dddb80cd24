"""The pytest plugin. ``TestExecBackupJob`` is the type of the fixture ``testexecbackupjob``, for annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_backupchaos.api import BackupJobFailed, TestExecBackupJob

__all__ = ["BackupJobFailed", "TestExecBackupJob"]


def __getattr__(name: str) -> Any:
    # pytest imports this package in every run; nothing may be imported here before it is asked for.
    if name in __all__:
        from pytest_backupchaos import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
