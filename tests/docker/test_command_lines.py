"""What users type: options of pytest and of the command line, and what they get where Docker or an image is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("docker")
TARGET = """\
target: tar
image: {image}
backup: {{shell: 'tar -C {{source}} -cf {{repository}}/all.tar .'}}
restore: {{shell: 'tar -C {{restore}} -xpf {{repository}}/all.tar'}}
version: {{run: /opt/test/version}}
promises: {{aspects: [content], features: [], history: false}}
"""
GONE = {"DOCKER_HOST": "unix:///nobody/listens/here"}
FAR = {"DOCKER_HOST": "tcp://127.0.0.1:1"}


def run(top: Path, *words: str, **env: str) -> tuple[int, str]:
    """``backupchaos run normal --env=docker`` with more words."""
    command = [sys.executable, "-m", "backupchaos_cli.main", "run", "normal", "--env=docker", "-q", *words]
    done = subprocess.run(
        command, cwd=top, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def pytest_run(top: Path, *words: str, **env: str) -> tuple[int, str]:
    """pytest with nothing but the scenario ``normal`` in containers."""
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider"]
    command += ["--backup-scenario=normal", "--backup-env=docker", *words]
    done = subprocess.run(
        command, cwd=top, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_without_docker_a_scenario_is_skipped_with_the_reason(tmp_path: Path) -> None:
    code, said = pytest_run(tmp_path, **GONE)
    assert code == 0 and "no Docker daemon answers" in said and "1 skipped" in said, said


def test_without_docker_it_fails_where_docker_is_required(tmp_path: Path) -> None:
    code, said = pytest_run(tmp_path, "--backup-require=docker", **GONE)
    assert code == 1 and "no Docker daemon answers" in said and "skipped" not in said.splitlines()[-1], said


def test_a_target_file_names_its_image(tmp_path: Path, image: str) -> None:
    (tmp_path / "tar.yaml").write_text(TARGET.format(image=image), "utf-8")
    code, said = run(tmp_path, "--target=tar.yaml", "--seed=1")
    assert code == 0 and "made for this test" in said, said


@pytest.mark.parametrize(("policy", "words"), [("never", "is not here"), ("missing", "could not be pulled")])
def test_images_are_pulled_only_if_allowed(policy: str, words: str, tmp_path: Path) -> None:
    image = "127.0.0.1:1/nobody/has:this"
    (tmp_path / "tar.yaml").write_text(TARGET.format(image=image), "utf-8")
    _, said = run(tmp_path, "--target=tar.yaml", f"--pull={policy}")
    assert image in said and words in said and "skipped" in said, said


def test_a_remote_daemon_is_refused_unless_asked_for(tmp_path: Path, forward: str) -> None:
    _, said = run(tmp_path, DOCKER_HOST=forward)
    assert "is not on this machine" in said and "skipped" in said, said
    code, said = run(tmp_path, "--allow-remote-docker", "--seed=1", DOCKER_HOST=forward)
    assert code == 0, said
