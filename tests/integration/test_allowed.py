"""A tool that keeps its repository in a real folder of the machine, as scenario and user allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.model.scenario import Scenario
from backupchaos.targets.registry import resolve_target

from .conftest import RunHere

pytestmark = pytest.mark.needs("namespaces")
TARGET = """\
target: keeper
repository: local
env: {{OF_THE_SANDBOX: "{{repository}}"}}
backup: {{shell: "rm -rf {0}/new && cp -a {{source}}/. {0}/new && rm -rf {0}/kept && mv {0}/new {0}/kept"}}
restore: {{shell: "cp -a {0}/kept/. {{restore}}"}}
"""
FILE = """\
scenario: kept
title: The repository is a real folder
source: {{files: 10, size: 256KiB, new: 64KiB, names: portable}}
repository: local
allow: {{paths: [{0}]}}
expect: {{outcome: success}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the repository is; the target's file and the scenario's lie beside it."""
    place = tmp_path.resolve() / "repo"
    place.mkdir()
    (tmp_path / "keeper.yaml").write_text(TARGET.format(place))
    (tmp_path / "kept.chaos.yaml").write_text(FILE.format(place))
    return place


def kept(folder: Path, **more: object) -> Scenario:
    fields = {"source": {"files": 10, "size": 262144, "new": 65536, "names": "portable"}, **more}
    return Scenario.model_validate(
        {"scenario": "kept", "title": "T", "repository": "local", **fields}, strict=False
    )


def test_with_both_it_works_and_the_repository_stays(run_here: RunHere, folder: Path) -> None:
    target = resolve_target(str(folder.parent / "keeper.yaml"))
    run = run_here(kept(folder, allow={"paths": [str(folder)]}), target, allow=frozenset({str(folder)}))
    assert str(run.verdict) == "pass", run.result.headline
    assert len(list((folder / "kept").rglob("*"))) >= 10
    assert any(f"not made by this run, and allowed: {folder}" in note for note in run.result.notes)


def test_without_the_scenario_the_folder_is_out_of_reach(run_here: RunHere, folder: Path) -> None:
    target = resolve_target(str(folder.parent / "keeper.yaml"))
    run = run_here(kept(folder), target, allow=frozenset({str(folder)}))
    assert str(run.verdict) == "fail"
    assert list(folder.iterdir()) == []


def test_without_the_user_nothing_is_run(run_here: RunHere, folder: Path) -> None:
    target = resolve_target(str(folder.parent / "keeper.yaml"))
    with pytest.raises(UsageProblem, match=f"allow={folder}"):
        run_here(kept(folder, allow={"paths": [str(folder)]}), target)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("front", ["cli", "pytest"])
def test_the_message_names_the_option_that_then_works(front: str, folder: Path) -> None:
    words = {
        "cli": ["backupchaos_cli.main", "run", "kept.chaos.yaml", "--target=./keeper.yaml", "-q"],
        "pytest": [
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "kept.chaos.yaml",
            "--backup-target=./keeper.yaml",
        ],
    }[front]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *words, *more]
        return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120)

    refused = run()
    text = refused.stdout + refused.stderr
    assert refused.returncode == {"cli": 4, "pytest": 1}[front], text
    assert "Traceback" not in text
    option = text.partition("add: ")[2].split()[0]
    assert option == f"{'--allow' if front == 'cli' else '--backup-allow'}={folder}"
    assert list(folder.iterdir()) == []
    assert run(option).returncode == 0
    assert (folder / "kept").is_dir()
