"""A fault that cannot bite makes the run ``invalid``, never a pass: shown for every kind there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.faults import matrix
from tests.integration.unchecked import unchecked

from backupchaos.commands import Command
from backupchaos.engine.run import Run
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.base import Workspace
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]

LATE = {"when": {"after": 3600.0}}
OVER = {"when": {"exit": True}}
"""It comes into force when the job is over, and goes at once."""
BLINK = {"for": 0.001}
"""The fault is over before a job that has just been started can meet it."""
REMOTE, LOCAL = "sftp", "local"

TOOTHLESS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "link": (
        REMOTE,
        [
            {"network.down": "repository", **BLINK},
            {"network.slow": "repository", "rate": 2**30},
            {"network.latency": "repository", "delay": 0.05, **OVER},
            {"network.reset": "repository", **OVER},
            {"service.errors": "repository", **OVER},
            {"service.slow": "repository", **OVER},
            {"service.credentials_expire": "repository", **OVER},
        ],
    ),
    "silence": (REMOTE, [{"network.blackhole": "repository", **BLINK}]),
    "server": (REMOTE, [{"service.kill": "repository", **OVER}]),
    "pause": (LOCAL, [{"process.pause": "target", **OVER}]),
    "restart": (REMOTE, [{"service.restart": "repository", **OVER}]),
    "job": (
        LOCAL,
        [
            {"disk.full": "repository", "headroom": 32 * 2**20},
            {"file.locked": "source", **BLINK},
            {"permission.denied": "source", **BLINK},
            {"process.kill": "target", **OVER},
            {"process.concurrent": "target", **OVER},
            {"process.cpu": "target", "share": 0.5, **OVER},
            {"clock.jump": "target", "by": 3600.0, **OVER},
        ],
    ),
    **{kind: (LOCAL, [{kind: "repository", "pick": "largest"}]) for kind in sorted(matrix.DAMAGE)},
    "power.cut": (LOCAL, [{"power.cut": "repository", **LATE}]),
    "power.lying_disk": (LOCAL, [{"power.lying_disk": "repository", **LATE}]),
}
"""Kind of repository, and faults of one run that do not meet its job; in the matrix every kind, and a probe."""


class Littered(ReferenceTarget):
    """Its repository holds one large file that nobody needs: damage to it proves nothing."""

    def init(self, work: Workspace) -> Sequence[Command]:
        write = f"open({work.location.path + '/unused.bin'!r}, 'wb').write(bytes(range(256)) * 40000)"
        return (*super().init(work), Command((sys.executable, "-c", write)))


@pytest.mark.parametrize("group", TOOTHLESS)
def test_a_fault_without_teeth_is_invalid(group: str, run_here: Callable[..., Run]) -> None:
    repository, faults = TOOTHLESS[group]
    fields = {
        "scenario": "toothless",
        "title": "Faults that cannot bite",
        "source": {"files": 30, "size": 2**20, "new": 2**19},
        "repository": repository,
    }
    scenario = unchecked(fields, {f"f{number}": fault for number, fault in enumerate(faults)})
    run = run_here(scenario, ReferenceTarget() if repository == REMOTE else Littered())
    assert run.verdict is Verdict.INVALID, run.result.headline
    assert [fault.kind for fault in run.result.faults] == [next(iter(fault)) for fault in faults]
    rows = {check.id: check for check in run.checks}
    for fault in run.result.faults:
        assert (fault.started is None) is (fault.layer == "power"), fault
        assert not fault.bit, fault.proof
        row = rows[f"bite.{fault.name}"]
        assert row.verdict is Verdict.INVALID
        assert row.reason


@pytest.mark.parametrize(
    "fault",
    [
        {"disk.full": "repository", "headroom": 900 * 2**30},
        {"disk.nearly_full": "repository", "left": 900 * 2**30},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_numbers_that_do_not_fit_are_the_scenarios_mistake(
    fault: dict[str, Any], run_here: Callable[..., Run]
) -> None:
    scenario = Scenario.model_validate(
        {
            "scenario": "roomy",
            "title": "A fault that takes nothing away",
            "repository": LOCAL,
            "source": {"files": 12, "size": 256 * 1024, "new": 64 * 1024},
            "faults": {"full": fault},
        },
        strict=False,
    )
    run = run_here(scenario, ReferenceTarget())
    assert run.verdict is Verdict.INVALID
    assert [row.id for row in run.checks] == ["scenario"]
    told = f"{run.result.headline} {run.result.explanation}"
    assert "takes nothing away: leave" in told
    assert not any(word in told for word in ("Sorry", "harness broke", "report it"))


def test_much_left_on_a_disk_was_never_scarce(run_here: Callable[..., Run]) -> None:
    scenario = Scenario.model_validate(
        {
            "scenario": "roomy",
            "title": "A disk on which the job finds all the room it wants",
            "repository": LOCAL,
            "source": {"files": 12, "size": 256 * 1024, "new": 64 * 1024},
            "volumes": {"repository": 64 * 2**20},
            "faults": {"narrow": {"disk.nearly_full": "repository", "left": 60 * 2**20}},
        },
        strict=False,
    )
    run = run_here(scenario, ReferenceTarget())
    row = next(row for row in run.checks if row.id == "bite.narrow")
    assert run.verdict is row.verdict is Verdict.INVALID
    assert "leave less" in row.reason


def test_a_password_that_a_cut_link_kept_from_the_server_was_not_tried(run_here: Callable[..., Run]) -> None:
    """The server's greeting came each time, and no request after it."""
    scenario = Scenario.model_validate(
        {
            "scenario": "greeted",
            "title": "A wrong password behind a link that is cut at once",
            "repository": "sftp",
            "envelope": "either",
            "source": {"files": 12, "size": 256 * 1024, "new": 64 * 1024, "names": "portable"},
            "faults": {
                "secret": {"repository.wrong_password": "repository"},
                "cut": {"network.cut_after": "repository", "size": 300},
            },
        },
        strict=False,
    )
    run = run_here(scenario, ReferenceTarget(extra_env={"BACKUPCHAOS_REFERENCE_RETRY_BASE": "0.05s"}))
    assert run.verdict is Verdict.INVALID, run.result.headline
    assert {fault.name: bool(fault.proof) for fault in run.result.faults} == {"secret": False, "cut": True}
