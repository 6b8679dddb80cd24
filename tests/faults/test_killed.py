"""SIGKILL of the harness while each kind of fault is in force, and while it is being undone: nothing is left.

``test_survivors`` kills every part of us under several faults at once; here each kind is alone, and none is left out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import ordinary
from tests.faults import dying, matrix
from tests.hostwatch import Watch, canary
from tests.ordinary import python_of_nobody
from tests.survivors import alive, wait_until

from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
__all__ = ["python_of_nobody"]
LASTING = sorted(kind for kind in KINDS if not KINDS[kind].instant)
MOMENTS = [
    *((kind, dying.APPLIED) for kind in sorted(KINDS)),
    *((kind, dying.UNDOING) for kind in LASTING),
]


@dataclass
class Death:
    """What there was to say about one of them."""

    told: dict[str, object]
    returncode: int
    left: list[str]
    error: str


def die(top: Path, moment: str, kind: str, python: Sequence[str] = (sys.executable,), **env: str) -> Death:
    """Run it in a folder of its own; what is left is what the kernel and one ``cleanup`` have not taken."""
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
    command = [*python, "-B", "-m", "tests.faults.dying", str(top / "results"), moment, kind]
    with subprocess.Popen(
        command,
        env=environment,
        cwd=ordinary.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        output, error = process.communicate(timeout=120)
    told = json.loads(output or "{}")
    below: Mapping[int, str] = {int(pid): started for pid, started in told.get("below", {}).items()}
    wait_until(lambda: not alive(below), 20)
    watch = Watch(watch.folders, (process.pid, *below))
    heal = [*python, "-B", "-m", "backupchaos_cli.main", "cleanup"]
    subprocess.run(heal, env=environment, cwd=place, check=True, capture_output=True, timeout=60)
    left = [f"process {pid}" for pid in alive(below)] + watch.settled(before)
    return Death(told, process.returncode, left, error)


def judge(death: Death) -> None:
    assert death.returncode == -signal.SIGKILL, f"{death.told} {death.error}"
    assert death.told["below"], "nothing was running: the test kills thin air"
    assert death.left == []


@pytest.mark.parametrize(("kind", "moment"), MOMENTS)
def test_nothing_is_left(kind: str, moment: str, tmp_path: Path) -> None:
    judge(die(tmp_path, moment, kind))


@pytest.mark.needs("ordinary-user", "setpriv", "/usr/bin/python3")
@pytest.mark.parametrize("kind", sorted(set(KINDS) - matrix.NEEDS_ROOT))
def test_nothing_of_an_ordinary_user_is_left(kind: str, python_of_nobody: tuple[Path, str]) -> None:
    top, python = python_of_nobody
    folder = top / kind
    folder.mkdir()
    judge(die(folder, dying.APPLIED, kind, (*ordinary.BECOME, python)))


def test_what_is_left_is_noticed(tmp_path: Path) -> None:
    death = die(tmp_path, dying.APPLIED, "disk.full", **{dying.LEAVE: "yes"})
    (survivor,) = [int(line.partition(" ")[2]) for line in death.left if line.startswith("process ")]
    os.kill(survivor, signal.SIGKILL)
