"""The built-in scenarios: one YAML file each, found by name or tag.

Importing this package costs nothing beyond the standard library; a scenario is parsed when it is asked for.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupchaos.model.scenario import Scenario

SUFFIX = ".chaos.yaml"
__all__ = ["SUFFIX", "all", "load", "names", "path", "schema_path", "tags"]


def _folder() -> Path:
    return Path(str(files(__name__).joinpath("builtin")))


@cache
def names() -> tuple[str, ...]:
    """The names of all built-in scenarios, sorted."""
    return tuple(sorted(file.name.removesuffix(SUFFIX) for file in _folder().glob(f"*{SUFFIX}")))


def path(name: str) -> Path:
    """The YAML file of a built-in scenario; raises UsageProblem with the nearest names."""
    if name not in names():
        from backupchaos.errors import UsageProblem
        from backupchaos.model.words import nearest, shown

        near = nearest(name, names())
        guess = f"Did you mean '{near}'? " if near else ""
        raise UsageProblem(
            f"no built-in scenario {shown(name)}. {guess}'backupchaos list' shows all {len(names())}."
        )
    return _folder() / f"{name}{SUFFIX}"


def load(name: str) -> Scenario:
    """One built-in scenario; raises UsageProblem with the nearest names."""
    from backupchaos.model.loader import load_scenario

    return load_scenario(path(name))


def all() -> tuple[Scenario, ...]:  # noqa: A001
    """Every built-in scenario, in the order of ``names()``."""
    return tuple(load(name) for name in names())


def tags() -> dict[str, tuple[str, ...]]:
    """Each tag with the names of the built-in scenarios that carry it, both sorted."""
    found: dict[str, list[str]] = {}
    for scenario in all():
        for tag in scenario.tags:
            found.setdefault(tag, []).append(scenario.scenario)
    return {tag: tuple(found[tag]) for tag in sorted(found)}


def schema_path() -> Path:
    """The published JSON Schema (draft 7) of scenario files, for editors."""
    return Path(str(files(__name__).joinpath("scenario.schema.json")))
