"""From the words that a user gives (NAME, PATH, tag:TAG, all) to scenarios."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backupchaos.errors import UsageProblem

if TYPE_CHECKING:
    from backupchaos.model.scenario import Scenario

SUFFIX = ".chaos.yaml"
TAG = "tag:"
ALL = "all"
NORMAL = "normal"
"""The scenario without a fault."""
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "build", "dist", "venv"})
_MOST_FOLDERS = 20_000


class Catalogue(Protocol):
    """The built-in scenarios; the package ``backupchaos_scenarios`` is one."""

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""

    def load(self, name: str) -> Scenario:
        """One of them; raises ``UsageProblem`` with the nearest names."""

    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """Tag -> names."""


@dataclass(frozen=True)
class Selected:
    """A scenario to run; ``file`` is its YAML file if it is the user's own, ``spec`` how to name it again."""

    scenario: Scenario
    file: Path | None
    spec: str

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.scenario.scenario


def is_path(spec: str) -> bool:
    """The word is a path and no name: it has a slash or a YAML suffix."""
    return os.sep in spec or spec.endswith((".yaml", ".yml"))


def select(
    specs: Sequence[str], catalogue: Catalogue, base: Path, *, project: Path | None = None
) -> list[Selected]:
    """The scenarios that these words name, in order, each once.

    Paths are relative to ``base``; a folder stands for all ``*.chaos.yaml`` below it. A name that
    is not built in is looked for as ``NAME.chaos.yaml`` below ``project``. Raises ``UsageProblem`` for
    anything that names nothing, and for two files with the same scenario name.
    """
    chosen: dict[str, Selected] = {}
    for spec in specs:
        for one in _expand(spec, catalogue, base, project):
            known = chosen.setdefault(one.name, one)
            if known.file != one.file:
                places = " and ".join(str(s.file or "a built-in scenario") for s in (known, one))
                raise UsageProblem(f"two scenarios are called {one.name!r}: {places}; rename one")
    return list(chosen.values())


def _expand(spec: str, catalogue: Catalogue, base: Path, project: Path | None) -> Iterator[Selected]:
    from backupchaos.model.words import choices, shown

    if spec == ALL:
        yield from (_built_in(catalogue, name) for name in catalogue.names())
    elif spec.startswith(TAG):
        tags = catalogue.tags()
        word = spec.removeprefix(TAG)
        if word not in tags:
            raise UsageProblem(
                f"no built-in scenario has the tag {shown(word)}. {choices(word, sorted(tags), 'Tags')}"
            )
        yield from (_built_in(catalogue, name) for name in tags[word])
    elif is_path(spec):
        yield from _from_path(Path(base, os.path.expanduser(spec)), spec)
    elif spec in catalogue.names():
        yield _built_in(catalogue, spec)
    else:
        yield _from_project(spec, catalogue, project)


def _built_in(catalogue: Catalogue, name: str) -> Selected:
    return Selected(catalogue.load(name), None, name)


def from_file(path: Path, spec: str = "") -> Selected:
    """The scenario in a file; raises ``ScenarioErrors`` with every problem, located."""
    from backupchaos.model.loader import load_scenario

    return Selected(load_scenario(path), path.resolve(), spec or str(path))


def _from_path(path: Path, spec: str) -> Iterator[Selected]:
    if not path.is_dir():
        yield from_file(path, spec)
        return
    files = sorted(path.rglob(f"*{SUFFIX}"))
    if not files:
        raise UsageProblem(f"{spec}: there is no *{SUFFIX} file in this folder")
    yield from (from_file(file, str(Path(spec, file.relative_to(path)))) for file in files)


def _from_project(name: str, catalogue: Catalogue, project: Path | None) -> Selected:
    """A scenario of the user's own project by its name, which its file must carry."""
    found = sorted(_search(project, f"{name}{SUFFIX}")) if project is not None and name else []
    if len(found) > 1:
        listed = ", ".join(str(path) for path in found[:5])
        raise UsageProblem(f"several files are called {name}{SUFFIX} ({listed}); give the path of one")
    if found:
        return from_file(found[0], os.path.relpath(found[0], project))
    try:
        catalogue.load(name)
    except UsageProblem as problem:
        hint = "Or a path of a *.chaos.yaml file, tag:TAG, or all; 'backupchaos list' shows everything."
        raise UsageProblem(f"{problem} {hint}") from None
    raise UsageProblem(f"no built-in scenario {name!r}")


def _search(root: Path, wanted: str) -> Iterator[Path]:
    """Files of that name below the project; hidden folders, environments and builds are left out."""
    for count, (folder, folders, files) in enumerate(os.walk(root)):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        if wanted in files:
            yield Path(folder, wanted)
        if count > _MOST_FOLDERS:
            return
