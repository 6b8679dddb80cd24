"""Does the same scenario file give the same verdict in this machine's namespaces and in containers?

Each scenario is run with the same seed in both places, and compared: verdict, outcome of the job, and the checks that
were not passed. What differs must be explained (``EXPLAINED``, and docs/containers.md). Before a place is accused, both
are tried again: what comes out differently in one and the same place (``~``) is not the place's doing, but is told.
The tool must be of the same version in both: build the images from the programs on PATH
(``docker/build --offline restic rclone borg kopia``).
``python benchmarks/parity.py [--target NAME ...] [--seed N] [--results DIR] [SCENARIO|tag:TAG ...]``, from the checkout;
exit code 1 if a difference has no explanation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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

KOPIA = str(Path(__file__).resolve().parents[1] / "docs/examples/kopia.yaml")
TARGETS = {name: name for name in ("reference", "restic", "rclone", "borg")} | {"kopia": KOPIA}
NOT_COVERED = "not covered"
TRIES = 3
"""In each place, before it is accused."""
HARNESS = "harness"
"""The row of a run in which the harness broke."""
_NO_LOOP = "a disk whose power can be cut is a loop device, which containers have not"
EXPLAINED = {"power_cut": _NO_LOOP, "power_cut_after_success": _NO_LOOP, "lying_disk": _NO_LOOP}
"""Scenario -> why it may differ, whatever the target."""


@dataclass(frozen=True)
class Seen:
    """What a run came to, as far as it must be the same everywhere."""

    verdict: str
    outcome: str = ""
    unmet: tuple[str, ...] = ()
    words: str = field(default="", compare=False)
    version: str = field(default="", compare=False)
    """What the tool says of itself; empty if nothing ran."""

    def __str__(self) -> str:
        if self.verdict == NOT_COVERED:
            return f"{NOT_COVERED} ({self.words})"
        return f"{self.verdict}, {self.outcome}" + "".join(f", {name}" for name in self.unmet)


@dataclass(frozen=True)
class Place:
    """Where runs are made; what one has found out of a target's controls serves the next, as in any session."""

    environment: Environment
    results: Path
    controls: dict[str, bool] = field(default_factory=dict)

    def run(self, scenario: Scenario, target: str, seed: int) -> Seen:
        """One run."""
        options = RunOptions(
            environment=self.environment, results=self.results, seed=seed, control_cache=self.controls
        )
        try:
            result = run_scenario(scenario, resolve_target(target), options).result
        except MissingCapability as missing:
            return Seen(NOT_COVERED, words=str(missing))
        unmet = sorted(check.id for check in result.checks if check.verdict is not Verdict.PASS)
        return Seen(
            str(result.verdict),
            str(result.outcome or ""),
            tuple(unmet),
            result.headline,
            result.target_version,
        )


@dataclass(frozen=True)
class Pair:
    """One scenario against one target, in both places; more than once if they did not agree at once."""

    target: str
    scenario: str
    local: tuple[Seen, ...]
    contained: tuple[Seen, ...]

    @property
    def same(self) -> bool:
        """Whether nothing of importance differs: something was seen in both places.

        That the harness broke in both is nothing that they agree in.
        """
        return any(HARNESS not in seen.unmet for seen in self._shared)

    @property
    def _shared(self) -> set[Seen]:
        return set(self.local) & set(self.contained)

    @property
    def steady(self) -> bool:
        """Whether each place, as often as it was tried, gave one answer."""
        return len(set(self.local)) == len(set(self.contained)) == 1

    @property
    def versions(self) -> set[str]:
        """What the tool said of itself: more than one word, and nothing was compared but versions."""
        return {seen.version for seen in (*self.local, *self.contained)} - {""}

    @property
    def explanation(self) -> str:
        """Why they differ; empty for no reason that is known."""
        return EXPLAINED.get(self.scenario, "")

    @property
    def kind(self) -> str:
        """In a word, for counting."""
        if self.same and self.steady:
            return NOT_COVERED if self.local[0].verdict == NOT_COVERED else "same"
        if self.same:
            return "wavering"
        return "explained" if self.explanation else "unexplained"

    def __str__(self) -> str:
        name = f"{self.target} × {self.scenario}"
        if self.kind in ("same", NOT_COVERED):
            return f"= {name}: {self.local[0]}"
        lines = [f"{'~' if self.same else '≠'} {name}: {self.explanation or self.kind.upper()}"]
        for place, all_seen in (("local:     ", self.local), ("containers:", self.contained)):
            lines += [f"    {place} {seen} {seen.words}" for seen in dict.fromkeys(all_seen)]
        return "\n".join(lines)


def compare(scenario: Scenario, target: str, seed: int, places: Sequence[Place]) -> Pair:
    """Run it in both places, again where they differ for no reason that is known."""
    local, contained = ([place.run(scenario, target, seed)] for place in places)
    while True:
        pair = Pair(target.rpartition("/")[2], scenario.scenario, tuple(local), tuple(contained))
        if pair.same or pair.explanation or len(local) >= TRIES:
            return pair
        for place, all_seen in zip(places, (local, contained), strict=True):
            all_seen.append(place.run(scenario, target, seed))


def both(results: Path) -> tuple[Place, Place]:
    """This machine's namespaces, and containers; the folders of the runs are made below ``results``."""
    return Place(make_environment("local"), results), Place(make_environment("docker"), results)


def pairs(targets: Sequence[str], specs: Sequence[str], seed: int, results: Path) -> Iterator[Pair]:
    """Every scenario with every target."""
    chosen = select(list(specs), backupchaos_scenarios, Path.cwd(), project=Path.cwd())
    places = both(results)
    for target in targets:
        for one in chosen:
            yield compare(one.scenario, TARGETS[target], seed, places)


def main() -> int:
    """A line for each; what differs stands out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", default=["tag:quick"])
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="keep the folders of the runs here")
    options = parser.parse_args()
    wrong = False
    with ExitStack() as stack:
        results = options.results or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-")))
        for target in options.target or TARGETS:
            counts: Counter[str] = Counter()
            versions: set[str] = set()
            for pair in pairs([target], options.scenario, options.seed, results):
                counts[pair.kind] += 1
                versions |= pair.versions
                print(pair, flush=True)
            told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            print(f"{target} ({' / '.join(sorted(versions))}): {counts.total()} compared, {told}", flush=True)
            if len(versions) > 1:
                print(f"{target} is not the same program in both places", flush=True)
            wrong |= bool(counts["unexplained"]) or len(versions) > 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
