"""``backupchaos list``."""

from __future__ import annotations

import argparse
import json

import backupchaos_scenarios
from backupchaos.errors import UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.services.servers import chosen, table
from backupchaos.session.capabilities import gap, look, needs
from backupchaos.session.settings import make_environment
from backupchaos.targets.registry import resolve_target
from backupchaos_cli.console import columns, dim, say


def main(options: argparse.Namespace) -> int:
    """Print the catalogue; what cannot run here is dimmed, with the reason."""
    target = resolve_target(options.target)
    servers = chosen(options.service, "--service")
    scenarios = backupchaos_scenarios.all()
    if options.tag is not None:
        tags = sorted(backupchaos_scenarios.tags())
        if options.tag not in tags:
            raise UsageProblem(
                f"no built-in scenario has the tag {shown(options.tag)}. {choices(options.tag, tags, 'Tags')}"
            )
        scenarios = tuple(one for one in scenarios if options.tag in one.tags)
    here = look(make_environment("auto"))
    gaps = {one.scenario: gap(one, target, here, servers) for one in scenarios}
    if options.json:
        say(
            json.dumps(
                [
                    {
                        "name": one.scenario,
                        "title": one.title,
                        "envelope": one.envelope,
                        "tags": list(one.tags),
                        "needs": list(needs(one)),
                        "target": target.name,
                        "runnable": not gaps[one.scenario],
                        "reason": gaps[one.scenario],
                    }
                    for one in scenarios
                ],
                indent=1,
            )
        )
        return 0
    rows = [("scenario", "tags", "needs", "title")]
    rows += [(o.scenario, ",".join(o.tags) or "-", ",".join(needs(o)) or "-", o.title) for o in scenarios]
    head, *lines = columns(rows)
    say(dim(head))
    for one, line in zip(scenarios, lines, strict=True):
        why = gaps[one.scenario]
        say(dim(f"{line}\n    cannot run here: {why}") if why else line)
    count = sum(not why for why in gaps.values())
    say("\nservers, the default ones first (another: --service NAME):")
    for kind, found in table().items():
        say(f"  {kind}: " + ", ".join(f"{name} (not here: {why})" if why else name for name, why in found))
    say(
        f"\n{count} of {len(scenarios)} can run here with target {target.name} ({here.mechanism}); more: backupchaos doctor"
    )
    return 0
