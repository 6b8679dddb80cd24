"""What the harness does beside the target's own commands, so that nobody waits for it: it is seen all the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.engine.run import Run
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.base import Workspace
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.slow]
QUIET: dict[str, Any] = {"scenario": "quiet", "title": "Nothing breaks", "repository": "local"}
SMALL = {"files": 10, "size": 256 * 1024, "names": "portable"}


def quiet() -> Scenario:
    return Scenario.model_validate({**QUIET, "source": SMALL}, strict=False)


class Touching(ReferenceTarget):
    """Writes into the source after so many of its backups."""

    def __init__(self, after: int, what: str) -> None:
        super().__init__(name=f"touching-{after}")
        self._left, self._what = after, what

    def backup(self, work: Workspace) -> Command:
        command = super().backup(work)
        self._left -= 1
        if self._left:
            return command
        script = f"{shlex.join(command.argv)} && cd {shlex.quote(work.source)} && {self._what}"
        return replace(command, argv=("/bin/sh", "-c", script))


def test_nobody_waits_for_what_can_be_done_beside_a_command(run_here: Callable[..., Run]) -> None:
    run = run_here(quiet(), ReferenceTarget())
    assert run.verdict is Verdict.PASS
    told = [
        f"{event.kind} {event.data.get('what') or event.data.get('which') or event.data.get('when') or ''}"
        for event in run.events
    ]
    assert told.index("command version") < told.index("source ")
    assert told.index("command list control") < told.index("manifest M1.again")
    again = [at for at, what in enumerate(told) if what == "manifest M2.again"]
    states = [at for at, what in enumerate(told) if what == "command states"]
    assert len(again) == len(states) == 2
    assert states[1] < again[0] < told.index("command list after")
    assert told.index("residue at the end") < again[1]


@pytest.mark.parametrize("what", ["echo more > more", "rm -rf ./*"])
def test_a_control_job_that_changes_its_source_proves_nothing(
    what: str, run_here: Callable[..., Run]
) -> None:
    run = run_here(quiet(), Touching(1, what))
    assert run.verdict is Verdict.FAIL
    assert "the job changed the source it was to back up" in str(run.result), run.result.headline


@pytest.mark.parametrize(("job", "after"), [(2, "the job"), (3, "the run")])
def test_a_later_job_that_changes_its_source_has_failed(
    job: int, after: str, run_here: Callable[..., Run]
) -> None:
    run = run_here(quiet(), Touching(job, "echo more > more"))
    assert run.verdict is Verdict.FAIL, run.result.headline
    first = next(event for event in run.events if event.kind == "source.moved")
    assert first["after"] == after
    assert "more" in first["words"]
