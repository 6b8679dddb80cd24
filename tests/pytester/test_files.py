"""Scenario files as tests."""

from __future__ import annotations

from types import ModuleType

import pytest

MINE = "scenario: mine\ntitle: Mine\nsource: {files: 5, size: 1MiB}\n"


def test_a_scenario_file_is_a_test(project: pytest.Pytester, fakes: ModuleType) -> None:
    (project.path / "mine.chaos.yaml").write_text(MINE)
    result = project.runpytest("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["mine.chaos.yaml::mine?reference? PASSED*"])
    (name, _, _, options) = fakes.calls[0]
    assert name == "mine"
    assert options.scenario_file == str(project.path / "mine.chaos.yaml")
    assert "'mine.chaos.yaml::mine[reference]'" in options.reproduce


def test_mistakes_are_located_and_have_no_traceback(project: pytest.Pytester) -> None:
    (project.path / "bad.chaos.yaml").write_text(MINE + "faluts: {}\ndeadline: 30\n")
    result = project.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["bad.chaos.yaml:4:1: unknown-key*", "*Did you mean 'faults'*", "bad.chaos.yaml:5:11:*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*site-packages*")


def test_files_are_left_out_when_others_are_selected(project: pytest.Pytester, fakes: ModuleType) -> None:
    (project.path / "mine.chaos.yaml").write_text(MINE)
    project.runpytest("--backup-scenario=disk_full").assert_outcomes(passed=1, deselected=1)
    assert [name for name, *_ in fakes.calls] == ["disk_full"]


def test_a_selected_file_that_is_collected_too_runs_once(project: pytest.Pytester, fakes: ModuleType) -> None:
    (project.path / "mine.chaos.yaml").write_text(MINE)
    project.runpytest("--backup-scenario=mine.chaos.yaml").assert_outcomes(passed=1)
    project.runpytest("--backup-scenario=mine.chaos.yaml", "mine.chaos.yaml").assert_outcomes(passed=1)
    assert len(fakes.calls) == 2


def test_a_failing_scenario_shows_its_table_and_no_source_code(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VERDICTS", "mine=fail")
    (project.path / "mine.chaos.yaml").write_text(MINE)
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*FAIL*silent data loss*", "*seen by mine*✗ fail*"])
    result.stdout.no_fnmatch_line("*__tracebackhide__*")
