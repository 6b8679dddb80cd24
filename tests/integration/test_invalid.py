"""A fault that cannot bite makes the run ``invalid``, never a pass: shown for every kind there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.engine.run import Run
from backupchaos.model.faults import KINDS
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.base import Workspace
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]

NEVER = {"bytes": 2**40}
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
    "repository.bitflip": {"repository.bitflip": "repository"},
    "repository.truncate": {"repository.truncate": "repository"},
    "repository.delete": {"repository.delete": "repository"},
}


class Littered(ReferenceTarget):
    """Its repository holds one large file that nobody needs: damage to it proves nothing."""

    def init(self, work: Workspace) -> Sequence[Command]:
        write = f"open({work.location.path + '/unused.bin'!r}, 'wb').write(bytes(range(256)) * 40000)"
        return (*super().init(work), Command((sys.executable, "-c", write)))


def test_every_kind_is_covered() -> None:
    assert set(TOOTHLESS) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(TOOTHLESS))
def test_a_fault_without_teeth_is_invalid(kind: str, run_here: Callable[..., Run]) -> None:
    remote = kind.startswith("network.")
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
