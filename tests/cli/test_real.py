"""The command line on the real engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backupchaos.engine import room
from backupchaos_cli.main import main

CLI = (sys.executable, "-m", "backupchaos_cli.main")


@pytest.mark.slow
@pytest.mark.needs("namespaces")
def test_a_real_run(tmp_path: Path) -> None:
    (tmp_path / "small.chaos.yaml").write_text(
        "scenario: small\ntitle: Small\nsource: {files: 10, size: 1MiB, new: 1MiB}\nrepository: local\n"
        "expect: {outcome: success}\n"
    )
    done = subprocess.run(
        [*CLI, "run", "small.chaos.yaml", "--seed=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 run: 1 pass" in done.stdout
    assert (tmp_path / ".backupchaos/report.html").is_file()


@pytest.mark.needs("namespaces")
def test_a_fault_of_the_link_and_a_local_repository(tmp_path: Path) -> None:
    """No word of a broken harness: the reason, and nothing was run."""
    words = [*CLI, "run", "network_loss", "--repository=local"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "network_loss: skipped: link: network." in done.stdout
    assert "needs a link, and a local repository has none" in done.stdout
    assert "harness" not in done.stdout


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(("option", "code"), [("--dry-run", 0), ("--quiet", 2)])
def test_more_than_the_memory_is_refused_before_it_is_filled(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    option: str,
    code: int,
) -> None:
    """In the plan and in the run alike; the machine is said to have less than it has."""
    monkeypatch.setattr(room, "_machine", lambda: 3 * 2**20)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big.chaos.yaml").write_text(
        "scenario: big\ntitle: Big\nsource: {size: 1MiB, new: 0B, files: 1}\n"
    )
    assert main(["run", "big.chaos.yaml", option]) == code
    out = capfd.readouterr().out
    assert "space: source, repository and restore would take 3.01MiB of memory" in out
    assert "2.7MiB may be taken here" in out
