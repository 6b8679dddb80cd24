"""``backupchaos doctor``: every capability and every fault is tried by using it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence

import backupchaos_scenarios
from backupchaos.engine.choosing import make_sure_of
from backupchaos.environments.base import Environment
from backupchaos.errors import BackupChaosError
from backupchaos.services.servers import Servers, chosen
from backupchaos.session.capabilities import Here, gap, look
from backupchaos.session.settings import make_environment
from backupchaos.targets.base import Target
from backupchaos.targets.registry import resolve_target
from backupchaos_cli import facts, trials
from backupchaos_cli.catalogue import Tried, by_layer, every_fault
from backupchaos_cli.console import dim, mark, say, wrapped
from backupchaos_cli.trials import Finding


def main(options: argparse.Namespace) -> int:
    """Findings by group, each kind of fault, and how much of the catalogue can run; 0 if any of it can."""
    target = resolve_target(options.target)
    servers = chosen(options.service, "--service")
    environment = make_environment(options.env, pull=options.pull, remote_docker=options.allow_remote_docker)
    here = look(environment)
    findings = [
        *facts.machine(here),
        *trials.sandboxes(),
        *_sandbox(here),
        *trials.links(environment, (options.pull, options.allow_remote_docker)),
        *trials.services(environment),
        *trials.targets(environment),
        trials.docker(),
    ]
    faults = _faults(environment, target, here, servers)
    gaps = {one.scenario: gap(one, target, here, servers) for one in backupchaos_scenarios.all()}
    able = sum(not why for why in gaps.values())
    if options.json:
        _as_json(target, here, findings, faults, gaps)
    else:
        _as_text(target, here, findings, faults, gaps)
        usable = sum(one.usable for one in faults)
        say(f"\n{usable} of {len(faults)} kinds of faults are usable here with target {target.name}")
        say(f"{able} of {len(gaps)} built-in scenarios can run here with target {target.name}")
    return 0 if able else 2


def _sandbox(here: Here) -> Iterator[Finding]:
    if here.problem:
        yield Finding("sandbox", "any", False, here.problem)
        return
    for name in sorted({*here.capabilities, *here.lacking}):
        yield Finding("sandbox", name, name in here.capabilities, here.lacking.get(name, ""))


def _faults(environment: Environment, target: Target, here: Here, servers: Servers) -> list[Tried]:
    """All kinds; where nothing at all can be tried, the reason for each."""
    from backupchaos.model.faults import KINDS

    if not here.problem:
        try:
            make_sure_of(target, environment)
            return every_fault(environment, target, servers)
        except BackupChaosError as problem:
            reason = str(problem)
    return [Tried(kind, "", False, here.problem or reason) for kind in KINDS]


def _as_text(
    target: Target, here: Here, findings: Sequence[Finding], faults: Sequence[Tried], gaps: dict[str, str]
) -> None:
    group = ""
    rows = wrapped(
        [(f.name, f.detail + (f"; {f.hint}" if f.hint and not f.good else "")) for f in findings], beside=4
    )
    for finding, row in zip(findings, rows, strict=True):
        if finding.group != group:
            group = finding.group
            say(f"{group}: {here.mechanism}" if group == "sandbox" else f"{group}:")
        say(f"  {mark(finding.good)} {row}")
    _fault_table(target, faults)
    lost = {name: why for name, why in gaps.items() if why}
    if lost:
        say("scenarios that cannot run:")
    for name, why in lost.items():
        say(f"  {mark(False)} {name}: {why}")
    if not all(one.good for one in findings) or not all(one.usable for one in faults):
        say(dim("What is marked ✗ is needed only by the scenarios and targets that use it."))


def _fault_table(target: Target, faults: Sequence[Tried]) -> None:
    """A line for each kind: by which mechanism, and if it cannot be had, why; below it those that would follow."""
    say(f"faults, each brought into force and taken away, with target {target.name}:")
    for layer, kinds in by_layer(faults):
        say(f"  {layer}:")
        rows = [(one.kind, one.mechanism if one.usable else f"no: {one.detail}") for one in kinds]
        for one, row in zip(kinds, wrapped(rows, beside=6), strict=True):
            say(f"    {mark(one.usable)} {row}")
            for way in one.ways if len(one.ways) > 1 else ():
                words = f"{way.name}: " if one.chosen_by or not way.usable else ""
                shown = words + (way.mechanism if way.usable else f"no: {way.detail}")
                say(f"        {mark(way.usable)} {wrapped([(shown,)], beside=10)[0]}")


def _as_json(
    target: Target, here: Here, findings: Sequence[Finding], faults: Sequence[Tried], gaps: dict[str, str]
) -> None:
    document = {
        "target": target.name,
        "mechanism": here.mechanism,
        "findings": [finding.to_json() for finding in findings],
        "faults": [one.to_json() for one in faults],
        "scenarios": {name: {"runnable": not why, "reason": why} for name, why in gaps.items()},
    }
    say(json.dumps(document, indent=1))
