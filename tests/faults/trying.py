"""Each kind of fault against the universal probe, once: used by the matrix, and run by itself as another user.

``python -m tests.faults.trying KIND...`` prints one line of JSON for each: what came of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.faults import matrix
from tests.faults.bench import Tried, bench
from tests.faults.echo import Echo
from tests.faults.universal import Universal

from backupchaos.environments.base import Environment
from backupchaos.errors import MissingCapability
from backupchaos.services import registry


def run(tmp_path: Path, kind: str, *, idle: bool, environment: Environment | None = None) -> Tried:
    """Raises what the engine raises, among it MissingCapability."""
    target = Universal(idle=idle)
    fault = matrix.fault(kind)
    options: dict[str, Any] = {
        "repository": matrix.repository(kind),
        "target": target,
        "deadline": 40.0,
        "environment": environment,
    }
    with bench(tmp_path, fault, (), **options) as made:
        if kind.startswith(("cache.", "repository.")):
            made.world.run(Universal().backup(made.world.workspace), what="a job before")
        return made.go()


def told(kind: str, result: Tried) -> dict[str, Any]:
    """What the matrix looks at."""
    seen = [event["status"] for event in result.events if event.kind == "fault"]
    return {
        "kind": kind,
        "proof": result.proof,
        "strays": result.strays,
        "seen": seen,
        "lines": result.lines[-20:],
    }


def main() -> None:
    """Every kind named on the command line."""
    registry.service_for = lambda kind, prefer=None: Echo()
    for kind in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                line = told(kind, run(Path(folder), kind, idle=False))
            except MissingCapability as missing:
                line = {"kind": kind, "missing": str(missing)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
