"""The harness dies at one moment of one fault: ``python -m tests.faults.dying FOLDER MOMENT KIND``.

Prints the processes below it, with their start times, in the very moment before it kills itself. The job is the
universal probe; it is idle where the fault comes by itself and the probe's talk would only take time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults import matrix
from tests.faults.bench import bench
from tests.faults.echo import Echo
from tests.faults.universal import Universal
from tests.survivors import descendants

from backupchaos.errors import MissingCapability
from backupchaos.history import Event, History
from backupchaos.services import registry

APPLIED, UNDOING, ENDED = "applied", "undoing", "job.end"
"""Moments: a fault is in force; it is about to go; the job has ended, and whatever outlasts it is still there."""
LEAVE = "BACKUPCHAOS_TEST_LEAVES"
"""A variable: set, a process is left behind on purpose, and on its own."""


def die() -> None:
    """Tell who is there, and be gone without a word to anybody."""
    if LEAVE in os.environ:
        subprocess.Popen(
            ["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    print(json.dumps({"below": descendants(os.getpid())}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


class Doomed(History):
    """A history whose writer dies as soon as it has written of the moment."""

    moment = APPLIED

    def append(self, kind: str, *, at: float | None = None, **data: Any) -> Event:
        event = super().append(kind, at=at, **data)
        if self.moment == (data.get("status") if kind == "fault" else kind):
            die()
        return event


def run(folder: Path, kind: str) -> None:
    """Return only if the moment did not come. Raises what the engine raises, among it MissingCapability."""
    fault = matrix.fault(kind)
    idle = kind.startswith(matrix.REMOTE) and "when" not in fault
    options: dict[str, Any] = {"target": Universal(idle=idle), "deadline": 8.0, "history": Doomed}
    registry.service_for = lambda kind, prefer=None: Echo()
    with bench(folder, fault, (), repository=matrix.repository(kind), **options) as made:
        if kind.startswith(("cache.", "repository.")):
            made.world.run(Universal().backup(made.world.workspace), what="a job before")
        made.go()
        made.phases.end_lasting()


def main() -> None:
    """One fault, one death."""
    folder, Doomed.moment, kind = sys.argv[1:4]
    try:
        run(Path(folder), kind)
        print(json.dumps({"late": "the moment never came"}))
    except MissingCapability as missing:
        print(json.dumps({"missing": str(missing)}))


if __name__ == "__main__":
    main()
