"""What a target lacks for a scenario, found out by asking it for its commands; nothing is run.

Not all that a run would find: whether a killed job leaves a lock, say, only a killed job can show.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

from backupchaos.model.faults.base import FaultSpec
from backupchaos.model.faults.service import OnRequests
from backupchaos.model.scenario import Scenario
from backupchaos.services.base import Service
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.targets.base import Location, RepositoryType, Target, Workspace


def lacks(
    scenario: Scenario, target: Target, kind: RepositoryType, servers: Servers = DEFAULT
) -> Iterator[str]:
    """One line for each thing. Raises what the adapter raises."""
    work = Workspace(
        source="/source",
        location=Location(
            kind, "/repository", host="127.0.0.1", port=1, user="backup", key_file="/state/key"
        ),
        cache="/cache",
        temp="/temp",
        state="/state",
        restore="/restore",
        password="password",  # noqa: S106 - nothing is ever opened with it
    )
    yield from _unplugged(scenario)
    for spec in scenario.faults.values():
        if kind != "local" and (answer := _server(spec, servers.make(kind, imaged=True))):
            yield f"{spec.kind}: {answer}"
        for layer, ask in _QUESTIONS.items():
            if spec.kind.startswith(layer) and (answer := ask(spec, target, work)):
                yield f"{spec.kind}: {answer}"
        if getattr(spec, "place", "") == "cache" and not spec.kind.startswith("cache."):
            yield from _named(spec, _cache(spec, target, work))
    for tool, want in scenario.expect.under_fault.items():
        commands: dict[str, Callable[[Workspace], object]] = {
            "list": target.snapshots,
            "check": target.check,
            "unlock": target.unlock,
            "prune": target.prune,
        }
        if want != "any" and tool in commands and commands[tool](work) is None:
            yield f"under_fault: target {target.name} has no {tool} command"


def _unplugged(scenario: Scenario) -> Iterator[str]:
    """What goes with the whole network."""
    faults = scenario.faults.values()
    if not any(fault.unplugs for fault in faults):
        return
    if scenario.services:
        yield "network.down with mode unreachable takes the whole network away, and there are more links than one"
    if any(fault.kind.startswith("dns.") for fault in faults):
        yield "network.down with mode unreachable takes the name server away with the network"


def _named(spec: FaultSpec, answer: str) -> Iterator[str]:
    if answer:
        yield f"{spec.kind}: {answer}"


def _cache(spec: Any, target: Target, work: Workspace) -> str:
    return "" if target.cache_files(work) else f"target {target.name} keeps no cache"


def _company(spec: Any, target: Target, work: Workspace) -> str:
    commands = {"backup": target.backup, "prune": target.prune, "check": target.check}
    return "" if commands[spec.what](work) else f"target {target.name} has no {spec.what} command"


def _pipeline(spec: Any, target: Target, work: Workspace) -> str:
    return "" if target.pipeline(work) else f"target {target.name} does not store its standard input"


def _version(spec: Any, target: Target, work: Workspace) -> str:
    if spec.program is None:
        return "" if target.drifted(work) else f"target {target.name} knows of no other version of itself"
    return "" if shutil.which(spec.program) else f"{spec.program} is not there, or may not be executed"


def _server(spec: FaultSpec, service: Service) -> str:
    """What the repository's server cannot do or bear."""
    from backupchaos.services.base import Forgetful, Obedient

    if spec.tier:  # a database keeps what it has acknowledged
        return ""
    if spec.kind in {"service.kill", "service.restart"}:
        forgets = service.forgets if isinstance(service, Forgetful) else ""
        return f"this server is no fair judge, since {forgets}" if forgets else ""
    if not isinstance(spec, OnRequests) or service.kind != "sftp":
        return ""  # in front of HTTP servers stands a gate that does it for them
    if spec.kind == "service.throttle":
        return "SFTP has no such answer; it takes a target that speaks s3, rest or webdav"
    return "" if isinstance(service, Obedient) else f"{service.name} cannot be told to do wrong; asyncssh can"


_QUESTIONS: dict[str, Callable[[Any, Target, Workspace], str]] = {
    "cache.": _cache,
    "process.concurrent": _company,
    "process.stdin_dies": _pipeline,
    "version.drift": _version,
}
"""By the beginning of a fault's kind."""
