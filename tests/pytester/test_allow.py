"""--backup-allow: what no run made is touched only if the scenario names it and whoever starts pytest does too."""

from __future__ import annotations

from types import ModuleType

import pytest

FILE = "scenario: mine\ntitle: Mine\nallow: {paths: [/srv/a]}\n"
OPTION = "--backup-allow=/srv/a"


@pytest.fixture
def mine(project: pytest.Pytester) -> pytest.Pytester:
    project.path.joinpath("mine.chaos.yaml").write_text(FILE)
    return project


def test_without_the_option_the_run_is_refused(mine: pytest.Pytester, fakes: ModuleType) -> None:
    result = mine.runpytest()
    result.stdout.fnmatch_lines([f"*asks for what no run made: /srv/a. Nothing was run.*add: {OPTION}"])
    result.assert_outcomes(failed=1)
    assert fakes.calls == []
    assert not mine.path.joinpath(".backupchaos/runs").exists()


def test_a_selected_scenario_is_refused_before_any_test(mine: pytest.Pytester, fakes: ModuleType) -> None:
    result = mine.runpytest("--backup-scenario=normal", "--backup-scenario=mine")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*add: {OPTION}*"])
    assert fakes.calls == []


@pytest.mark.parametrize("words", [(OPTION,), tuple(OPTION.split("="))])
def test_with_it_the_engine_is_told(mine: pytest.Pytester, fakes: ModuleType, words: tuple[str, ...]) -> None:
    mine.runpytest(*words).assert_outcomes(passed=1)
    (call,) = fakes.calls
    assert call[3].allow == {"/srv/a"}
    assert OPTION in call[3].reproduce


@pytest.mark.parametrize("ini", [f"addopts = {OPTION}", "backup_allow = /srv/a"])
def test_an_ini_file_cannot_say_it(mine: pytest.Pytester, fakes: ModuleType, ini: str) -> None:
    mine.makeini(f"[pytest]\n{ini}")
    result = mine.runpytest()
    assert result.ret != 0
    assert fakes.calls == []


def test_nor_can_the_environment(
    mine: pytest.Pytester, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", OPTION)
    result = mine.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*counts only on the command line itself*"])
    assert fakes.calls == []


def test_a_value_that_no_scenario_could_name(mine: pytest.Pytester) -> None:
    result = mine.runpytest("--backup-allow=/etc")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--backup-allow: '/etc' belongs to the system*"])


def test_workers_have_it_too(mine: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    result = mine.runpytest_subprocess(OPTION, "-n1", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
