"""What a sandbox costs, and each fault: coming (applied and verified) and going (undone and verified).

Figures are this machine's, so each is also given as a multiple of the cheapest command that a sandbox can run
(``true``), which was measured in between. Kinds that need a right which is missing here are named.
``python benchmarks/faults.py [--rounds N] [KIND...]``, from the checkout.
"""

from __future__ import annotations

import argparse
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults import matrix, trying
from tests.faults.echo import Echo

from backupchaos.commands import Command
from backupchaos.environments.base import Place, Sandbox
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability
from backupchaos.services import registry

VOLUMES = {Place.SOURCE: 64 << 20, Place.REPOSITORY: 64 << 20, Place.CACHE: 16 << 20, Place.TEMP: 16 << 20}


def took(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run_true(sandbox: Sandbox) -> None:
    """Start ``true`` and wait for its end."""
    with Path("/dev/null").open("r+b") as nothing:
        pid = sandbox.spawn(Command(("true",)), role="tool", stdout=nothing.fileno(), stderr=nothing.fileno())
    while not any(event.kind == "exit" and event.data["pid"] == pid for event in sandbox.events()):
        select.select([sandbox.fileno()], [], [], 10)


def sandboxes(rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds to open one, to run ``true`` in it, to close it."""
    opened, ran, closed = [], [], []
    environment = LocalEnvironment()
    for _ in range(rounds):
        start = time.perf_counter()
        holder = environment.sandbox(VOLUMES)
        sandbox = holder.__enter__()
        opened.append(time.perf_counter() - start)

        ran.append(took(lambda box=sandbox: run_true(box)))  # type: ignore[misc]
        closed.append(took(lambda box=holder: box.__exit__(None, None, None)))  # type: ignore[misc]
    return opened, ran, closed


def cost(kind: str) -> tuple[float, float]:
    """Seconds of its coming and of its going, from the history of one run against the probe."""
    with tempfile.TemporaryDirectory() as folder:
        result = trying.run(Path(folder), kind, idle=False)
    at = {event["status"]: event.t for event in result.events if event.kind == "fault"}
    return at["applied"] - at["applying"], at.get("undone", 0.0) - at.get("undoing", 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("kinds", nargs="*", default=matrix.PROBED)
    chosen = parser.parse_args()
    registry.service_for = lambda kind, prefer=None: Echo()
    opened, ran, closed = (statistics.median(times) for times in sandboxes(max(3, chosen.rounds)))
    print(
        f"sandbox: open {opened * 1000:.1f} ms, close {closed * 1000:.1f} ms; 'true' in it {ran * 1000:.1f} ms"
    )
    print(f"{'kind':28}{'comes':>10}{'goes':>10}{'x true':>9}")
    for kind in chosen.kinds:
        try:
            rounds = [cost(kind) for _ in range(chosen.rounds)]
        except MissingCapability as missing:
            print(f"{kind:28}{missing}")
            continue
        comes, goes = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"{kind:28}{comes * 1000:>7.1f} ms{goes * 1000:>7.1f} ms{(comes + goes) / ran:>9.1f}")


if __name__ == "__main__":
    main()
