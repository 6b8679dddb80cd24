"""What the harness costs beyond the tool itself: one run against the sum of the commands it ran.

The history knows how long each of the target's own commands took (jobs, lists, restores, checks); the rest
of the run's wall time is the harness: sandbox, source tree, manifests, comparisons, judging. Prints the ratio.
``python benchmarks/overhead.py [--rounds N] [--scenario NAME] [--target NAME]``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import run_scenario
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.targets.registry import resolve_target
from backupchaos_scenarios import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenario", default="normal")
    parser.add_argument("--target", default="reference")
    chosen = parser.parse_args()
    ratios: list[float] = []
    rests: list[float] = []
    for number in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            options = RunOptions(LocalEnvironment(), Path(folder), seed=number)
            run = run_scenario(load(chosen.scenario), resolve_target(chosen.target), options)
        tool = sum(event["seconds"] for event in run.events if event.kind in {"command", "job.end"})
        ratios.append(run.result.duration / tool)
        rests.append(run.result.duration - tool)
        print(
            f"round {number + 1}: {run.result.verdict}, run {run.result.duration:.2f} s, the tool's own commands {tool:.2f} s"
        )
    print(f"ratio   {statistics.median(ratios):.3f} (median; budget 1.10 and 0.3 s)")
    print(f"harness {statistics.median(rests):.2f} s beyond the tool")


if __name__ == "__main__":
    main()
