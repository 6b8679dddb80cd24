"""A fault that cannot bite makes the run ``invalid``, never a pass: shown for every kind there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.faults import matrix

from backupchaos.commands import Command
from backupchaos.engine.run import Run
from backupchaos.model.faults import KINDS
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.base import Workspace
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]

NEVER = {"bytes": 2**40}
LATE = {"after": 3600.0}
BLINK = {"for": 0.001}
"""The fault is over before a job that has just been started can meet it."""

TOOTHLESS: dict[str, dict[str, Any]] = {
    "network.down": {"network.down": "repository", **BLINK},
    "network.blackhole": {"network.blackhole": "repository", **BLINK},
    "network.reset": {"network.reset": "repository", "when": NEVER},
    "network.slow": {"network.slow": "repository", "rate": 2**30},
    "network.latency": {"network.latency": "repository", "delay": 0.05, "when": NEVER},
    "disk.full": {"disk.full": "repository", "headroom": 32 * 2**20},
    "file.locked": {"file.locked": "source", **BLINK},
    "permission.denied": {"permission.denied": "source", **BLINK},
    "process.kill": {"process.kill": "target", "when": {"after": 3600.0}},
    "process.pause": {"process.pause": "target", "when": {"attempt": 9}, "for": 1.0},
    "process.concurrent": {"process.concurrent": "target", "when": LATE},
    "process.cpu": {"process.cpu": "target", "share": 0.5, "when": LATE},
    "power.cut": {"power.cut": "repository", "when": LATE},
    "power.lying_disk": {"power.lying_disk": "repository", "when": LATE},
    "clock.jump": {"clock.jump": "target", "by": 3600.0, "when": LATE},
    "service.kill": {"service.kill": "repository", "when": LATE},
    "service.restart": {"service.restart": "repository", "when": LATE},
    "service.errors": {"service.errors": "repository", "when": LATE},
    "service.slow": {"service.slow": "repository", "when": LATE},
    "service.credentials_expire": {"service.credentials_expire": "repository", "when": LATE},
    "repository.bitflip": {"repository.bitflip": "repository"},
    "repository.truncate": {"repository.truncate": "repository"},
    "repository.delete": {"repository.delete": "repository"},
}


ELSEWHERE = {
    "repository.swapped": "test_repository_state: a job that stays away from it",
    "service.throttle": "test_service_answers: who asks for nothing; the reference job speaks no HTTP",
}
"""Kinds whose toothless case needs a target that is no backup tool."""


class Littered(ReferenceTarget):
    """Its repository holds one large file that nobody needs: damage to it proves nothing."""

    def init(self, work: Workspace) -> Sequence[Command]:
        write = f"open({work.location.path + '/unused.bin'!r}, 'wb').write(bytes(range(256)) * 40000)"
        return (*super().init(work), Command((sys.executable, "-c", write)))


def test_every_kind_is_covered() -> None:
    """Here in a whole run; in the matrix against a program that touches nothing; or it cannot but bite."""
    idle = set(matrix.PROBED) - set(matrix.ALWAYS)
    always = {kind for kind in matrix.ALWAYS if KINDS[kind].whole_job}
    assert set(TOOTHLESS) | idle | always | set(ELSEWHERE) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(TOOTHLESS))
def test_a_fault_without_teeth_is_invalid(kind: str, run_here: Callable[..., Run]) -> None:
    remote = kind.startswith(("network.", "service."))
    scenario = Scenario.model_validate(
        {
            "scenario": "toothless",
            "title": "A fault that cannot bite",
            "source": {"files": 30, "size": 2**20, "new": 2**19},
            "repository": "sftp" if remote else "local",
            "faults": {"fault": TOOTHLESS[kind]},
        },
        strict=False,
    )
    run = run_here(scenario, ReferenceTarget() if remote else Littered())
    assert run.verdict is Verdict.INVALID, run.result.headline
    (fault,) = run.result.faults
    assert not fault.bit
    row = next(check for check in run.checks if check.id == "bite.fault")
    assert row.verdict is Verdict.INVALID
    assert row.reason


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
