"""The harness dies at one moment of one fault: ``python -m tests.faults.dying FOLDER MOMENT KIND...``.

Each kind has a harness of its own, forked from one that has loaded everything already. It prints the processes below
it, with their start times, in the very moment before it kills itself; then its parent prints how it ended. The job is
the universal probe; it is idle where the fault comes by itself and the probe's talk would only take time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tests.faults import matrix
from tests.faults.trying import made_for
from tests.faults.universal import Universal
from tests.survivors import descendants

from backupchaos.errors import MissingCapability
from backupchaos.faults.registry import mechanisms
from backupchaos.history import Event, History

APPLIED, UNDOING, ENDED = "applied", "undoing", "job.end"
"""Moments: a fault is in force; it is about to go; the job has ended, and whatever outlasts it is still there."""
LEAVE = "BACKUPCHAOS_TEST_LEAVES"
"""A variable: the harness that dies under this kind of fault leaves a process behind on purpose, and on its own."""


def die(kind: str) -> None:
    """Tell who is there, and be gone without a word to anybody."""
    if os.environ.get(LEAVE) == kind:
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
            die(str(data.get("fault")))
        return event


def run(folder: Path, kind: str) -> None:
    """Return only if the moment did not come. Raises what the engine raises, among it MissingCapability."""
    fault = matrix.fault(kind)
    target = Universal(idle=kind.startswith(matrix.REMOTE) and "when" not in fault)
    with made_for(folder, kind, fault, target, deadline=8.0, history=Doomed) as made:
        made.go()
        made.phases.end_lasting()


def child(folder: Path, kind: str) -> NoReturn:
    """One fault, one death."""
    try:
        run(folder, kind)
        print(json.dumps({"late": "the moment never came"}), flush=True)
    except MissingCapability as missing:
        print(json.dumps({"missing": str(missing)}), flush=True)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def main() -> None:
    """One after the other."""
    folder, Doomed.moment, *kinds = sys.argv[1:]
    mechanisms()
    for kind in kinds:
        (Path(folder) / kind).mkdir()
        pid = os.fork()
        if not pid:
            child(Path(folder) / kind, kind)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"kind": kind, "pid": pid, "returncode": code}), flush=True)


if __name__ == "__main__":
    main()
