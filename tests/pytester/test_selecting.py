"""What runs: with the option, without it, with names on the command line."""

from __future__ import annotations

from types import ModuleType

import pytest

MINE = """\
scenario: mine
title: Mine
source: {files: 5, size: 1MiB}
"""


def ran(fakes: ModuleType) -> list[str]:
    return [name for name, *_ in fakes.calls]


def test_without_the_option_the_fixture_runs_normal_and_nothing_is_deselected(
    using: pytest.Pytester, fakes: ModuleType
) -> None:
    result = using.runpytest("-q")
    result.assert_outcomes(passed=2)
    assert ran(fakes) == ["normal"]


def test_the_option_runs_the_built_in_and_parametrises_the_users_of_the_fixture(
    using: pytest.Pytester, fakes: ModuleType
) -> None:
    result = using.runpytest("--backup-scenario=network_loss", "-v")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "*1 test that does not use testexecbackupjob deselected*",
            "backupchaos::network_loss?reference? PASSED*",
            "test_it.py::test_backup?network_loss? PASSED*",
        ]
    )
    assert ran(fakes) == ["network_loss", "network_loss"]


def test_it_runs_in_a_folder_without_any_test(project: pytest.Pytester, fakes: ModuleType) -> None:
    result = project.runpytest("--backup-scenario=network_loss")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert ran(fakes) == ["network_loss"]


def test_tags_and_all_and_repetition(project: pytest.Pytester, fakes: ModuleType) -> None:
    import backupchaos_scenarios

    project.runpytest("--backup-scenario=all").assert_outcomes(passed=len(backupchaos_scenarios.names()))
    assert ran(fakes) == list(backupchaos_scenarios.names())
    fakes.calls.clear()
    project.runpytest(
        "--backup-scenario=normal", "--backup-scenario=tag:baseline", "--backup-scenario=disk_full"
    )
    assert ran(fakes) == ["normal", "disk_full"]


@pytest.mark.parametrize(
    ("word", "near"),
    [("netwrk_loss", "network_loss"), ("tag:netwrk", "network"), ("no/such.chaos.yaml", "no such file")],
)
def test_what_names_nothing_is_a_usage_error(
    using: pytest.Pytester, fakes: ModuleType, word: str, near: str
) -> None:
    result = using.runpytest(f"--backup-scenario={word}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{near}*"])
    assert fakes.calls == []


def test_a_path_a_folder_and_a_name_of_the_project(project: pytest.Pytester, fakes: ModuleType) -> None:
    folder = project.mkdir("chaos")
    (folder / "mine.chaos.yaml").write_text(MINE)
    for word in ("chaos/mine.chaos.yaml", "chaos/", "mine"):
        fakes.calls.clear()
        result = project.runpytest(f"--backup-scenario={word}")
        result.assert_outcomes(passed=1)
        assert ran(fakes) == ["mine"]


def test_named_files_and_tests_are_not_deselected(using: pytest.Pytester, fakes: ModuleType) -> None:
    result = using.runpytest("--backup-scenario=disk_full", "test_it.py")
    result.assert_outcomes(passed=2)
    assert ran(fakes) == ["disk_full"], "the named file runs the scenario: no second run of it"
    result = using.runpytest("--backup-scenario=disk_full", "test_it.py::test_plain")
    result.assert_outcomes(passed=2)  # the scenario itself, since nothing named would run it


def test_a_named_folder_names_no_test(using: pytest.Pytester) -> None:
    using.runpytest("--backup-scenario=disk_full", ".").assert_outcomes(passed=2, deselected=1)


def test_a_broken_module_without_the_fixture_does_not_stop_a_scenario(
    using: pytest.Pytester, fakes: ModuleType
) -> None:
    using.makepyfile(test_broken="import no_such_module_at_all")
    result = using.runpytest("--backup-scenario=disk_full")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(
        ["*1 modules that do not use testexecbackupjob cannot be imported*test_broken.py*"]
    )
    using.runpytest().assert_outcomes(errors=1)


def test_a_broken_module_with_the_fixture_does(using: pytest.Pytester) -> None:
    using.makepyfile(test_broken="import no_such_module\ndef test_a(testexecbackupjob): pass")
    using.runpytest("--backup-scenario=disk_full").assert_outcomes(errors=1)


def test_a_fixture_around_ours_counts_as_use(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.fixture
        def run(testexecbackupjob):
            return testexecbackupjob()

        def test_a(run):
            assert run.result.scenario == "disk_full"
        """
    )
    project.runpytest("--backup-scenario=disk_full").assert_outcomes(passed=2)


def test_marker_and_own_scenario_win_over_the_option(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.backup_scenario("file_locked", "disk_full")
        def test_marked(testexecbackupjob):
            testexecbackupjob()

        def test_own(testexecbackupjob):
            testexecbackupjob(failure_mode=None)
        """
    )
    options = ("--strict-markers", "--backup-scenario=network_loss", "--backup-scenario=network_slow")
    result = project.runpytest("-v", *options)
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        ["*::test_marked?file_locked? *", "*::test_marked?disk_full? *", "*::test_own PASSED*"]
    )
    assert ran(fakes) == ["network_loss", "network_slow", "file_locked", "disk_full", "normal"]


def test_a_marker_with_an_unknown_name_or_without_the_fixture(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_a="import pytest\n@pytest.mark.backup_scenario('disk_ful')\ndef test_a(testexecbackupjob): pass",
        test_b="import pytest\n@pytest.mark.backup_scenario('disk_full')\ndef test_b(): pass",
    )
    result = project.runpytest("test_a.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*marker backup_scenario: no built-in scenario 'disk_ful'. Did you mean 'disk_full'?*"]
    )
    result = project.runpytest("test_b.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*has no effect here: the test does not use testexecbackupjob*"])


def test_several_targets(using: pytest.Pytester, fakes: ModuleType) -> None:
    result = using.runpytest(
        "-v", "--backup-scenario=disk_full", "--backup-target=reference", "--backup-target=rclone"
    )
    result.assert_outcomes(passed=4, deselected=1)
    result.stdout.fnmatch_lines(["backupchaos::disk_full?rclone? *", "*::test_backup?disk_full-rclone? *"])
    assert [(name, target) for name, target, *_ in fakes.calls] == [
        ("disk_full", "reference"),
        ("disk_full", "rclone"),
    ] * 2


def test_k_selects_among_the_built_in(using: pytest.Pytester, fakes: ModuleType) -> None:
    result = using.runpytest("--backup-scenario=tag:quick", "-k", "disk_inodes and not test_backup")
    assert result.parseoutcomes()["passed"] == 1
    assert ran(fakes) == ["disk_inodes"]


def test_collect_only_runs_nothing(using: pytest.Pytester, fakes: ModuleType) -> None:
    result = using.runpytest("--backup-scenario=disk_full", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["backupchaos::disk_full?reference?", "test_it.py::test_backup?disk_full?"])
    assert fakes.calls == []
    assert not (using.path / ".backupchaos").exists()


def test_an_ini_selection_parametrises_and_deselects_nothing(
    using: pytest.Pytester, fakes: ModuleType
) -> None:
    using.makeini("[pytest]\nbackup_scenario = disk_full")
    using.runpytest().assert_outcomes(passed=3)
    assert ran(fakes) == ["disk_full", "disk_full"]
    fakes.calls.clear()
    using.runpytest("--backup-scenario=normal").assert_outcomes(passed=2, deselected=1)
    assert ran(fakes) == ["normal", "normal"]


@pytest.mark.parametrize(
    "options",
    [
        ("--setup-show",),
        ("-p", "no:terminal"),
        ("-p", "no:cacheprovider"),
        ("--import-mode=importlib",),
        ("-s",),
        ("--tb=no",),
        ("-x",),
        ("--strict-markers", "-W", "error"),
    ],
)
def test_it_gets_along_with_pytests_own_options(
    using: pytest.Pytester, fakes: ModuleType, options: tuple[str, ...]
) -> None:
    result = using.runpytest("--backup-scenario=network_loss", *options)
    assert result.ret == pytest.ExitCode.OK
    assert ran(fakes) == ["network_loss", "network_loss"]


def test_fixtures_of_every_scope_apply_to_scenarios(project: pytest.Pytester) -> None:
    text = (project.path / "conftest.py").read_text() + (
        "\nimport pytest\n"
        + "".join(
            f"@pytest.fixture(scope={scope!r}, autouse=True)\ndef auto_{scope}(): yield\n"
            for scope in ("function", "class", "module", "package", "session")
        )
    )
    (project.path / "conftest.py").write_text(text)
    (project.path / "mine.chaos.yaml").write_text(MINE)
    project.runpytest("--backup-scenario=disk_full").assert_outcomes(passed=1, deselected=1)
    project.runpytest().assert_outcomes(passed=1)
