"""What adapters make of output and locations; no tool runs here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backupchaos.commands import Completed
from backupchaos.errors import MissingCapability
from backupchaos.model.expectations import Expectations
from backupchaos.targets.base import Location, RepositoryType, Workspace
from backupchaos.targets.interpreter import package_root, python_command
from backupchaos_targets import borg, programs, rclone, restic
from backupchaos_targets.parsing import json_object
from backupchaos_targets.reference import ReferenceTarget, repository_url

KINDS: tuple[RepositoryType, ...] = ("local", "sftp", "s3", "rest")
ALL = (rclone.RcloneTarget, borg.BorgTarget, restic.ResticTarget, ReferenceTarget)


@pytest.fixture(autouse=True)
def programs_exist(monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (programs, rclone, borg, restic):
        if hasattr(module, "need_program"):
            monkeypatch.setattr(module, "need_program", lambda name, hint: f"/bin/{name}")


def workspace(kind: RepositoryType = "local") -> Workspace:
    location = Location(
        kind, "/repository", "127.0.0.1", 7, "ann", "p@ss:w/rd", "ssh-ed25519 K", "/k/client_key"
    )
    return Workspace("/src", location, "/c", "/t", "/st", "/back", "pw")


def done(text: str) -> Completed:
    return Completed(python_command("json", ()), 0, text, "", 0.0)


@pytest.mark.parametrize("adapter", ALL)
def test_refinements_are_expectations(adapter: Any) -> None:
    profile = adapter().profile
    for kind in profile.speaks:
        for refinement in adapter().profile_for(kind).refinements.values():
            assert refinement.reason
            assert Expectations.model_validate(dict(refinement.expect), strict=False)


@pytest.mark.parametrize("adapter", ALL)
def test_no_refinement_touches_the_truth(adapter: Any) -> None:
    for refinement in adapter().profile.refinements.values():
        assert not refinement.waive
        assert not {"restore", "older", "check", "within"} & set(refinement.expect)


def test_exit_codes() -> None:
    assert [borg.BorgTarget().profile.outcome(code) for code in (0, 1, 2, 99, 100, 127, 128, -9)] == [
        "success", "partial", "failure", "failure", "partial", "partial", "failure", "failure",
    ]  # fmt: skip
    assert [restic.ResticTarget().profile.outcome(code) for code in (0, 1, 3, 11, 130)] == [
        "success", "failure", "partial", "failure", "failure",
    ]  # fmt: skip
    assert [rclone.RcloneTarget().profile.outcome(code) for code in (0, 1, 5, 9)] == [
        "success", "failure", "failure", "failure",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("552.330144ms", 0.552330144),
        ("1m3.5s", 63.5),
        ("2h", 7200.0),
        ("12µs", 12e-6),
        ("5", None),
        ("5sx", None),
    ],
)
def test_go_durations(text: str, seconds: Any) -> None:
    assert restic.go_duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_restic_log() -> None:
    parse = restic.ResticTarget().parse_log
    retry = parse(
        "stderr", "Save(<data/13717b32a3>) returned error, retrying after 552.330144ms: client.Post: reset"
    )
    assert (retry.level, retry.retry) == ("warning", True)
    assert retry.delay == pytest.approx(0.552330144)
    error = parse("stderr", '{"message_type":"error","error":{"message":"permission denied"},"item":"/s/a"}')
    assert (error.level, error.message, error.structured) == ("error", "/s/a: permission denied", True)
    assert (
        parse("stderr", '{"message_type":"error","error":{"Op":"open","Err":13},"item":"/s/a"}').level
        == "error"
    )
    assert (
        parse("stdout", '{"message_type":"exit_error","code":1,"message":"Fatal: no"}').message == "Fatal: no"
    )
    assert parse("stdout", '{"message_type":"summary","files_new":1}').level == "info"
    assert parse("stderr", "Fatal: unable to save snapshot: no space left on device").level == "error"


def test_rclone_log() -> None:
    def parse(level: str, msg: str) -> tuple[str, bool]:
        record = rclone.RcloneTarget().parse_log(
            "stderr", f'{{"level":"{level}","msg":"{msg}","object":"a"}}'
        )
        return record.level, record.retry

    assert parse("debug", "pacer: low level retry 1/10 (error EOF)") == ("warning", True)
    assert parse("debug", "Received error: EOF - low level retry 10/10") == ("info", False)
    assert parse("error", "Attempt 1/3 failed with 2 errors and: EOF") == ("error", True)
    assert parse("error", "Attempt 3/3 failed with 2 errors and: EOF") == ("error", False)
    assert parse("error", "Attempt 2/3 succeeded") == ("error", False)
    assert parse("notice", "Failed to sync: EOF") == ("error", False)
    assert parse("notice", "a: symlink skipped") == ("warning", False)


def test_borg_log() -> None:
    parse = borg.BorgTarget().parse_log
    line = '{"type":"log_message","levelname":"WARNING","message":"src/x: open: [Errno 13]","name":"borg"}'
    assert (parse("stderr", line).level, parse("stderr", line).message) == (
        "warning",
        "src/x: open: [Errno 13]",
    )
    assert parse("stderr", '{"type":"archive_progress","message":"error"}').level == "info"


def test_reference_log() -> None:
    parse = ReferenceTarget().parse_log
    head = '{"ts": "2026-01-01T00:00:00Z", "trace_id": "t", "status_code": 503, '
    retry = parse("stderr", head + '"level": "warning", "event": "retry", "message": "m", "delay_s": 0.25}')
    assert (retry.retry, retry.delay, retry.trace_id, retry.status_code) == (True, 0.25, "t", 503)
    state = parse("stderr", head + '"level": "info", "event": "state", "message": "m", "to": "RETRYING"}')
    assert (state.state, state.retry, state.structured) == ("RETRYING", False, True)
    assert parse("stderr", '{"level": "info", "message": "no event"}').structured is False
    assert parse("stdout", head + '"level": "error", "event": "retry", "message": "m"}').retry is False


def test_lists_are_in_order_of_time() -> None:
    text = '[{"id": "b", "time": "2026-02-01T00:00:00Z"}, {"id": "a", "time": "2026-01-01T00:00:00Z"}]'
    assert restic.ResticTarget().parse_snapshots(done(text)) == ["a", "b"]
    assert restic.ResticTarget().parse_snapshots(done("null")) == []
    archives = '{"archives": [{"name": "b", "time": "2026-02-01"}, {"name": "a", "time": "2026-01-01"}]}'
    assert borg.BorgTarget().parse_snapshots(done(archives)) == ["a", "b"]


def test_locations() -> None:
    assert repository_url(workspace("sftp").location) == "sftp://ann@127.0.0.1:7/repository"
    urls = {kind: restic.repository_environment(workspace(kind).location)["RESTIC_REPOSITORY"]
            for kind in KINDS}  # fmt: skip
    assert urls == {
        "local": "/repository",
        "sftp": "sftp:ann@127.0.0.1:/repository",
        "s3": "s3:http://127.0.0.1:7/repository",
        "rest": "rest:http://ann:p%40ss%3Aw%2Frd@127.0.0.1:7/repository/",
    }
    assert "-o UserKnownHostsFile=/k/known_hosts" in restic.ssh_command(workspace("sftp").location)


def test_caches_are_on_the_volume_that_faults_know_as_cache() -> None:
    for target, variable in (
        (borg.BorgTarget(), "BORG_CACHE_DIR"),
        (restic.ResticTarget(), "RESTIC_CACHE_DIR"),
        (rclone.RcloneTarget(), "RCLONE_CACHE_DIR"),
    ):
        env = target.backup(workspace()).env
        assert env[variable].startswith("/c")
        assert env["TMPDIR"] == "/t"


def test_what_a_fault_calls_the_cache_is_where_the_tool_keeps_it() -> None:
    assert restic.ResticTarget().cache_files(workspace()) == ("/c",)
    env = borg.BorgTarget().backup(workspace()).env
    assert borg.BorgTarget().cache_files(workspace()) == (env["BORG_CACHE_DIR"],)
    assert rclone.RcloneTarget().cache_files(workspace()) == ReferenceTarget().cache_files(workspace()) == ()


def test_commands_for_people_in_need() -> None:
    found = {
        target.name: [command and command.argv[1:] for command in (target.unlock(work), target.prune(work))]
        for target in (borg.BorgTarget(), restic.ResticTarget(), rclone.RcloneTarget())
        for work in (workspace(),)
    }
    assert found == {
        "borg": [("break-lock", "--log-json"), ("compact", "--log-json", "--show-rc")],
        "restic": [("unlock", "--remove-all"), ("prune",)],
        "rclone": [None, None],
    }


def test_another_version_of_the_reference_job_cuts_files_otherwise() -> None:
    size = "BACKUPCHAOS_REFERENCE_CHUNK_SIZE"
    for given, other in (({}, "65536"), ({size: "65536"}, "131072"), ({size: "8192"}, "65536")):
        target = ReferenceTarget(extra_env=given)
        own, drifted = target.backup(workspace()), target.drifted(workspace())
        assert drifted.env == {**own.env, size: other}
        assert (drifted.argv, drifted.secrets) == (own.argv, own.secrets)
    for tool in (borg.BorgTarget(), restic.ResticTarget(), rclone.RcloneTarget()):
        assert tool.drifted(workspace()) is None


def test_restic_restores_below_the_absolute_path() -> None:
    assert restic.ResticTarget().restored_root(workspace()) == "/back/src"


def test_restic_speaks_sftp_only_with_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restic, "find_program", lambda name: None)
    assert "sftp" not in restic.ResticTarget().profile.speaks
    monkeypatch.setattr(restic, "find_program", lambda name: "/bin/ssh")
    assert "sftp" in restic.ResticTarget().profile.speaks


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("secret", ["x", "correct horse", "p@ss:ü", "0" * 40])
def test_obscured_passwords_are_read_back_by_rclone(secret: str) -> None:
    program = programs.find_program("rclone")
    if program is None:
        pytest.skip("rclone: there is no rclone program here")
    argv = [program, "reveal", rclone.obscure(secret)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.rstrip("\n") == secret


def test_a_mirror_hides_both_forms_of_the_password() -> None:
    command = rclone.RcloneTarget().backup(workspace("sftp"))
    assert set(command.secrets) == {"p@ss:w/rd", rclone.obscure("p@ss:w/rd")}


def test_misbehaviours_reach_every_command() -> None:
    target = ReferenceTarget(
        misbehave=("swallow_enospc", "no_error_log"), extra_env={"BACKUPCHAOS_REFERENCE_RETRIES": "2"}
    )
    assert target.name == "reference-swallow_enospc-no_error_log"
    for command in (target.backup(workspace()), target.check(workspace()), target.states(workspace())):
        assert command.env["BACKUPCHAOS_REFERENCE_MISBEHAVE"] == "swallow_enospc,no_error_log"
        assert command.env["BACKUPCHAOS_REFERENCE_RETRIES"] == "2"


def test_a_package_outside_site_packages_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_package_of_mine").mkdir()
    (tmp_path / "some_package_of_mine" / "__init__.py").write_text("")
    (tmp_path / "some_package_of_mine" / "__main__.py").write_text("print('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    command = python_command("some_package_of_mine", ())
    assert command.env["PYTHONPATH"] == str(tmp_path)
    ran = subprocess.run(
        command.argv, env=dict(command.env), cwd="/", capture_output=True, text=True, check=True
    )
    assert ran.stdout == "ran\n"
    assert "some_package_of_mine" not in sys.modules
    with pytest.raises(MissingCapability, match="pip install no_such_package"):
        package_root("no_such_package")


def test_hostile_json_is_no_object() -> None:
    for line in ("{" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "[1]", "{1}", '{"a": 1} x'):
        assert json_object(line) is None
