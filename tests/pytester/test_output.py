"""What is printed and written: header, summary, JUnit, live progress, reports of interrupted runs."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


def test_nothing_is_said_when_no_scenario_runs(using: pytest.Pytester) -> None:
    result = using.runpytest("-k", "test_plain")
    result.stdout.no_fnmatch_line("*backup*:*")
    assert not (using.path / ".backupchaos").exists()


def test_few_runs_are_shown_in_full_many_in_a_line_each_but_failures(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        f"--backup-scenario={name}" for name in ("normal", "disk_full", "network_loss", "network_slow")
    ]
    result = project.runpytest(*options[:3])
    for name in ("normal", "disk_full", "network_loss"):
        result.stdout.fnmatch_lines([f"what it claims*seen by {name} *pass"])
    result.stdout.fnmatch_lines(
        ["3 runs: 3 pass", "report: *", "replay: pytest --backup-scenario=normal --backup-seed=*"]
    )
    monkeypatch.setenv("FAKE_VERDICTS", "disk_full=fail,network_slow=unverified")
    monkeypatch.setenv("FAKE_MISSING", "network_loss=volumes")
    result = project.runpytest(*options, "--tb=no")
    result.assert_outcomes(passed=1, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*pass*normal*",
            "*seen by disk_full*",
            "*skipped*network_loss*",
            "*seen by network_slow*",
            "4 runs: 1 pass, 1 fail (1 silent data loss), 1 unverified, 1 skipped",
            "not covered: 1 of 4 runs",
            "replay: pytest --backup-scenario=disk_full --backup-seed=*",
        ]
    )
    result.stdout.no_fnmatch_line("*seen by normal*")


def test_a_workflow_does_not_take_output_for_commands(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = project.runpytest("--backup-scenario=normal").outlines
    begin = next(i for i, line in enumerate(lines) if line.startswith("::stop-commands::"))
    token = lines[begin].rpartition("::")[2]
    end = lines.index(f"::{token}::")
    table = next(i for i, line in enumerate(lines) if "seen by normal" in line)
    assert len(token) >= 32
    assert begin < table < end


def test_junit_has_the_facts(using: pytest.Pytester) -> None:
    using.runpytest("--backup-scenario=disk_full", "--backup-seed=4", "--junitxml=junit.xml")
    cases = ET.parse(using.path / "junit.xml").getroot().iter("testcase")
    found = {
        case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in cases
    }
    for name in ("disk_full[reference]", "test_backup[disk_full]"):
        assert found[name]["backupchaos.scenario"] == "disk_full"
        assert found[name]["backupchaos.verdict"] == "pass"
        assert found[name]["backupchaos.seed"] == "4"


def test_a_replay_line_names_the_test(using: pytest.Pytester) -> None:
    result = using.runpytest("--backup-seed=9")
    result.stdout.fnmatch_lines(["replay: pytest test_it.py::test_backup --backup-seed=9"])


def run(folder: Path, *options: str, **env: str) -> str:
    done = subprocess.run(
        [*COMMAND, *options],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_plain_lines_appear_in_front_of_the_dots_and_are_harmless(using: pytest.Pytester) -> None:
    text = run(using.path, "--backup-scenario=network_loss")
    assert re.search(
        r"^backupchaos \n(\[\d\d:\d\d\] reference × network_loss: .*\n)+backupchaos \. +\[ 50%\]\n"
        r"test_it.py \n(\[\d\d:\d\d\] .*\n)+test_it.py \. +\[100%\]$",
        text,
        re.MULTILINE,
    ), text
    assert "phase control" in text
    assert "\x1b[2J" not in text
    assert "##[error]" not in text


def test_quiet_means_quiet(using: pytest.Pytester) -> None:
    text = run(using.path, "--backup-scenario=network_loss", "-q")
    assert "phase control" not in text
    assert text.startswith("..")


def test_a_terminal_gets_one_repainted_line(using: pytest.Pytester) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "FAKE_HANG": "normal"}
    env.pop("CI", None)
    process = subprocess.Popen(
        [*COMMAND, "--backup-scenario=normal"],
        cwd=using.path,
        env=env,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while seen.count(b"normal  00:0") < 3:
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = seen.decode()
    painted = re.findall("\x1b\\[13G\x1b\\[K(.*?)\x1b", text)
    assert any("reference × normal  00:0" in line for line in painted), text
    assert "phase control" not in text


def interrupt(folder: Path, *options: str) -> tuple[int, str]:
    """Start a run that hangs, press Ctrl-C once it does."""
    env = {**os.environ, "FAKE_HANG": "disk_full"}
    process = subprocess.Popen(
        [*COMMAND, *options],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (folder / ".backupchaos/runs/hanging").exists():
            assert time.monotonic() < deadline, "it never began"
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, text


def test_an_interrupted_session_still_has_its_report(project: pytest.Pytester) -> None:
    code, text = interrupt(
        project.path, "--backup-scenario=normal", "--backup-scenario=disk_full", "--backup-seed=12"
    )
    assert code == pytest.ExitCode.INTERRUPTED
    page = (project.path / ".backupchaos/report.html").read_text()
    assert "interrupted" in page
    assert "seen by normal" in page
    assert "2 runs: 1 pass, 1 invalid" in text
    assert "--backup-scenario=disk_full --backup-seed=12" in text
    assert "never started" not in text


def test_an_interrupted_session_counts_what_never_began(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_uses(testexecbackupjob):
            testexecbackupjob("network_loss")

        def test_plain():
            pass
        """
    )
    names = ("normal", "disk_full", "network_loss", "network_slow")
    _, text = interrupt(project.path, *(f"--backup-scenario={name}" for name in names))
    assert "2 runs: 1 pass, 1 invalid" in text
    assert "\n3 of 5 tests that make scenario runs were never started\n" in text


def test_what_never_began_is_told_if_nothing_ran_at_all(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def gone():
            raise KeyboardInterrupt
        """
    )
    text = run(project.path, "--backup-scenario=normal", "--backup-scenario=disk_full")
    assert "backup: 2 of 2 tests that make scenario runs were never started" in text


def test_a_list_of_tests_begins_none(project: pytest.Pytester) -> None:
    assert "never started" not in run(project.path, "--backup-scenario=normal", "--collect-only")
