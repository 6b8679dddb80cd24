"""Does the same scenario file give the same verdict in this machine's namespaces and in containers?

Each scenario is run with the same seed in both places, and compared: verdict, outcome of the job, and the checks that
were not passed. What differs must be explained (``EXPLAINED``, and docs/containers.md). The tool must be the same in
both: build the images from the programs on PATH (``docker/build --offline restic rclone borg``).
``python benchmarks/parity.py [--target NAME ...] [--seed N] [SCENARIO|tag:TAG ...]``, from the checkout; exit code 1 if a
difference has no explanation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import backupchaos_scenarios
from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import run_scenario
from backupchaos.environments.base import Environment
from backupchaos.errors import MissingCapability
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.session.selection import select
from backupchaos.session.settings import make_environment
from backupchaos.targets.registry import resolve_target

TARGETS = ("reference", "restic", "rclone", "borg")
NOT_COVERED = "not covered"
EXPLAINED = {
    "power_cut": "a disk whose power can be cut is a loop device, which containers have not",
    "power_cut_after_success": "a disk whose power can be cut is a loop device, which containers have not",
    "lying_disk": "a disk whose power can be cut is a loop device, which containers have not",
}
"""Scenario -> why it may differ, whatever the target."""


@dataclass(frozen=True)
class Seen:
    """What a run came to, as far as it must be the same everywhere."""

    verdict: str
    outcome: str = ""
    unmet: tuple[str, ...] = ()
    words: str = ""
    """Not compared."""

    def same(self, other: Seen) -> bool:
        """Whether nothing of importance differs."""
        return (self.verdict, self.outcome, self.unmet) == (other.verdict, other.outcome, other.unmet)

    def __str__(self) -> str:
        if self.verdict == NOT_COVERED:
            return f"{NOT_COVERED} ({self.words})"
        return f"{self.verdict}, {self.outcome}" + "".join(f", {name}" for name in self.unmet)


@dataclass(frozen=True)
class Pair:
    """One scenario against one target, in both places."""

    target: str
    scenario: str
    local: Seen
    contained: Seen

    @property
    def explanation(self) -> str:
        """Why they differ; empty for no reason that is known."""
        return EXPLAINED.get(self.scenario, "")


def seen(scenario: Scenario, target: str, environment: Environment, seed: int) -> Seen:
    """One run."""
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        options = RunOptions(environment=environment, results=Path(folder), seed=seed)
        try:
            result = run_scenario(scenario, resolve_target(target), options).result
        except MissingCapability as missing:
            return Seen(NOT_COVERED, words=str(missing))
    unmet = sorted(check.id for check in result.checks if check.verdict is not Verdict.PASS)
    return Seen(str(result.verdict), str(result.outcome or ""), tuple(unmet), result.headline)


def compare(scenario: Scenario, target: str, seed: int) -> Pair:
    """Run it in both places."""
    places = [make_environment(name) for name in ("local", "docker")]
    local, contained = (seen(scenario, target, place, seed) for place in places)
    return Pair(target, scenario.scenario, local, contained)


def pairs(targets: Sequence[str], specs: Sequence[str], seed: int) -> Iterator[Pair]:
    """Every scenario with every target."""
    chosen = select(list(specs), backupchaos_scenarios, Path.cwd(), project=Path.cwd())
    for target in targets:
        for one in chosen:
            yield compare(one.scenario, target, seed)


def main() -> int:
    """A line for each; what differs stands out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", default=["tag:quick"])
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    total = differ = unexplained = 0
    for pair in pairs(options.target or TARGETS, options.scenario, options.seed):
        total += 1
        if pair.local.same(pair.contained):
            print(f"= {pair.target} × {pair.scenario}: {pair.local}", flush=True)
            continue
        differ += 1
        unexplained += not pair.explanation
        print(f"≠ {pair.target} × {pair.scenario}: {pair.explanation or 'NOT EXPLAINED'}")
        print(
            f"    local:      {pair.local} {pair.local.words}\n    containers: {pair.contained} {pair.contained.words}",
            flush=True,
        )
    print(f"{total} compared, {differ} differ, {unexplained} without an explanation")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
