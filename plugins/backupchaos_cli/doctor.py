"""``backupchaos doctor``: every capability is tried by using it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import backupchaos_scenarios
from backupchaos.session.capabilities import Here, gap, look
from backupchaos.session.settings import make_environment
from backupchaos.targets.base import Target
from backupchaos.targets.registry import resolve_target
from backupchaos_cli import trials
from backupchaos_cli.console import columns, dim, mark, say
from backupchaos_cli.trials import Finding


def main(options: argparse.Namespace) -> int:
    """Findings by group, then how much of the catalogue can run; 0 if any of it can."""
    target = resolve_target(options.target)
    environment = make_environment("auto")
    here = look(environment)
    findings = [
        *_sandbox(here),
        *trials.links(environment),
        *trials.services(),
        *trials.targets(),
        trials.docker(),
    ]
    gaps = {one.scenario: gap(one, target, here) for one in backupchaos_scenarios.all()}
    able = sum(not why for why in gaps.values())
    if options.json:
        _as_json(target, here, findings, gaps)
    else:
        _as_text(here, findings, gaps)
        say(f"\n{able} of {len(gaps)} built-in scenarios can run here with target {target.name}")
    return 0 if able else 2


def _sandbox(here: Here) -> Iterator[Finding]:
    if here.problem:
        yield Finding("sandbox", "any", False, here.problem)
        return
    for name in sorted({*here.capabilities, *here.lacking}):
        yield Finding("sandbox", name, name in here.capabilities, here.lacking.get(name, ""))


def _as_text(here: Here, findings: list[Finding], gaps: dict[str, str]) -> None:
    say(f"sandbox: {here.mechanism}")
    group = ""
    rows = columns([(f.name, f.detail + (f"; {f.hint}" if f.hint and not f.good else "")) for f in findings])
    for finding, row in zip(findings, rows, strict=True):
        if finding.group != group:
            group = finding.group
            if group != "sandbox":
                say(f"{group}:")
        say(f"  {mark(finding.good)} {row}")
    lost = {name: why for name, why in gaps.items() if why}
    if lost:
        say("scenarios that cannot run:")
    for name, why in lost.items():
        say(f"  {mark(False)} {name}: {why}")
    missing = sum(not finding.good for finding in findings)
    if missing:
        say(dim("What is marked ✗ is needed only by the scenarios and targets that use it."))


def _as_json(target: Target, here: Here, findings: list[Finding], gaps: dict[str, str]) -> None:
    say(
        json.dumps(
            {
                "target": target.name,
                "mechanism": here.mechanism,
                "findings": [finding.to_json() for finding in findings],
                "scenarios": {name: {"runnable": not why, "reason": why} for name, why in gaps.items()},
            },
            indent=1,
        )
    )
