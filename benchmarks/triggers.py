"""How late faults come: timed triggers against their time, byte triggers against their byte.

A job waits while a cheap fault comes and goes; each coming is compared with the time that was asked for. Then a job
writes while a fault is due at a byte; the bytes that passed before it was in force are compared with that byte. The same over
a link, where many faults come and go at bytes of their own, and the tap is asked for its count at each.
Once on an idle machine and once beside busy loops on every core. The load is part of the figure: read them as a pair.
``python benchmarks/triggers.py [--times N] [--rounds N]``, from the checkout.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.busy import load
from tests.faults.bench import bench, python
from tests.faults.echo import DIAL, Echo

from backupchaos.faults.network import Latency
from backupchaos.services import registry

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
    fault = {
        "disk.full": "repository",
        "when": {
            "after": EVERY
        },  # a fault that is there from the start comes before the job, and is no measure
        "for": EVERY / 5,
        "every": EVERY,
        "times": times,
    }
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder), fault, python(wait)) as made:
        tried = made.go()
        begun = next(event.t for event in tried.events if event.kind == "job.start")
        starts = [begun, *(start for start, _ in made.fault.windows)]
        assert len(starts) == times + 1, starts
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


SEND = DIAL + "sock = dial()\nfor number in range(80): echo(sock, bytes(5000))\n"
FIRST, STEP = 20_001, 7_003
"""Of the bytes at which the faults of a link are due: no multiples of what is sent at once."""


PASSED: list[int] = []


def watch_links() -> None:
    """Let each latency ask the tap for its count when it comes and when it goes."""

    def watched(word: str, key: str) -> None:
        whole = getattr(Latency, word)

        def watch(self: Latency) -> object:
            assert self.ground.link is not None
            due = getattr(getattr(self.spec, key), "bytes", 0)
            PASSED.append(self.ground.link.state()["up"] - (due or 0))
            return whole(self)

        setattr(Latency, word, watch)

    watched("apply", "when")
    watched("undo", "until")
    registry.service_for = lambda kind, prefer=None: Echo()


def linked(rounds: int) -> list[int]:
    """Bytes that the link had let pass beyond those at which faults were due to come, or to go."""
    PASSED.clear()
    for _ in range(rounds):
        faults = {
            f"late{n}" if n else "fault": {
                "network.latency": "repository",
                "delay": 0.001,
                "when": {"bytes": FIRST + n * STEP},
                "until": {"bytes": FIRST + n * STEP + STEP // 2},
            }
            for n in range(40)
        }
        options: dict[str, Any] = {"repository": "rest", "faults": faults, "deadline": 60.0}
        with (
            tempfile.TemporaryDirectory() as folder,
            bench(Path(folder), {}, python(SEND), **options) as made,
        ):
            made.phases.oracle.scan("M1", made.ground.source)
            made.phases.change()
            made.phases.fault()
    return list(PASSED)


def centiles(values: Sequence[float]) -> tuple[float, float]:
    """(p50, p99)."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def show(title: str, late: list[float], beyond: list[int], passed: list[int]) -> None:
    p50, p99 = centiles(late)
    print(f"{title:6} timed: p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms of {len(late)}")
    print(f"{title:6} bytes on a disk: beyond the trigger {sorted(beyond)} (a write call is 4096)")
    p50, p99 = centiles(passed)
    print(f"{title:6} bytes over a link: p50 {p50:g}, p99 {p99:g} beyond the trigger, of {len(passed)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    watch_links()
    for title, around in (("idle", nullcontext()), ("loaded", load())):
        with around:
            show(title, timed(chosen.times), counted(chosen.rounds), linked(chosen.rounds))


if __name__ == "__main__":
    main()
