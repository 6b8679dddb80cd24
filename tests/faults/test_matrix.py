"""Every kind of fault bites a program that is no backup tool, comes and goes, and proves nothing where it met nobody."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests import ordinary
from tests.faults import matrix, trying
from tests.faults.bench import Tried
from tests.faults.echo import echo_service
from tests.ordinary import python_of_nobody

from backupchaos.errors import MissingCapability
from backupchaos.faults.registry import mechanisms
from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
__all__ = ["echo_service", "python_of_nobody"]
LAYERS = sorted({KINDS[kind].layer for kind in matrix.PROBED})


def run(tmp_path: Path, kind: str, *, idle: bool) -> Tried:
    try:
        return trying.run(tmp_path, kind, idle=idle)
    except MissingCapability as missing:
        if kind.startswith("power."):
            pytest.skip(f"not for this machine: {missing}")
        raise


def bit_and_went(told: dict[str, Any]) -> None:
    """What the matrix asks of each line."""
    assert told["proof"], "\n".join(told["lines"])
    assert told["strays"] == []
    ends = [] if KINDS[told["kind"]].instant else ["undoing", "undone"]
    assert told["seen"] == ["applying", "applied", *ends]


def test_every_kind_has_a_mechanism() -> None:
    assert set(mechanisms()) == set(KINDS)


@pytest.mark.parametrize("kind", matrix.PROBED)
def test_it_bites_and_goes(kind: str, tmp_path: Path) -> None:
    bit_and_went(trying.told(kind, run(tmp_path, kind, idle=False)))


@pytest.mark.parametrize("kind", sorted(set(matrix.PROBED) - set(matrix.ALWAYS) - set(matrix.NOT_IDLE)))
def test_it_does_not_bite_who_touches_nothing(kind: str, tmp_path: Path) -> None:
    result = run(tmp_path, kind, idle=True)
    assert result.proof == []
    assert result.strays == []


@pytest.mark.needs("ordinary-user", "setpriv", "/usr/bin/python3")
@pytest.mark.parametrize("layer", LAYERS)
def test_an_ordinary_user_has_it_too(layer: str, python_of_nobody: tuple[Path, str]) -> None:
    top, python = python_of_nobody
    kinds = [kind for kind in matrix.PROBED if KINDS[kind].layer == layer]
    done = subprocess.run(
        [*ordinary.BECOME, python, "-B", "-m", "tests.faults.trying", *kinds],
        env={"PATH": ordinary.PATH, "TMPDIR": str(top / "tmp"), "HOME": str(top / "tmp")},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["kind"] for line in lines] == kinds
    assert {line["kind"] for line in lines if "missing" in line} == matrix.NEEDS_ROOT & set(kinds), lines
    for line in lines:
        if "missing" not in line:
            bit_and_went(line)
