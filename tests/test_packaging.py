"""What a user gets: the wheel's contents and its entry points."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.needs("python:build")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_only_our_packages_reach_site_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "backupchaos",
        "backupchaos_cli",
        "backupchaos_reference",
        "backupchaos_reports",
        "backupchaos_scenarios",
        "backupchaos_targets",
        "pytest_backupchaos",
    }


def test_data_and_types_are_packed(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {
        path.relative_to(root).as_posix()
        for root in (ROOT / "scenarios", ROOT / "reports")
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names
    assert "backupchaos_scenarios/scenario.schema.json" in names
    for package in ("backupchaos", "pytest_backupchaos", "backupchaos_reports"):
        assert f"{package}/py.typed" in names


def test_entry_points(wheel: zipfile.ZipFile) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(path).decode()
    assert "[pytest11]\nbackupchaos = pytest_backupchaos.plugin" in text
    assert "backupchaos = backupchaos_cli.main:main" in text
    for target in ("reference", "rclone", "borg", "restic", "command"):
        assert f"\n{target} = backupchaos_targets." in text
