"""--backup-service: the server for its kind of repository."""

from __future__ import annotations

from types import ModuleType

import pytest


def test_it_reaches_the_engine_and_the_replay(project: pytest.Pytester, fakes: ModuleType) -> None:
    result = project.runpytest("--backup-scenario=network_loss", "--backup-service=openssh")
    (call,) = fakes.calls
    assert call[3].servers.names == {"sftp": "openssh"}
    assert "--backup-service=openssh" in call[3].reproduce
    result.stdout.no_fnmatch_line("*would change nothing*")


def test_an_ini_key_does_too_and_the_option_replaces_it(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.makeini("[pytest]\nbackup_service = openssh minio")
    project.runpytest("--backup-scenario=network_loss")
    project.runpytest("--backup-scenario=network_loss", "--backup-service=rclone")
    assert [dict(call[3].servers.names) for call in fakes.calls] == [
        {"sftp": "openssh", "s3": "minio"},
        dict.fromkeys(("sftp", "s3", "rest", "webdav"), "rclone"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("openshh",), "*--backup-service: there is no service 'openshh'. Did you mean 'openssh'?*"),
        (("openssh", "asyncssh"), "*--backup-service: * both serve sftp; name one server for each kind*"),
    ],
)
def test_mistakes_are_usage_errors_before_any_test(
    project: pytest.Pytester, fakes: ModuleType, words: tuple[str, ...], message: str
) -> None:
    options = [f"--backup-service={word}" for word in words]
    for more in ([], ["--backup-scenario=normal"]):
        result = project.runpytest(*options, *more)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
    assert fakes.calls == []


def test_a_server_that_nothing_selected_would_use_is_told(
    project: pytest.Pytester, fakes: ModuleType
) -> None:
    """No error: a test may ask for another repository than its scenario."""
    result = project.runpytest("--backup-scenario=network_loss", "--backup-service=minio")
    result.stdout.fnmatch_lines(
        [
            "backup: --backup-service=minio would change nothing: it serves s3, and what was selected uses sftp. "
            "Add --backup-repository=s3, or choose *"
        ]
    )
    assert len(fakes.calls) == 1


def test_a_database_is_named_like_any_other_server(project: pytest.Pytester, fakes: ModuleType) -> None:
    result = project.runpytest("--backup-scenario=network_loss", "--backup-service=postgres")
    result.stdout.fnmatch_lines(
        ["backup: --backup-service=postgres would change nothing: no service of what was selected can be *"]
    )
    project.runpytest("--backup-scenario=catalog_down", "--backup-service=postgres")
    assert [call[3].servers.databases for call in fakes.calls] == [("postgres",)] * 2


def test_a_kind_of_repository_reaches_the_engine_and_the_replay(
    project: pytest.Pytester, fakes: ModuleType
) -> None:
    result = project.runpytest(
        "--backup-scenario=network_loss",
        "--backup-target=restic",
        "--backup-repository=s3",
        "--backup-service=minio",
    )
    ((_, _, scenario, options),) = fakes.calls
    assert scenario.repository == "s3"
    assert "--backup-repository=s3 --backup-service=minio" in options.reproduce
    result.stdout.no_fnmatch_line("*would change nothing*")


def test_a_test_that_names_its_repository_keeps_it(project: pytest.Pytester, fakes: ModuleType) -> None:
    project.makeini("[pytest]\nbackup_repository = local")
    project.makepyfile(
        """
        def test_it(testexecbackupjob):
            testexecbackupjob("network_loss")
            testexecbackupjob("network_loss", repository="sftp")
        """
    )
    project.runpytest()
    assert [call[2].repository for call in fakes.calls] == ["local", "sftp"]


def test_a_kind_of_repository_that_the_target_does_not_speak(
    project: pytest.Pytester, fakes: ModuleType
) -> None:
    result = project.runpytest("--backup-scenario=network_loss", "--backup-repository=s3")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--backup-repository=s3: target reference speaks only local, sftp"])
    project.makeini("[pytest]\nbackup_repository = s4")
    result = project.runpytest()
    result.stderr.fnmatch_lines(["*ini key backup_repository: expected one of local, sftp, *, not 's4'"])
