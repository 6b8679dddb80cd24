"""Each option, its ini key, and which one wins."""

from __future__ import annotations

import json
from types import ModuleType

import pytest


def test_seed(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.makeini("[pytest]\nbackup_seed = 5")
    result = project.runpytest("--backup-scenario=normal")
    result.stdout.fnmatch_lines(
        ["backup: normal; target reference; fake, no isolation; seed 5", "replay: *--backup-seed=5"]
    )
    project.runpytest("--backup-scenario=normal", "--backup-seed=0")
    assert [call[3].seed for call in fakes.calls] == [5, 0]


@pytest.mark.parametrize(
    "option",
    [
        "--backup-seed=x",
        "--backup-seed=-1",
        "--backup-env=moon",
        "--backup-keep=sometimes",
        "--backup-link=x",
    ],
)
def test_bad_values_are_usage_errors(project: pytest.Pytester, option: str) -> None:
    result = project.runpytest("--backup-scenario=normal", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option.partition('=')[0]}*"])


@pytest.mark.parametrize(
    "line", ["backup_seed = x", "backup_env = moon", "backup_keep = maybe", "backup_scenario = disk_ful"]
)
def test_bad_ini_values_are_usage_errors(project: pytest.Pytester, line: str) -> None:
    project.makeini(f"[pytest]\n{line}")
    assert project.runpytest().ret == pytest.ExitCode.USAGE_ERROR


def test_keep_and_link_reach_the_engine(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.makeini("[pytest]\nbackup_keep = failed\nbackup_link = embedded")
    project.runpytest("--backup-scenario=normal")
    project.runpytest("--backup-scenario=normal", "--backup-keep=always", "--backup-link=toxiproxy")
    assert [(c[3].keep, c[3].link_server) for c in fakes.calls] == [
        ("failed", "embedded"),
        ("always", "toxiproxy"),
    ]


def test_target_from_ini_and_command_line(using: pytest.Pytester, fakes: ModuleType) -> None:
    using.makeini("[pytest]\nbackup_target = rclone")
    using.runpytest()
    using.runpytest("--backup-target=reference")
    assert [target for _, target, *_ in fakes.calls] == ["rclone", "reference"]


def test_runs_and_report_are_stored_under_the_root(project: pytest.Pytester) -> None:
    result = project.runpytest("--backup-scenario=normal")
    folder = project.path / ".backupchaos"
    (stored,) = (folder / "runs").iterdir()
    assert json.loads((stored / "results.json").read_text())["scenario"] == "normal"
    assert "normal" in (folder / "report.html").read_text()
    assert (folder / ".gitignore").read_text() == "*\n"
    result.stdout.fnmatch_lines(["report: .backupchaos/report.html"])


def test_report_elsewhere(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nbackup_report = a/ini.html")
    project.runpytest("--backup-scenario=normal")
    assert (project.path / "a/ini.html").is_file()
    project.runpytest("--backup-scenario=normal", "--backup-report=b/own.html")
    assert (project.path / "b/own.html").is_file()
    result = project.runpytest("--backup-scenario=normal", "--backup-report=a")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_report_that_could_not_be_written_is_told_before_the_first_run(project: pytest.Pytester) -> None:
    (project.path / "file").write_text("")
    result = project.runpytest("--backup-scenario=normal", "--backup-report=file/report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--backup-report */file/report.html: */file is no folder"])
    assert not (project.path / ".backupchaos/runs").exists()


def test_a_report_that_cannot_be_written_fails_the_session(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("backupchaos_reports.html.write_report", full)
    result = project.runpytest_inprocess("--backup-scenario=normal")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the report could not be written*"])


def test_min_run(using: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert using.runpytest("--backup-scenario=normal", "--backup-min-run=2").ret == pytest.ExitCode.OK
    monkeypatch.setenv("FAKE_MISSING", "normal=volumes")
    result = using.runpytest("--backup-scenario=normal", "--backup-min-run=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*--backup-min-run=1: only 0 scenario runs were made*"])
    result = using.runpytest("-k", "test_plain", "--backup-min-run=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*--backup-min-run=1: only 0 scenario runs were made*"])


def test_every_option_has_help_and_an_ini_key(project: pytest.Pytester) -> None:
    text = project.runpytest("--help").stdout.str()
    for name in (
        "scenario",
        "target",
        "env",
        "report",
        "seed",
        "keep",
        "require",
        "service",
        "link",
        "min-run",
    ):
        assert f"--backup-{name}" in text
        assert f"backup_{name.replace('-', '_')} (" in text


def test_an_unknown_capability_requires_nothing_and_is_refused(
    project: pytest.Pytester, fakes: ModuleType
) -> None:
    result = project.runpytest("--backup-scenario=normal", "--backup-require=foo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --backup-require: there is no capability 'foo'. Known: *"])
    assert fakes.calls == []


def test_a_target_of_the_project_can_be_required(project: pytest.Pytester) -> None:
    (project.path / "pyproject.toml").write_text('[tool.backupchaos.target.mine]\nbackup = "true"\n')
    project.runpytest("--backup-scenario=normal", "--backup-require=mine").assert_outcomes(passed=1)
