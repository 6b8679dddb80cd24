"""Which database is started for which kind."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from backupchaos.errors import UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.services.databases.base import Database
from backupchaos.targets.base import DatabaseKind

_OURS: dict[DatabaseKind, tuple[str, str]] = {
    "redis": ("redis", "Redis"),
    "postgres": ("postgres", "Postgres"),
    "mariadb": ("mariadb", "MariaDb"),
}
KINDS: tuple[DatabaseKind, ...] = tuple(_OURS)
"""The first is what ``any`` stands for, where the target does not mind."""


def database_for(kind: str) -> Database:
    """A fresh database of this kind, with a password of its own.

    Raises ``UsageProblem`` for an unknown kind, and ``MissingCapability`` when a program is not there.
    """
    if kind not in _OURS:
        raise UsageProblem(f"there is no database {shown(kind)}. {choices(kind, list(KINDS), 'Kinds')}")
    module, name = _OURS[kind]
    found: Any = getattr(import_module(f"backupchaos.services.databases.{module}"), name)
    database = cast("Callable[[], Database]", found)()
    database.available()
    return database
