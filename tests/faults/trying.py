"""Each kind of fault against the universal probe, once: used by the matrix, and run by itself as another user.

``python -m tests.faults.trying KIND...`` prints two lines of JSON for each, what came of it when the probe worked and
when it was idle; only one if the kind cannot be had.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults import matrix
from tests.faults.bench import Bench, Tried, bench
from tests.faults.echo import Echo, HttpEcho
from tests.faults.universal import Universal

from backupchaos.checks.case import Case
from backupchaos.checks.judge import evaluate, overall
from backupchaos.environments.base import Environment
from backupchaos.errors import MissingCapability
from backupchaos.results import Verdict
from backupchaos.services import registry


@dataclass
class Judged(Tried):
    """And what the engine's judge makes of it, with what shows that the fault was met, and whether it was at all."""

    verdict: Verdict = Verdict.UNVERIFIED
    row: Verdict = Verdict.UNVERIFIED
    observed: str = ""


@contextmanager
def made_for(
    folder: Path, kind: str, fault: dict[str, Any], target: Universal, **options: Any
) -> Iterator[Bench]:
    """A bench with the repository that the kind needs, and with what a job before has stored there."""
    target.seconds, target.http = matrix.seconds(kind), kind in matrix.HTTP
    service = HttpEcho if target.http else Echo
    with (
        mock.patch.object(registry, "make_service", lambda kind, prefer=None: service()),
        bench(folder, fault, (), repository=matrix.repository(kind), target=target, **options) as made,
    ):
        if kind.startswith(("cache.", "repository.")) or fault[kind] in ("cache", "temp"):
            made.world.run(target.backup(made.world.workspace), what="a job before")
        yield made


def run(
    tmp_path: Path,
    kind: str,
    *,
    idle: bool,
    environment: Environment | None = None,
    fault: dict[str, Any] | None = None,
) -> Judged:
    """``fault`` is another than the table's. Raises what the engine raises, among it MissingCapability."""
    target = Universal()
    fault = fault or (matrix.missed(kind) if idle else matrix.fault(kind))
    with made_for(tmp_path, kind, fault, target, deadline=20.0, environment=environment) as made:
        if idle:
            _lie_down(made, target)
        tried = made.go()
        made.phases.end_lasting()
        if kind in matrix.DAMAGE:
            made.phases.verify()
        return _judged(made, tried)


def _lie_down(made: Bench, target: Universal) -> None:
    """Only the job is idle: what a fault has done before it, such as one more job, is work."""
    made.world.run(target.litter(made.world.workspace), what="litter")
    prepare = made.fault.prepare

    def then_idle() -> None:
        prepare()
        target.idle = True

    setattr(made.fault, "prepare", then_idle)  # noqa: B010 - a method is no attribute to the type checker


def _judged(made: Bench, tried: Tried) -> Judged:
    history, proof = made.world.history, made.fault.bite()
    history.append("bite", name="fault", proof=proof)
    rows = evaluate(Case(made.phases.scenario, made.world.profile, history.events))
    (row,) = (row for row in rows if row.id == "bite.fault")
    return Judged(
        tried.job,
        tried.lines,
        history.events,
        proof,
        made.fault.strays(),
        tried.fault,
        overall(rows),
        row.verdict,
        row.observed,
    )


def told(kind: str, result: Judged) -> dict[str, Any]:
    """What the matrix looks at."""
    seen = [event["status"] for event in result.events if event.kind == "fault"]
    return {
        "kind": kind,
        "proof": result.proof,
        "strays": result.strays,
        "seen": seen,
        "verdict": str(result.verdict),
        "row": str(result.row),
        "observed": result.observed,
        "lines": result.lines[-20:],
    }


def main() -> None:
    """Every kind named on the command line."""
    for kind in sys.argv[1:]:
        for idle in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    line = told(kind, run(Path(folder), kind, idle=idle))
                except MissingCapability as missing:
                    line = {"kind": kind, "missing": str(missing)}
            print(json.dumps({**line, "idle": idle}), flush=True)
            if "missing" in line:
                break


if __name__ == "__main__":
    main()
