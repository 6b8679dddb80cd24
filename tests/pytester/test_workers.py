"""pytest-xdist: one seed, one report, written by the controller alone."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("xdist")


def test_two_workers(using: pytest.Pytester) -> None:
    options = ("--backup-scenario=tag:quick", "-n", "2", "-p", "no:cacheprovider")
    result = using.runpytest_subprocess(*options)
    stored = [
        json.loads(path.read_text()) for path in (using.path / ".backupchaos/runs").glob("*/results.json")
    ]
    count = len({one["scenario"] for one in stored})
    assert count > 3
    result.assert_outcomes(passed=2 * count)
    assert len({one["seed"] for one in stored}) == 1
    result.stdout.fnmatch_lines([f"{2 * count} runs: {2 * count} pass", "report: .backupchaos/report.html"])
    page = (using.path / ".backupchaos/report.html").read_text()
    assert all(one["scenario"] in page for one in stored)


def test_workers_without_an_option_report_too(using: pytest.Pytester) -> None:
    result = using.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["1 run: 1 pass", "report: .backupchaos/report.html"])


def test_runs_of_a_worker_that_crashes_later_are_in_the_report(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import os

        def test_a(testexecbackupjob):
            testexecbackupjob("disk_full")

        def test_b():
            os._exit(1)
        """
    )
    result = project.runpytest_subprocess("-n", "1", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["1 run: 1 pass"])
    assert "seen by disk_full" in (project.path / ".backupchaos/report.html").read_text()


@pytest.mark.parametrize("fail", [True, False])
def test_what_never_began_is_counted(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fail: bool
) -> None:
    monkeypatch.setenv("FAKE_VERDICTS", "normal=fail" if fail else "")
    names = ("normal", "disk_full", "network_loss", "network_slow", "network_reset", "disk_slow")
    options = [f"--backup-scenario={name}" for name in names]
    result = project.runpytest_subprocess(*options, "-x", "-n", "1", "-p", "no:cacheprovider")
    told = [
        line for line in result.outlines if "of 6 tests that make scenario runs were never started" in line
    ]
    assert len(told) == fail
