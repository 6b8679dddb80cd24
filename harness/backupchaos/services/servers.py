"""Which servers the user wants: a name for some kinds of repository, the default for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from backupchaos.errors import BackupChaosError, MissingCapability, UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.services import registry
from backupchaos.services.base import Imaged, Service
from backupchaos.services.databases.registry import KINDS, database_for
from backupchaos.targets.base import DatabaseKind, RepositoryType


@dataclass(frozen=True)
class Servers:
    """The user's choice; empty where there is none."""

    names: Mapping[RepositoryType, str] = field(default_factory=dict)
    databases: tuple[DatabaseKind, ...] = ()
    """What services of a scenario are to be where it leaves their kind open, the dearest first."""

    def make(self, kind: RepositoryType, *, imaged: bool = False) -> Service:
        """A fresh service for this kind, which can be run on this machine; raises as ``registry.service_for``.

        With ``imaged`` one that has an image need not: it is only asked what it is like, or started in a container.
        """
        name = self.names.get(kind)
        if imaged and isinstance(service := registry.make_service(kind, name), Imaged):
            return service
        return registry.service_for(kind, name)

    def idle(self, used: Iterable[str]) -> dict[str, tuple[RepositoryType, ...]]:
        """Those that were named but serve none of these kinds of repository: name -> what they do serve."""
        kinds = set(used)
        found: dict[str, tuple[RepositoryType, ...]] = {}
        for kind, name in self.names.items():
            found[name] = (*found.get(name, ()), kind)
        return {name: serving for name, serving in found.items() if not kinds.intersection(serving)}


DEFAULT = Servers()
"""Nobody has chosen."""


def chosen(names: Iterable[str], option: str) -> Servers:
    """What the values of an option mean; raises ``UsageProblem`` for an unknown name, or two for the same kind.

    A server of several kinds serves those that no server of one kind was named for.
    """
    names = list(dict.fromkeys(names))
    databases = tuple(name for name in names if name in KINDS)
    kinds = {name: _kinds(name, option) for name in names if name not in KINDS}
    taken: dict[RepositoryType, str] = {}
    for name in sorted(kinds, key=lambda name: len(kinds[name]) > 1):
        free = [kind for kind in kinds[name] if kind not in taken]
        if not free:
            others = " and ".join(dict.fromkeys(taken[kind] for kind in kinds[name]))
            raise UsageProblem(
                f"{option}: {name} and {others} both serve {', '.join(kinds[name])}; name one server for each kind"
            )
        taken |= dict.fromkeys(free, name)
    return Servers(taken, databases)


def _kinds(name: str, option: str) -> tuple[RepositoryType, ...]:
    known = [*registry.service_names(), *KINDS]
    if name not in known:
        raise UsageProblem(
            f"{option}: there is no service {shown(name)}. {choices(name, known, 'Known services')}"
        )
    try:
        kinds = registry.kinds_of(name)
    except UsageProblem as problem:
        raise UsageProblem(f"{option}: {problem}") from None
    if not kinds:
        raise UsageProblem(f"{option}: the service {name!r} serves no kind of repository that is known here")
    return kinds


def table() -> dict[str, list[tuple[str, str]]]:
    """Every kind of repository that has servers, and ``database``: (name, why it cannot be had here, or empty).

    The default comes first.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for kind in registry.kinds():
        names = registry.servers_for(kind)
        found[kind] = [(name, _lacking(partial(registry.service_for, kind, name))) for name in names]
    found["database"] = [(kind, _lacking(partial(database_for, kind))) for kind in KINDS]
    return found


def _lacking(make: Callable[[], object]) -> str:
    try:
        make()
    except MissingCapability as gap:
        return gap.reason
    except BackupChaosError as problem:
        return str(problem)
    return ""
