"""SIGKILL of the harness while each kind of fault is in force, and while it is being undone: nothing is left.

``test_survivors`` kills every part of us under several faults at once; here each kind is alone, and none is left out.
The kinds of a layer die one after the other, each with a harness of its own; then the machine is looked at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import ordinary
from tests.faults import dying, matrix
from tests.hostwatch import Watch, canary
from tests.ordinary import python_of_nobody
from tests.survivors import alive, wait_until

from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
__all__ = ["python_of_nobody"]


def batch(layer: str, moment: str) -> list[str]:
    """The kinds of a layer that have such a moment: what happens at one instant is not undone."""
    kinds = sorted(kind for kind in KINDS if KINDS[kind].layer == layer)
    return [kind for kind in kinds if moment == dying.APPLIED or not KINDS[kind].instant]


LAYERS = sorted({spec.layer for spec in KINDS.values()})
BATCHES = [(layer, when) for layer in LAYERS for when in (dying.APPLIED, dying.UNDOING) if batch(layer, when)]
ORDINARY = [(layer, when) for layer, when in BATCHES if not matrix.NEEDS_ROOT.issuperset(batch(layer, when))]


@dataclass
class Deaths:
    """What there was to say about them; of each what it told, and how it ended."""

    told: dict[str, dict[str, Any]]
    error: str
    left: list[str]

    @property
    def below(self) -> dict[int, str]:
        """Every process that was running when its harness died, with its start time."""
        each = (told.get("below", {}) for told in self.told.values())
        return {int(pid): started for below in each for pid, started in below.items()}


def die(
    top: Path,
    moment: str,
    kinds: Sequence[str],
    python: Sequence[str] = (sys.executable,),
    patience: float = 20.0,
    **env: str,
) -> Deaths:
    """Run them in a folder of its own; what is left is what the kernel and one ``cleanup`` have not taken."""
    place = top / "place"
    place.mkdir()
    canary(place)
    (top / "results").mkdir()
    if python[0] != sys.executable:
        for folder in (place, top / "results"):
            ordinary.own(folder)
        env |= {"HOME": str(place), "PATH": ordinary.PATH}
    watch = Watch((place,), ())
    before = watch.look()
    environment = {**os.environ, "TMPDIR": str(place), "XDG_RUNTIME_DIR": str(place), **env}
    command = [*python, "-B", "-m", "tests.faults.dying", str(top / "results"), moment, *kinds]
    with subprocess.Popen(
        command,
        env=environment,
        cwd=ordinary.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        output, error = process.communicate(timeout=300)
    deaths = Deaths(_by_kind(output), error, [])
    harnesses = [told["pid"] for told in deaths.told.values()]
    wait_until(lambda: not alive(deaths.below), patience)
    watch = Watch(watch.folders, (process.pid, *harnesses, *deaths.below))
    heal = [*python, "-B", "-m", "backupchaos_cli.main", "cleanup"]
    subprocess.run(heal, env=environment, cwd=place, check=True, capture_output=True, timeout=60)
    deaths.left += [f"process {pid}" for pid in alive(deaths.below)] + watch.settled(before, patience)
    return deaths


def _by_kind(output: str) -> dict[str, dict[str, Any]]:
    """What the harness told, and then its parent."""
    told: dict[str, dict[str, Any]] = {}
    words: dict[str, Any] = {}
    for line in map(json.loads, output.splitlines()):
        words |= line
        if "kind" in line:
            told[line["kind"]], words = words, {}
    return told


def judge(deaths: Deaths, kinds: Sequence[str]) -> None:
    assert list(deaths.told) == list(kinds), deaths.error
    for kind, told in deaths.told.items():
        assert told["returncode"] == -signal.SIGKILL, f"{kind}: {told} {deaths.error}"
        assert told.get("below"), f"{kind}: nothing was running: the test kills thin air"
    assert deaths.left == []


@pytest.mark.parametrize(("layer", "moment"), BATCHES)
def test_nothing_is_left(layer: str, moment: str, tmp_path: Path) -> None:
    kinds = batch(layer, moment)
    judge(die(tmp_path, moment, kinds), kinds)


@pytest.mark.needs("ordinary-user", "setpriv", "/usr/bin/python3")
@pytest.mark.parametrize(("layer", "moment"), ORDINARY)
def test_nothing_of_an_ordinary_user_is_left(
    layer: str, moment: str, python_of_nobody: tuple[Path, str]
) -> None:
    top, python = python_of_nobody
    kinds = [kind for kind in batch(layer, moment) if kind not in matrix.NEEDS_ROOT]
    folder = top / f"{layer}-{moment}"
    folder.mkdir()
    judge(die(folder, moment, kinds, (*ordinary.BECOME, python)), kinds)


def test_what_is_left_is_noticed(tmp_path: Path) -> None:
    kinds = ["disk.full", "disk.slow"]
    deaths = die(tmp_path, dying.APPLIED, kinds, patience=1.0, **{dying.LEAVE: "disk.slow"})
    (survivor,) = [int(line.partition(" ")[2]) for line in deaths.left if line.startswith("process ")]
    os.kill(survivor, signal.SIGKILL)
