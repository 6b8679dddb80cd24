"""Faults in containers, at least one of each family: each bites, goes, and proves nothing where it met nobody.

The other kinds run in `benchmarks/parity.py`, as scenarios.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.docker.daemon import Environment
from tests.faults import matrix, trying
from tests.faults.bench import Tried, tried
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


def test_another_version_is_one_of_the_image_and_never_what_bears_its_name_there(
    tmp_path: Path, containers: Environment
) -> None:
    """``cat`` is in the image; ``HERE/cat``, which says that it is another one, is on this machine only."""
    here = tmp_path / "cat"
    here.write_text("#!/bin/sh\necho another\n", "utf-8")
    here.chmod(0o755)
    for program, why in ((str(here), "not there in the target's image"), ("python3", "runs anyway")):
        with pytest.raises(MissingCapability, match=why):
            drifted(tmp_path, program, containers)
    result = drifted(tmp_path, "cat", containers)
    assert result.proof and "/cat: " in result.proof[0]


def drifted(tmp_path: Path, program: str, containers: Environment) -> Tried:
    """A job of Python's that is done by another program."""
    fault = {"version.drift": "target", "program": program}
    return tried(tmp_path, fault, (sys.executable, "/dev/null"), environment=containers)


def test_a_disk_whose_power_can_be_cut_is_not_to_be_had(tmp_path: Path, containers: Environment) -> None:
    with pytest.raises(MissingCapability, match="no loop devices"):
        trying.run(tmp_path, "power.cut", idle=False, environment=containers)
