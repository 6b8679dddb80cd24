"""Every kind of fault bites a program that is no backup tool, comes and goes, and proves nothing where it met nobody.

Each for root and for an ordinary user; and the machine is afterwards as it was. That nothing is left when the harness
is killed meanwhile is in ``test_killed``; ``test_columns`` sees to it that no kind is left out of anything.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import ordinary
from tests.faults import matrix, trying
from tests.hostwatch import Watch, canary
from tests.ordinary import python_of_nobody

from backupchaos.errors import MissingCapability
from backupchaos.faults.registry import mechanisms
from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
__all__ = ["python_of_nobody"]
LAYERS = sorted({KINDS[kind].layer for kind in matrix.PROBED})


def of_layer(layer: str) -> list[str]:
    return [kind for kind in matrix.PROBED if KINDS[kind].layer == layer]


IDLE = (False, True)


@pytest.fixture(scope="module", autouse=True)
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever root's tests did here, nothing of it is left on the machine."""
    folder = tmp_path_factory.mktemp("watched")
    canary(folder)
    watch = Watch((folder,))
    before = watch.look()
    yield
    assert watch.settled(before) == []


def run(tmp_path: Path, kind: str, *, idle: bool) -> dict[str, Any]:
    try:
        return trying.told(kind, trying.run(tmp_path, kind, idle=idle))
    except MissingCapability as missing:
        if kind in matrix.NEEDS_ROOT:
            pytest.skip(f"not for this machine: {missing}")
        raise


def came_and_went(told: dict[str, Any]) -> None:
    """What the matrix asks of each line: in force, and verified to be gone, if it is something that goes."""
    ends = [] if KINDS[told["kind"]].instant else ["undoing", "undone"]
    assert told["seen"] == ["applying", "applied", *ends], told
    assert told["strays"] == []


def bit(told: dict[str, Any]) -> None:
    assert told["proof"], "\n".join(told["lines"])
    assert told["row"] == "pass"


def met_nobody(told: dict[str, Any]) -> None:
    """In force while there was a job that touches nothing: no proof, and no verdict on the job."""
    if told["kind"] in matrix.ALWAYS:
        bit(told)
        return
    assert told["proof"] == []
    assert told["row"] == told["verdict"] == "invalid"
    assert told["observed"] == "applied, but nothing shows that the job met it"


def test_every_kind_has_a_mechanism() -> None:
    assert set(mechanisms()) == set(KINDS)


@pytest.mark.parametrize("kind", matrix.PROBED)
def test_it_bites_and_goes(kind: str, tmp_path: Path) -> None:
    told = run(tmp_path, kind, idle=False)
    came_and_went(told)
    bit(told)


@pytest.mark.parametrize("kind", matrix.PROBED)
def test_it_does_not_bite_who_touches_nothing(kind: str, tmp_path: Path) -> None:
    told = run(tmp_path, kind, idle=True)
    came_and_went(told)
    met_nobody(told)


@pytest.mark.needs("ordinary-user", "setpriv", "/usr/bin/python3")
@pytest.mark.parametrize("layer", LAYERS)
def test_an_ordinary_user_has_it_too(layer: str, python_of_nobody: tuple[Path, str]) -> None:
    top, python = python_of_nobody
    kinds = of_layer(layer)
    lines = _tried_by_nobody(top / layer, python, kinds)
    wanted = [(kind, idle) for kind in kinds for idle in IDLE if not (idle and kind in matrix.NEEDS_ROOT)]
    assert [(line["kind"], line["idle"]) for line in lines] == wanted
    assert {line["kind"] for line in lines if "missing" in line} == matrix.NEEDS_ROOT & set(kinds), lines
    for line in lines:
        if "missing" not in line:
            came_and_went(line)
            (met_nobody if line["idle"] else bit)(line)


@pytest.mark.needs("ordinary-user", "setpriv", "/usr/bin/python3")
@pytest.mark.parametrize("layer", LAYERS)
def test_what_an_ordinary_user_has_of_it_without_namespaces(
    layer: str, python_of_nobody: tuple[Path, str]
) -> None:
    top, python = python_of_nobody
    kinds = of_layer(layer)
    lines = _tried_by_nobody(top / f"{layer}-plain", python, kinds, BACKUPCHAOS_SANDBOX="plain")
    assert {line["kind"] for line in lines} == set(kinds)
    missing = {line["kind"] for line in lines if "missing" in line}
    assert missing - matrix.KERNEL_WILLING - matrix.UNSEEN_PLAIN == matrix.NOT_PLAIN & set(kinds), lines
    for line in lines:
        if "missing" not in line:
            came_and_went(line)
            (met_nobody if line["idle"] else bit)(line)


def _tried_by_nobody(place: Path, python: str, kinds: list[str], **env: str) -> list[dict[str, Any]]:
    """What the probe tells; raises if it left anything on the machine."""
    place.mkdir()
    canary(place)
    ordinary.own(place)
    watch = Watch((place,), ())
    before = watch.look()
    with subprocess.Popen(
        [*ordinary.BECOME, python, "-B", "-m", "tests.faults.trying", *kinds],
        env={
            "PATH": ordinary.PATH,
            **dict.fromkeys(("TMPDIR", "HOME", "XDG_RUNTIME_DIR"), str(place)),
            **env,
        },
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, error = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 0, error
    assert Watch(watch.folders, (process.pid,)).settled(before) == []
    return [json.loads(line) for line in output.splitlines()]
