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
    """A fresh database of this kind, with a password of its own, which can be run on this machine.

    Raises ``UsageProblem`` for an unknown kind, and ``MissingCapability`` when a program is not there.
    """
    database = make_database(kind)
    database.available()
    return database


def make_database(kind: str) -> Database:
    """The same, wherever it is to be run: in a container its programs need not be on this machine."""
    if kind not in _OURS:
        raise UsageProblem(f"there is no database {shown(kind)}. {choices(kind, list(KINDS), 'Kinds')}")
    module, name = _OURS[kind]
    found: Any = getattr(import_module(f"backupchaos.services.databases.{module}"), name)
    return cast("Callable[[], Database]", found)()
