"""An ordinary user without any rights, for tests that run as root: becoming one, and a Python that one can reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import backupchaos

NOBODY = 65534
BECOME = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
ROOT = Path(backupchaos.__file__).parents[2]
ROOTS = ("harness", "plugins", "reports", "scenarios")
REACH = "import pydantic, asyncssh, yaml, zstandard, backupchaos_cli.main"
PATH = "/usr/local/bin:/usr/bin:/bin"


def reachable_python(top: Path) -> str:
    """An interpreter with our code and its dependencies below ``top``, a folder that every user can reach."""
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", top / "venv"], check=True, timeout=120)
    (packages,) = (top / "venv/lib").glob("python3*/site-packages")
    folders = [*(str(ROOT / name) for name in ROOTS), str(ROOT), sysconfig.get_path("purelib")]
    (packages / "all.pth").write_text("".join(f"{folder}\n" for folder in folders))
    return str(top / "venv/bin/python3")


def interpreter(run: Callable[..., subprocess.CompletedProcess[str]], check: str) -> str:
    """A Python that the user can run and that passes ``check``; empty if there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if run(python, "-c", check).returncode == 0:
                return python
        except OSError:
            continue
    return ""


def works(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether the command can be run at all."""
    try:
        return subprocess.run(command, env=env, cwd="/", capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def own(top: Path) -> None:
    """Give a folder and what is in it to the ordinary user."""
    for path in [top, *top.rglob("*")]:
        os.lchown(path, NOBODY, NOBODY)


@pytest.fixture(scope="module")
def python_of_nobody() -> Iterator[tuple[Path, str]]:
    """(A folder of theirs, a Python that they can run.)"""
    top = Path("/var/tmp") / f"nobody-{os.getpid()}"  # pytest's own folders are closed to others
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir(mode=0o755)
    try:
        python = reachable_python(top)
        (top / "tmp").mkdir()
        own(top / "tmp")
        if not works([*BECOME, python, "-c", REACH], {"PATH": PATH}):
            pytest.skip(
                "the system's Python cannot load our dependencies, or no ordinary user can reach them"
            )
        yield top, python
    finally:
        shutil.rmtree(top, ignore_errors=True)
