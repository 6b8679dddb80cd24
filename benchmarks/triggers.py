"""How late faults come: timed triggers against their time, byte triggers against their byte.

A job waits while a cheap fault comes and goes; each coming is compared with the time that was asked for. Then a job
writes while a fault is due at a byte; the bytes that passed before it was in force are compared with that byte.
Once on an idle machine and once beside busy loops on every core. The load is part of the figure: read them as a pair.
``python benchmarks/triggers.py [--times N] [--rounds N]``, from the checkout.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.busy import load
from tests.faults.bench import bench, python

EVERY = 0.05
WRITE = """
import os
for number in range(32):
    with open('{repository}/f%d' % number, 'wb', buffering=0) as file:
        for _ in range(16):
            file.write(os.urandom(4096))
"""


def timed(times: int) -> list[float]:
    """Seconds by which each coming was late."""
    wait = (
        f"import time\nend = time.monotonic() + {times * EVERY + 1}\n"
        "while time.monotonic() < end: time.sleep(0.01)"
    )
    fault = {"disk.full": "repository", "for": EVERY / 5, "every": EVERY, "times": times}
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder), fault, python(wait)) as made:
        made.go()
        starts = [start for start, _ in made.fault.windows]
    return [later - earlier - EVERY for earlier, later in itertools.pairwise(starts)]


def counted(rounds: int) -> list[int]:
    """Bytes that had reached the volume beyond the byte at which the fault was due."""
    beyond = []
    for number in range(rounds):
        due = 200_000 + 12_345 * number
        fault = {"disk.full": "repository", "headroom": 0, "when": {"bytes": due}}
        with tempfile.TemporaryDirectory() as folder, bench(Path(folder), fault, python(WRITE)) as made:
            made.go()
            code = "import os;print(sum(os.stat(e.path).st_size for e in os.scandir('%s/repo')))"
            done = made.run(sys.executable, "-c", code % made.ground.repository)
            beyond.append(int(done.stdout) - due)
    return beyond


def show(title: str, late: list[float], beyond: list[int]) -> None:
    ordered = sorted(late)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(
        f"{title:6} timed: p50 {statistics.median(late) * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms of {len(late)}"
    )
    print(f"{title:6} bytes: beyond the trigger {sorted(beyond)} (a write call is 4096)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    show("idle", timed(chosen.times), counted(chosen.rounds))
    with load():
        show("loaded", timed(chosen.times), counted(chosen.rounds))


if __name__ == "__main__":
    main()
