"""What the plugin costs a pytest run that uses no scenario: with it against without it, interleaved.

Prints medians and the ratio of whole processes; the machine's speed cancels out. Run it on a quiet machine:
``python benchmarks/startup.py [--rounds N]``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(arguments: list[str], folder: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    base = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text("def test_one():\n    assert True\n")
        variants = {"without": [*base, "-p", "no:backupchaos"], "with": base}
        for arguments in variants.values():
            timed(arguments, folder)
        times: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, arguments in variants.items():
                times[name].append(timed(arguments, folder))
    medians = {name: statistics.median(values) for name, values in times.items()}
    pairs = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    for name, median in medians.items():
        print(f"{name:8} {median * 1000:7.1f} ms median of {rounds}")
    print(f"ratio    {statistics.median(pairs):7.3f} (median of pairs)")
    print(f"cost     {(medians['with'] - medians['without']) * 1000:7.1f} ms (budget 15 ms)")


if __name__ == "__main__":
    main()
