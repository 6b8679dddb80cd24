"""``backupchaos show``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import backupchaos_scenarios
from backupchaos.durations import format_duration
from backupchaos.errors import UsageProblem
from backupchaos.model.scenario import Scenario
from backupchaos.session.capabilities import needs
from backupchaos.session.selection import select
from backupchaos_cli.console import columns, dim, say

_ENVELOPE = {
    "must_survive": "the job must succeed, and what it claims must restore",
    "must_fail_loudly": "the job must fail, and say so with the cause",
    "either": "the job may succeed or fail; it must not lie",
}
_LAWS = {
    "honest": "a claim of success is true: the restore equals the source",
    "no_collateral": "every older snapshot still restores, bit for bit",
    "loud": "a failure has an exit code other than 0 and a log record that names the cause",
    "bounded": "the job ends within its deadline and is not silent for too long",
    "recoverable": "after the fault the next job succeeds and restores, without help",
    "clean": "no process, lock or partial file is left behind",
    "as_declared": "the expectations below hold",
}


def main(options: argparse.Namespace) -> int:
    """Print it all."""
    import yaml

    found = select([options.scenario], backupchaos_scenarios, Path.cwd(), project=Path.cwd())
    if len(found) != 1:
        raise UsageProblem(f"{options.scenario!r} names {len(found)} scenarios; show takes one")
    scenario = found[0].scenario
    say(f"# {scenario.title}")
    say(yaml.safe_dump(scenario.to_yaml_dict(), sort_keys=False, allow_unicode=True).rstrip())
    for title, lines in (("schedule", schedule(scenario)), ("expected", expected(scenario))):
        say("\n" + dim(f"{title}:"))
        for line in lines:
            say(f"  {line}")
    say(f"\nneeds: {', '.join(needs(scenario)) or 'nothing special'}")
    return 0


def schedule(scenario: Scenario) -> Iterator[str]:
    """One bar per job, and under the second one each fault with its triggers."""
    yield "job 1  ├────────────────────────────────────────┤  no fault; must succeed and restore"
    yield f"change {scenario.source.change:.0%} of the files, plus {scenario.source.new / 2**20:g} MiB of new data"
    yield "job 2  ├────────────────────────────────────────┤  under the faults"
    rows = [(name, _bar(fault), _when(fault)) for name, fault in scenario.faults.items()]
    if not rows:
        yield "       (none)"
    width = max((len(name) for name, *_ in rows), default=0)
    for name, bar, words in rows:
        yield f"       {bar}  {name.ljust(width)}  {words}"
    yield "heal   restore what job 2 claims"
    yield "job 3  ├────────────────────────────────────────┤  no fault, no help; must succeed and restore"
    yield "verify restore of job 1's snapshot, the tool's own check, leftovers"


def _bar(fault: object) -> str:
    """Where the fault lies within the job, as far as it is known beforehand."""
    when = getattr(fault, "when", None)
    share = getattr(when, "at", None)
    begin = 0 if getattr(when, "start", None) else round(40 * share) if share is not None else 20
    begin = min(39, begin)
    if getattr(fault, "instant", False):
        return " " * begin + "▼" + " " * (41 - begin)
    lasting = getattr(fault, "for_", None) is None and getattr(fault, "until", None) is None
    length = 41 - begin if lasting else min(10, 41 - begin)
    return (" " * begin + "█" * length).ljust(42)


def _when(fault: object) -> str:
    when, until, lasts = (getattr(fault, name, None) for name in ("when", "until", "for_"))
    tier = getattr(fault, "tier", "")
    kind = f"{getattr(fault, 'kind', '?')}{f' on {tier}' if tier else ''}"
    words = f"{kind}: {when.describe() if when is not None else 'at the start'}"
    if lasts is not None:
        return f"{words}, for {format_duration(lasts)}"
    if until is not None:
        return f"{words}, until {until.describe()}"
    return words if getattr(fault, "instant", False) else f"{words}, to the end of the job"


def expected(scenario: Scenario) -> Iterator[str]:
    """The envelope, the laws and the rows of the table in words."""
    yield _ENVELOPE[scenario.envelope]
    rows = [
        ("not held: " + law if law in scenario.waive else law, scenario.waive.get(law, text))  # type: ignore[call-overload]
        for law, text in _LAWS.items()
    ]
    rows += [(key, _words(value)) for key, value in scenario.to_yaml_dict()["expect"].items() if value]
    yield from columns(rows)


def _words(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_words(one) for one in value)
    if isinstance(value, dict):
        return f"{value.get('level', '')}: /{value.get('matches', '')}/"
    return str(value)
