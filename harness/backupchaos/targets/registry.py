"""Finding a target by the word a user gives: an adapter's name, a project's own target, or a YAML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from backupchaos.errors import BackupChaosError, UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.targets.base import Target

GROUP = "backupchaos.targets"
"""Entry points: a name, and a callable without arguments (mostly a class) that returns a ``Target``."""
COMMAND = "command"
"""The adapter behind YAML files and project tables. Its class has ``from_yaml(path)`` and
``from_table(name, table, file)``, and is no target by itself."""
_SUFFIXES = (".yaml", ".yml")


def target_names() -> list[str]:
    """All installed adapters, sorted; none of them is imported."""
    return sorted({point.name for point in entry_points(group=GROUP)} - {COMMAND})


def project_targets(rootdir: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The tables ``[tool.backupchaos.target.NAME]`` of ``rootdir``'s pyproject.toml.

    Raises ``UsageProblem`` if the file is there but is not TOML.
    """
    file = Path(rootdir, "pyproject.toml")
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{file}: cannot be read: {error}") from None
    if "backupchaos" not in text:
        return {}
    try:
        tables: Any = tomllib.loads(text).get("tool", {}).get("backupchaos", {}).get("target", {})
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise UsageProblem(f"{file}: {error}") from None
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageProblem(
            f"{file}: tool.backupchaos.target must hold tables: [tool.backupchaos.target.NAME]"
        )
    return tables


def resolve_target(spec: str, rootdir: str | os.PathLike[str] = ".") -> Target:
    """The target that ``spec`` names.

    A word is the name of an adapter or of a table in ``rootdir``'s pyproject.toml; anything with a
    slash or a YAML suffix is the path of a target file, relative to ``rootdir``. Whether the
    tool is installed is not asked here (``Target.available``). Raises ``UsageProblem``.
    """
    if os.sep in spec or spec.endswith(_SUFFIXES):
        return cast("Target", _command_class().from_yaml(Path(rootdir, os.path.expanduser(spec))))
    ours, own = target_names(), project_targets(rootdir)
    if spec in own:
        file = Path(rootdir, "pyproject.toml")
        if spec in ours:
            raise UsageProblem(
                f"{file}: tool.backupchaos.target.{spec}: an adapter of this name is installed; choose another name"
            )
        return cast("Target", _command_class().from_table(spec, own[spec], file))
    if spec not in ours:
        known = sorted({*ours, *own})
        hint = (
            choices(spec, known, "Known targets") if known else "None is installed: pip install backupchaos."
        )
        raise UsageProblem(
            f"there is no target {shown(spec)}. {hint} Or give the path of a target's YAML file."
        )
    return _make(spec)


def _make(name: str) -> Target:
    factory = _load(name)
    try:
        return cast("Target", factory())
    except BackupChaosError:
        raise
    except Exception as error:
        raise UsageProblem(f"the target {name!r} cannot be made: {type(error).__name__}: {error}") from error


def _command_class() -> Any:
    return _load(COMMAND)


def _load(name: str) -> Any:
    """Import one adapter, and only that one."""
    points: tuple[EntryPoint, ...] = tuple(entry_points(group=GROUP, name=name))
    if not points:
        raise UsageProblem(f"the adapter {name!r} is not installed; pip install backupchaos")
    if len({point.value for point in points}) > 1:
        where = ", ".join(sorted(point.value for point in points))
        raise UsageProblem(f"several packages offer a target {name!r} ({where}); uninstall all but one")
    try:
        return points[0].load()
    except Exception as error:
        raise UsageProblem(f"the target {name!r} ({points[0].value}) cannot be loaded: {error}") from error
