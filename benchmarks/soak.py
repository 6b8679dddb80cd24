"""The checker over many seeds: the honest job must never be accused, a planted misbehaviour always be reported.

Runs the small worlds of the tests. ``python benchmarks/soak.py [--honest RUNS] [--seeds N] [--load]``, from the
checkout; ``--load`` keeps every core busy meanwhile. Prints each run that was judged wrongly; exit 1 if there was one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.busy import load
from tests.integration import test_sensitivity as sensitivity
from tests.integration import worlds

from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import Run, run_scenario
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.results import Verdict
from backupchaos_targets.reference import ReferenceTarget


def once(world: str, seed: int, *misbehaviours: str) -> Run:
    """One run; its files are thrown away."""
    target = ReferenceTarget(misbehave=misbehaviours, extra_env=worlds.FAST)
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(environment=LocalEnvironment(), results=Path(folder), seed=seed)
        return run_scenario(worlds.WORLDS[world], target, options)


def told(run: Run) -> str:
    """The verdict and the rows behind it."""
    rows = "; ".join(f"{c.id} {c.verdict}: {c.observed}" for c in run.checks if c.verdict is not Verdict.PASS)
    return f"{run.verdict}: {rows}"


def honest(runs: int) -> int:
    """Number of runs of the honest job that were not a pass."""
    names = sorted(set(worlds.WORLDS) - worlds.NEEDS_A_LOCK)
    verdicts: Counter[str] = Counter()
    for number, name in zip(range(runs), itertools.cycle(names), strict=False):
        seed = 1000 + number
        run = once(name, seed)
        verdicts[str(run.verdict)] += 1
        if run.verdict is not Verdict.PASS:
            print(f"honest job accused in {name}, seed {seed}: {told(run)}", flush=True)
    print(f"honest: {dict(verdicts)} of {runs} runs in {len(names)} worlds", flush=True)
    return runs - verdicts["pass"]


def planted(seeds: int) -> int:
    """Number of runs in which a misbehaviour was not reported by the rows that must report it."""
    missed = 0
    for name, (world, rows) in sorted(sensitivity.PLANTED.items()):
        for seed in range(2000, 2000 + seeds):
            run = once(world, seed, name)
            found = {check.id for check in run.checks if check.verdict is Verdict.FAIL}
            if run.verdict is not Verdict.FAIL or not rows <= found:
                missed += 1
                print(f"{name} not reported in {world}, seed {seed}: {told(run)}", flush=True)
    print(
        f"planted: {len(sensitivity.PLANTED)} misbehaviours over {seeds} seeds, {missed} missed", flush=True
    )
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--honest", type=int, default=200, help="runs of the honest job")
    parser.add_argument("--seeds", type=int, default=5, help="seeds for each misbehaviour")
    parser.add_argument("--load", action="store_true")
    chosen = parser.parse_args()
    with load() if chosen.load else nullcontext():
        wrong = honest(chosen.honest) + planted(chosen.seeds)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
