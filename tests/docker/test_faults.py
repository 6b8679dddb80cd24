"""Faults in containers, at least one of each family: each bites, goes, and proves nothing where it met nobody.

The other kinds run in `benchmarks/parity.py`, as scenarios.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docker.daemon import Environment
from tests.faults import matrix, trying
from tests.faults.echo import echo_service

from backupchaos.errors import MissingCapability
from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]
__all__ = ["echo_service"]
KINDS_HERE = (
    "network.down",
    "network.loss",
    "dns.failure",
    "disk.full",
    "disk.readonly",
    "disk.vanishes",
    "file.locked",
    "permission.denied",
    "process.kill",
    "process.oom",
    "process.pids",
    "process.cpu",
    "clock.jump",
    "service.kill",
)
IDLE = (
    "network.down",
    "disk.full",
    "disk.readonly",
    "file.locked",
    "process.oom",
    "process.pids",
    "dns.failure",
)


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_it_bites_and_goes(kind: str, tmp_path: Path, containers: Environment) -> None:
    told = trying.told(kind, trying.run(tmp_path, kind, idle=False, environment=containers))
    assert told["proof"], "\n".join(told["lines"])
    assert told["strays"] == []
    ends = [] if KINDS[kind].instant else ["undoing", "undone"]
    assert told["seen"] == ["applying", "applied", *ends]


@pytest.mark.parametrize("kind", IDLE)
def test_it_does_not_bite_who_touches_nothing(kind: str, tmp_path: Path, containers: Environment) -> None:
    assert not set(IDLE) & set(matrix.ALWAYS)
    result = trying.run(tmp_path, kind, idle=True, environment=containers)
    assert result.proof == []
    assert result.strays == []


def test_a_disk_whose_power_can_be_cut_is_not_to_be_had(tmp_path: Path, containers: Environment) -> None:
    with pytest.raises(MissingCapability, match="no loop devices"):
        trying.run(tmp_path, "power.cut", idle=False, environment=containers)
