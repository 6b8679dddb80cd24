"""The fixture: what it takes, what it raises, what it leaves to the test."""

from __future__ import annotations

from types import ModuleType

import pytest


def test_every_way_to_name_a_scenario(project: pytest.Pytester, fakes: ModuleType) -> None:
    (project.path / "mine.chaos.yaml").write_text("scenario: mine\ntitle: Mine\n")
    project.makepyfile(
        """
        from pathlib import Path
        from backupchaos import Scenario

        def test_a(testexecbackupjob):
            testexecbackupjob("disk_full")
            testexecbackupjob(failure_mode="network_loss")
            testexecbackupjob(failure_mode=None)
            testexecbackupjob(None)
            testexecbackupjob(Path("mine.chaos.yaml"))
            testexecbackupjob("./mine.chaos.yaml")
            testexecbackupjob("mine")
            testexecbackupjob(Scenario(scenario="built", title="Built in Python"))
        """
    )
    project.runpytest("-k", "test_a").assert_outcomes(passed=1, deselected=1)
    names = [name for name, *_ in fakes.calls]
    assert names == ["disk_full", "network_loss", "normal", "normal", "mine", "mine", "mine", "built"]


def test_overrides_reach_the_engine(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.mkdir("data")
    project.makepyfile(
        """
        def test_a(testexecbackupjob):
            testexecbackupjob(
                "disk_full", repository="local", source="data", deadline=30, seed=3, expect={"retries": "2..3"}
            )
            testexecbackupjob("disk_full", source={"files": 7}, target="rclone")
        """
    )
    project.runpytest().assert_outcomes(passed=1)
    (_, target, scenario, options), (_, other, second, _) = fakes.calls
    assert (target, other) == ("reference", "rclone")
    assert (scenario.repository, scenario.deadline, options.seed) == ("local", 30.0, 3)
    assert scenario.source.path == str(project.path / "data")
    assert str(scenario.to_yaml_dict()["expect"]["retries"]) == "2..3"
    assert scenario.to_yaml_dict()["expect"]["outcome"] == ["failure"]
    assert (second.source.files, second.source.size) == (7, 4 * 2**20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('("disk_ful")', "*Did you mean 'disk_full'*"),
        ('("all")', "*one call runs one*"),
        ('("normal", failure_mode="normal")', "*give the scenario once*"),
        ('("normal", target="referenc")', "*Did you mean 'reference'*"),
        ('("normal", source="nowhere")', "*nowhere' is not a directory*"),
        ('("normal", deadline="soon")', "*expected a duration*"),
        ('("normal", env="moon")', "*there is no environment 'moon'*"),
        ("('normal', seed='x')", "*seed='x': expected a whole number from 0*"),
        ("('normal', target=3)", "*target=3: expected a target's name*"),
    ],
)
def test_mistakes_are_told_in_one_message(project: pytest.Pytester, call: str, message: str) -> None:
    project.makepyfile(f"def test_a(testexecbackupjob):\n    testexecbackupjob{call}")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E  {message}"])


@pytest.mark.parametrize(
    ("verdict", "kind", "words"),
    [
        ("fail", "BackupJobFailed", "*FAIL*silent data loss*"),
        ("unverified", "BackupJobUnverified", "*UNVERIFIED*"),
        ("invalid", "BackupJobInvalid", "*INVALID*"),
    ],
)
def test_anything_but_pass_raises_and_check_false_observes(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, verdict: str, kind: str, words: str
) -> None:
    monkeypatch.setenv("FAKE_VERDICTS", f"disk_full={verdict}")
    project.makepyfile(
        f"""
        import pytest
        from pytest_backupchaos import BackupJobFailed

        def test_raises(testexecbackupjob):
            testexecbackupjob("disk_full")

        def test_kind(testexecbackupjob):
            with pytest.raises(BackupJobFailed) as caught:
                testexecbackupjob("disk_full")
            assert type(caught.value).__name__ == {kind!r}
            assert isinstance(caught.value, AssertionError)
            assert caught.value.run.verdict == {verdict!r}

        def test_observes(testexecbackupjob):
            assert testexecbackupjob("disk_full", check=False).verdict == {verdict!r}
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(
        [
            f"E   {words}",
            "E *= because: The job of disk_full said success.*",
            "E *seen by disk_full*",
            "E *evidence*history.jsonl*",
        ]
    )
    # What a tool said must not become a command of the CI server.
    result.stdout.no_fnmatch_line("*##[[]error]*")


def test_what_is_missing_skips_and_where_required_fails(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MISSING", "disk_full=volumes")
    result = project.runpytest("--backup-scenario=disk_full", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["not covered: 1 of 1 run", "SKIPPED*volumes: not in this fake (buy a real one)*"]
    )
    for words in ("volumes", "all"):
        result = project.runpytest("--backup-scenario=disk_full", f"--backup-require={words}")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["required, but missing here: volumes: not in this fake*"])
    project.runpytest("--backup-scenario=disk_full", "--backup-require=network").assert_outcomes(skipped=1)


def test_a_required_capability_that_the_sandbox_lacks_fails_every_run(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LACKING", "xattrs=no such thing")
    project.runpytest("--backup-scenario=normal").assert_outcomes(passed=1)
    result = project.runpytest("--backup-scenario=normal", "--backup-require=xattrs")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["required, but missing here: xattrs: no such thing"])


def test_a_misspelt_requirement_is_a_usage_error(project: pytest.Pytester) -> None:
    result = project.runpytest("--backup-scenario=normal", "--backup-require=volume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no capability 'volume'. Did you mean 'volumes'?*"])


@pytest.mark.needs("python:docker")
def test_docker_is_missing_and_says_so(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/listens/here")
    result = pytester.runpytest("--backup-scenario=normal", "--backup-env=docker", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*docker: no Docker daemon answers*DOCKER_HOST*"])
    pytester.runpytest(
        "--backup-scenario=normal", "--backup-env=docker", "--backup-require=docker"
    ).assert_outcomes(failed=1)


def test_a_conftest_supplies_a_target(project: pytest.Pytester, fakes: ModuleType) -> None:
    path = project.path / "conftest.py"
    path.write_text(
        path.read_text() + "\n\ndef pytest_backup_target(config, name):\n"
        "    from backupchaos_targets.reference import ReferenceTarget\n"
        "    return ReferenceTarget(name='ours') if name == 'ours' else None\n"
    )
    project.runpytest("--backup-scenario=normal", "--backup-target=ours").assert_outcomes(passed=1)
    assert fakes.calls[0][1] == "ours"
    result = project.runpytest("--backup-scenario=normal", "--backup-target=referense")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Did you mean 'reference'*"])


def test_the_type_of_the_fixture_may_stand_in_a_test_module(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from pytest_backupchaos import TestExecBackupJob

        def test_a(testexecbackupjob: TestExecBackupJob) -> None:
            assert testexecbackupjob("normal").verdict == "pass"
        """
    )
    project.runpytest("-W", "error").assert_outcomes(passed=1)


def test_the_fixture_is_documented(project: pytest.Pytester) -> None:
    result = project.runpytest("--fixtures")
    result.stdout.fnmatch_lines(["testexecbackupjob*", "*Run a backup job under a fault scenario, restore*"])
    project.runpytest("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.backup_scenario(name, ...):*(backupchaos)"]
    )
