"""What scenarios need, what this machine has, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupchaos.errors import BackupChaosError, MissingCapability, UsageProblem

if TYPE_CHECKING:
    from backupchaos.environments.base import Environment
    from backupchaos.model.scenario import Scenario
    from backupchaos.services.servers import Servers
    from backupchaos.targets.base import Target


_ELSEWHERE = {
    "outlet": "network.down with mode unreachable takes away a network that only containers have (--env docker)"
}
"""Where that can be had which no sandbox of this machine has."""
_MADE = ("image",)
"""Capabilities that no sandbox has beforehand: a fault makes them, and the probe has tried it."""


@dataclass(frozen=True)
class Here:
    """What a sandbox really offers here, with the reason for each thing that it lacks.

    ``problem`` says why none can be made at all.
    """

    mechanism: str
    capabilities: frozenset[str]
    environment: Environment
    problem: str = ""
    lacking: Mapping[str, str] = field(default_factory=dict)


def look(environment: Environment, *, deep: bool = True) -> Here:
    """Make one small sandbox and see; ``deep`` tries each capability too.

    Nothing else would be the truth: containers offer namespaces and then refuse the mounts.
    """
    from backupchaos.environments.base import Place, Unpluggable

    try:
        sandbox = environment.sandbox(dict.fromkeys(Place, 2**20))
    except BackupChaosError as problem:
        return Here("none", frozenset(), environment, str(problem))
    try:
        words, offered = f"{sandbox.name}, {sandbox.mechanism}", sandbox.capabilities
        if isinstance(sandbox, Unpluggable):
            offered |= {"outlet"}
    finally:
        sandbox.close()
    found = environment.probe() if deep else {}
    lacking = {name: why for name, why in found.items() if why}
    made = {name for name in _MADE if name in found}
    return Here(words, (offered | made) - set(lacking), environment, lacking=lacking)


def needs(scenario: Scenario) -> tuple[str, ...]:
    """The capabilities that a scenario's faults, repository and other services need, sorted."""
    words = _wanted(scenario)
    if scenario.needs_link:
        words.add("link")
    if scenario.repository not in {"any", "local"}:
        words.add(scenario.repository)
    elif scenario.needs_remote:
        words.add("remote")
    words |= {f"service {name}" if kind == "any" else kind for name, kind in scenario.services.items()}
    return tuple(sorted(words))


def gap(scenario: Scenario, target: Target, here: Here, servers: Servers | None = None) -> str:
    """Why this scenario cannot run here with this target; empty if nothing speaks against it."""
    from backupchaos.engine.choosing import (
        choose_repository,
        choose_services,
        make_databases,
        make_sure_of,
        make_sure_of_server,
        with_needed_services,
    )
    from backupchaos.engine.room import check_memory
    from backupchaos.environments.base import Containing
    from backupchaos.services.servers import DEFAULT
    from backupchaos.session.asking import lacks

    if here.problem:
        return here.problem
    try:
        make_sure_of(target, here.environment)
        servers = servers or DEFAULT
        kind = choose_repository(scenario, target, servers)
        if kind != "local":
            make_sure_of_server(kind, servers, here.environment)
        scenario = with_needed_services(scenario, target.profile_for(kind))
        make_databases(choose_services(scenario, target, servers), here.environment)
        if asked := "; ".join(lacks(scenario, target, kind, servers)):
            return asked
        if "volumes" in here.capabilities:
            check_memory(scenario, limited=not isinstance(here.environment, Containing))
    except (MissingCapability, UsageProblem) as problem:
        return str(problem)
    return "; ".join(
        f"{name}: {here.lacking.get(name) or _ELSEWHERE.get(name) or f'the sandbox ({here.mechanism}) has it not'}"
        for name in sorted(_wanted(scenario) - here.capabilities)
    )


def _wanted(scenario: Scenario) -> set[str]:
    """What its faults need of the sandbox, and what they make themselves if it can be made."""
    from backupchaos.faults.registry import mechanisms

    made = [mechanisms()[fault.kind] for fault in scenario.faults.values()]
    wanted = {name for fault in made for name in fault.needs | fault.tries}
    return wanted | {"outlet" for fault in scenario.faults.values() if fault.unplugs}
