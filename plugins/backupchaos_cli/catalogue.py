"""What ``doctor`` says of each kind of fault: it is brought into force here, seen, and taken away again."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupchaos.environments.base import Environment
from backupchaos.errors import BackupChaosError, MissingCapability
from backupchaos.faults.base import Fault
from backupchaos.faults.registry import mechanisms
from backupchaos.model.faults import KINDS
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.session.progress import harmless
from backupchaos.targets.base import Target
from backupchaos_cli.faultworlds import Worlds, repositories

LAST = ("repository", "power")
"""Layers that leave another world behind than they found."""


@dataclass(frozen=True)
class Way:
    """One mechanism of a kind: whether it was in force here, and what was done or why not.

    ``name`` is empty where there is only one; ``mechanism`` is what it is in this sandbox.
    """

    name: str
    mechanism: str
    usable: bool
    detail: str = ""


@dataclass(frozen=True)
class Tried:
    """One kind of fault: by which mechanism a run would have it, whether that was in force here, and what was done or
    why not. ``ways`` are all its mechanisms, in the order in which a run takes the first that works."""

    kind: str
    mechanism: str
    usable: bool
    detail: str = ""
    seconds: float = 0.0
    ways: tuple[Way, ...] = ()
    chosen_by: str = ""
    """The scenario's key that names one of them, where a run does not take the first that works."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)


def every_fault(environment: Environment, target: Target, servers: Servers = DEFAULT) -> list[Tried]:
    """All kinds in the order of the vocabulary, each tried in a small world with this target and these servers."""
    order = sorted(KINDS, key=lambda kind: (repositories(kind, target), KINDS[kind].layer in LAST))
    found: dict[str, Tried] = {}
    with tempfile.TemporaryDirectory(prefix="backupchaos-doctor-") as folder:
        worlds = Worlds(environment, target, Path(folder), servers)
        try:
            for kind in order:
                found[kind] = _one(kind, worlds)
        finally:
            worlds.spoil()
    return [found[kind] for kind in KINDS]


def _one(kind: str, worlds: Worlds) -> Tried:
    made = mechanisms().get(kind)
    if made is None:
        return Tried(kind, "", False, "this version has no mechanism for it")
    started = time.monotonic()
    ways = tuple(_way(kind, worlds, made, name) for name in made.ways or ("",))
    seconds = round(time.monotonic() - started, 3)
    chosen = next((way for way in ways if way.usable), None)
    if chosen is not None:
        return Tried(kind, chosen.mechanism, True, chosen.detail, seconds, ways, made.way_key)
    words = "; ".join(dict.fromkeys(way.detail for way in ways))
    return Tried(kind, getattr(made, "mechanism", ""), False, words, seconds, ways, made.way_key)


def _way(kind: str, worlds: Worlds, made: type[Fault[Any]], name: str) -> Way:
    """Try one, with the repositories that it may need, until it works."""
    reasons = []
    for repository in repositories(kind, worlds.target):
        try:
            mechanism, detail = worlds.at(repository, kind, name).try_fault(kind, name or None)
        except MissingCapability as gap:
            reasons.append(worlds.why(gap))
        except (BackupChaosError, OSError) as problem:
            reasons.append(f"tried, and failed: {problem}")
            worlds.spoil()
        except Exception as problem:  # a defect in one mechanism must not hide the state of all others
            reasons.append(f"tried, and failed by a defect of ours: {type(problem).__name__}: {problem}")
            worlds.spoil()
        else:
            return Way(name, mechanism, True, harmless(detail))
    if not reasons:
        reasons.append(f"target {worlds.target.name} has no repository that is reached over a link")
    words = "; ".join(dict.fromkeys(harmless(reason) for reason in reasons))
    return Way(name, name or getattr(made, "mechanism", ""), False, words)


def by_layer(found: Sequence[Tried]) -> Iterator[tuple[str, list[Tried]]]:
    """The kinds grouped as the vocabulary groups them."""
    for layer in dict.fromkeys(KINDS[one.kind].layer for one in found):
        yield layer, [one for one in found if KINDS[one.kind].layer == layer]
