"""What may not be opened any more: files, volumes, for root without overrides and for ordinary users."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.faults.bench import Bench, Probe, bench, python, tried

from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.operations import access
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.faults.permissions import USERS, ordinary_user
from backupchaos.model.faults.files import PermissionDenied
from backupchaos.targets.base import Workspace

pytestmark = pytest.mark.needs("namespaces", "seccomp")

PICKED = "new-r1-0003-east"
WHO = "print(os.geteuid())"


def job(code: str) -> tuple[str, ...]:
    lines = ["import os, socket", f"path = '{{source}}/{PICKED}'", "def attempt(what, *arguments):"]
    lines += [" try: what(*arguments); print('ok')", " except OSError as error: print(error.errno)", code]
    return python("\n".join(lines))


@pytest.mark.parametrize("by", ["root", "user"])
def test_a_source_file_is_denied_and_given_back(tmp_path: Path, by: str) -> None:
    code = f"{WHO}\nattempt(open, path)\nattempt(os.listdir, '{{source}}')"
    with bench(tmp_path, {"permission.denied": "source", "by": by}, job(code)) as made:
        result = made.go()
        assert result.lines == [str(ordinary_user()) if by == "user" else "0", "13", "ok"]
        assert "1 calls of the job on a file with mode 000" in result.proof[0]
        assert made.phases.oracle["M2"].identity == made.phases.oracle["M2.again"].identity
        assert ("ordinary user" in result.fault.mechanism) is (by == "user")


@pytest.mark.parametrize("place", ["source", "repository", "cache", "temp"])
def test_it_does_not_bite_a_job_that_does_not_come_by(tmp_path: Path, place: str) -> None:
    with used(tmp_path, {"permission.denied": place}, job("print('nothing')")) as made:
        result = made.go()
        assert result.lines == ["nothing"]
        assert result.proof == []


def used(tmp_path: Path, fault: Mapping[str, Any], argv: Sequence[str], **more: Any) -> Any:
    """A bench whose volumes the target has used before, as a control job would have."""
    from contextlib import contextmanager

    @contextmanager
    def made_and_used() -> Any:
        with bench(tmp_path, fault, argv, **more) as made:
            for place in ("repository", "cache", "temp"):
                folder = made.world.sandbox.path(place)  # type: ignore[arg-type]
                made.run(
                    *python(f"import os; os.makedirs('{folder}/deep/er'); open('{folder}/deep/file', 'w')")
                )
            yield made

    return made_and_used()


@pytest.mark.parametrize("place", ["repository", "cache", "temp"])
@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("attempt(open, '{place}/deep/file')", ["13"]),
        ("attempt(os.listdir, '{place}')", ["13"]),
        ("attempt(os.stat, '{place}/deep/file')", ["13"]),
        ("attempt(os.mkdir, '{place}/new')", ["13"]),
    ],
)
def test_a_volume_is_closed_as_a_whole(tmp_path: Path, place: str, code: str, lines: list[str]) -> None:
    code = code.replace("{place}", "/backupchaos/" + place)
    with used(tmp_path, {"permission.denied": place}, job(code)) as made:
        result = made.go()
        assert result.lines == lines
        assert "on a directory with mode 000 or below one" in result.proof[0]
        listing = made.world.sandbox.call("list_files", root=f"/backupchaos/{place}")["entries"]
        modes = {path: mode for path, kind, _, mode, *_ in listing if kind == "directory"}
        assert modes["deep"] == modes["deep/er"] == 0o755


def test_who_stands_in_it_is_locked_out_as_well(tmp_path: Path) -> None:
    """With the root alone closed, a process that is inside, or holds a directory, would go on undisturbed."""
    code = (
        "os.chdir('/backupchaos/repository/deep')\nfd = os.open('er', os.O_RDONLY)\nlink = os.open('file', os.O_RDONLY)\n"
        "import signal, time\nprint('standing', flush=True)\nwhile not os.path.exists('{temp}/go'): time.sleep(0.01)\n"
        "attempt(open, 'file')\nattempt(os.open, 'x', os.O_CREAT, 0o600)\nattempt(lambda: os.mkdir('y', dir_fd=fd))"
    )
    fault = {"permission.denied": "repository", "when": {"log": "standing"}}
    with used(tmp_path, fault, job(code)) as made:
        apply = made.fault.apply
        made.fault.apply = lambda: (apply(), made.run("touch", "/backupchaos/temp/go"))[0]
        result = made.go()
        assert result.lines == ["standing", "13", "13", "13"]
        assert result.proof


def test_a_look_at_an_open_file_proves_nothing(tmp_path: Path) -> None:
    code = (
        "fd = os.open('/backupchaos/repository/deep/file', os.O_RDWR)\nprint('standing', flush=True)\nimport time\n"
        "while not os.path.exists('{temp}/go'): time.sleep(0.01)\nprint(os.fstat(fd).st_size, os.write(fd, b'xy'))"
    )
    fault = {"permission.denied": "repository", "when": {"log": "standing"}}
    with used(tmp_path, fault, job(code)) as made:
        apply = made.fault.apply
        made.fault.apply = lambda: (apply(), made.run("touch", "/backupchaos/temp/go"))[0]
        result = made.go()
        assert result.lines == ["standing", "0 2"]
        assert result.proof == []


def test_a_volume_that_was_never_used_is_no_place_for_a_fault(tmp_path: Path) -> None:
    for place in ("cache", "temp"):
        with (
            bench(tmp_path / place, {"permission.denied": place}, job("pass")) as made,
            pytest.raises(MissingCapability, match=f"has put anything into its {place} directory"),
        ):
            made.go()


class NoCache(Probe):
    def cache_files(self, work: Workspace) -> Sequence[str]:
        return ()


def test_a_target_without_a_cache_cannot_be_kept_from_it(tmp_path: Path) -> None:
    target = NoCache(job("pass"))
    with pytest.raises(MissingCapability, match="keeps no cache"):
        tried(tmp_path, {"permission.denied": "cache"}, target.argv, target=target)


@pytest.mark.parametrize("key", ["pick", "files"])
def test_a_volume_has_no_picked_files(key: str) -> None:
    value = "largest" if key == "pick" else 2
    with pytest.raises(ValidationError, match=f"as a whole, so '{key}' means nothing"):
        PermissionDenied.model_validate({"permission.denied": "cache", key: value})
    assert PermissionDenied.model_validate({"permission.denied": "source", key: value})


# -- a server between the job and the repository ----------------------------------------------------------

SFTP = """
import asyncio, asyncssh
async def main():
    options = dict(username='backup', password='{password}', known_hosts=None)
    async with asyncssh.connect('{host}', int('{port}'), **options) as c, c.start_sftp_client() as sftp:
        for what in (sftp.listdir('/'), sftp.stat('/deep/file')):
            try: await what; print('ok')
            except asyncssh.SFTPError as error: print(type(error).__name__)
asyncio.run(main())
"""


class Remote(Probe):
    """The password that opens the server is the repository's own."""

    def backup(self, work: Workspace) -> Any:
        from backupchaos.commands import Command

        words = {
            "{password}": work.location.password,
            "{host}": work.location.host,
            "{port}": str(work.location.port),
        }
        words["'backup'"] = repr(work.location.user)
        code = SFTP
        for key, value in words.items():
            code = code.replace(key, value)
        return Command(python(code))


def test_a_server_is_denied_what_it_serves(tmp_path: Path) -> None:
    with used(
        tmp_path, {"permission.denied": "repository"}, (), repository="sftp", target=Remote(())
    ) as made:
        before = made.world.service_pid
        result = made.go()
        assert [line for line in result.lines if "SFTP" in line] == ["SFTPPermissionDenied"] * 2
        assert "calls of the server on a directory with mode 000" in result.proof[0]
        assert "the server without overrides too" in result.fault.mechanism
        assert made.world.service_pid == before, "it is restarted before the first job, and never again"
        again = made.world.run(made.fault.ground.target.backup(made.world.workspace), what="again")
        assert again.stdout.split() == ["ok", "ok"]


# -- users ------------------------------------------------------------------------------------------------------


def test_every_job_and_restore_is_the_user_and_the_server_is_not(tmp_path: Path) -> None:
    with bench(tmp_path, {"permission.denied": "source", "by": "user"}, job("pass")) as made:
        done = made.run(
            "sh",
            "-c",
            f"id -u; grep CapEff /proc/self/status; touch {made.ground.repository}/mine",
        )
        assert done.stdout.split() == [str(ordinary_user()), "CapEff:", "0" * 16]
        assert done.ok, "an ordinary user owns the volumes"


def test_the_user_has_a_name() -> None:
    assert ordinary_user() != 0
    known = {entry.pw_name for entry in pwd.getpwall()}
    if known & set(USERS):
        assert pwd.getpwuid(ordinary_user()).pw_name in USERS


def test_where_a_job_cannot_be_another_user_it_is_said(tmp_path: Path) -> None:
    def refuse(*arguments: object, **more: object) -> int:
        raise UsageProblem("cannot run true: privileges: Operation not permitted")

    with bench(tmp_path, {"permission.denied": "source", "by": "user"}, job("pass")) as made:
        made.world.sandbox.spawn = refuse  # type: ignore[method-assign]
        with pytest.raises(
            MissingCapability, match=r"cannot be run as user .* here: .*Operation not permitted"
        ):
            made.fault.available()


@pytest.mark.needs("root")
@pytest.mark.parametrize("mechanism", ["userns", "plain"])
@pytest.mark.parametrize("by", ["root", "user"])
def test_other_sandboxes_can_do_it_too(tmp_path: Path, mechanism: str, by: str) -> None:
    environment = LocalEnvironment(mechanism)
    if environment.probe()["namespaces"] and mechanism == "userns":
        pytest.skip("needs user namespaces")
    fault = {"permission.denied": "repository", "by": by}
    result = tried(tmp_path, fault, job("attempt(os.listdir, '{repository}')"), environment=environment)
    assert result.lines == ["13"]
    assert result.proof


# -- who keeps root's overrides all the same ------------------------------------------------------------------


def keeps_overrides(made: Bench, role: str) -> None:
    """Plant it: whoever has this role is started with CAP_DAC_OVERRIDE, whatever was asked for."""
    spawn = made.world.sandbox.spawn

    def with_overrides(command: Any, **more: Any) -> int:
        return spawn(command, **{**more, "drop_dac": more["drop_dac"] and more["role"] != role})

    made.world.sandbox.spawn = with_overrides  # type: ignore[method-assign]


@pytest.mark.needs("root")
def test_a_sandbox_whose_jobs_keep_the_override_cannot_deny(tmp_path: Path) -> None:
    with bench(tmp_path, {"permission.denied": "source"}, job("attempt(open, path)")) as made:
        made.fault.available()
        keeps_overrides(made, "target")
        with pytest.raises(MissingCapability, match="opens a file with mode 000: it keeps CAP_DAC_OVERRIDE"):
            made.fault.available()
        state = call_names(made, "/backupchaos/state")
        assert not [name for name in state if "mode" in name], "nothing of the trial is left"


def call_names(made: Bench, root: str) -> list[str]:
    return [entry[0] for entry in made.world.sandbox.call("list_files", root=root)["entries"]]


@pytest.mark.needs("root")
@pytest.mark.parametrize("place", ["source", "repository"])
def test_a_job_that_keeps_the_override_is_noticed_when_it_is_denied(tmp_path: Path, place: str) -> None:
    """No file is closed to it, and the calls that the supervisor sees would be taken for refusals."""
    with bench(tmp_path, {"permission.denied": place}, job("attempt(open, path)")) as made:
        keeps_overrides(made, "target")
        with pytest.raises(HarnessBroken, match=r"a job can open .* whose mode is 000: it keeps CAP_DAC"):
            made.go()


@pytest.mark.needs("root")
def test_a_server_that_keeps_the_override_is_noticed(tmp_path: Path) -> None:
    fault = {"permission.denied": "repository"}
    with used(tmp_path, fault, (), repository="sftp", target=Remote(())) as made:
        made.world.service_shape["drop_dac"] = False
        with pytest.raises(
            HarnessBroken, match=r"the server can open .* whose mode is 000: it keeps CAP_DAC"
        ):
            made.go()


def test_where_there_is_no_shell_it_cannot_be_tried(tmp_path: Path) -> None:
    with bench(tmp_path, {"permission.denied": "source"}, job("pass")) as made:

        def refuse(*arguments: object, **more: object) -> int:
            raise UsageProblem("cannot run /bin/sh: no such file")

        made.world.sandbox.spawn = refuse  # type: ignore[method-assign]
        with pytest.raises(
            MissingCapability, match="passes over file modes cannot be tried here: cannot run"
        ):
            made.fault.available()


# -- when things go wrong --------------------------------------------------------------------------------------


def started(tmp_path: Path, fault: dict[str, Any]) -> Any:
    return bench(tmp_path, fault, job("pass"))


def ready(made: Bench) -> Any:
    made.phases.change()
    made.fault.prepare()
    made.fault.begin(0.0)
    return made.fault


def test_what_is_not_denied_is_noticed(tmp_path: Path) -> None:
    with started(tmp_path, {"permission.denied": "repository"}) as made:
        fault = ready(made)
        fault.apply()
        fault.verify()
        made.world.sandbox.call("chmod", path=made.ground.repository, mode=0o700)
        with pytest.raises(HarnessBroken, match="still has mode 700"):
            fault.verify()
        fault.undo()
        fault.verify_undone()


def test_what_was_not_given_back_is_noticed(tmp_path: Path) -> None:
    with started(tmp_path, {"permission.denied": "source", "files": 2}) as made:
        fault = ready(made)
        fault.apply()
        with pytest.raises(HarnessBroken, match="has mode 0, not 644"):
            fault.verify_undone()
        made.world.sandbox.call("remove_tree", path=fault.full(fault.picked[0]).rsplit("/", 1)[0])
        fault.undo()
        fault.verify_undone()


def test_without_a_supervisor_words_are_all_there_is_and_that_is_said(tmp_path: Path) -> None:
    with used(tmp_path, {"permission.denied": "repository"}, job("os.listdir('{repository}')")) as made:
        made.world.sandbox.capabilities -= {"syscalls"}
        made.phases.make_faults()
        made.fault = made.phases.faults["fault"]
        result = made.go()
        assert "no supervisor here, so that the proof is what the job says" in result.fault.mechanism
        assert "messages about permissions" in result.proof[0]


@pytest.mark.parametrize(
    ("kind", "text", "names"),
    [
        ("local", "open x: permission denied", True),
        ("local", "unexpected HTTP response (500)", False),
        ("rest", "unexpected HTTP response (500)", True),
        ("s3", "The specified key does not exist.", True),
        ("rest", "backup failed", False),
    ],
)
def test_by_http_a_status_is_all_that_is_heard(tmp_path: Path, kind: str, text: str, names: bool) -> None:
    from dataclasses import replace

    with started(tmp_path, {"permission.denied": "repository"}) as made:
        fault: Any = made.fault
        work = made.world.workspace
        made.ground.workspace = replace(work, location=replace(work.location, kind=kind))
        fault._served = kind != "local"
        assert bool(re.search(fault.cause_pattern(), text, re.IGNORECASE)) is names


def test_modes_are_given_back_from_above_even_if_some_cannot(tmp_path: Path) -> None:
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "a").chmod(0o2750)
    done: Any = access.deny_tree(str(tmp_path / "top"))
    assert [os.path.basename(path) for path in done["paths"]] == ["top", "a", "b"]
    assert done["modes"] == [0o755, 0o2750, 0o755]
    assert (tmp_path / "top").stat().st_mode & 0o7777 == 0
    paths = [*done["paths"], str(tmp_path / "gone"), str(tmp_path / "top" / "\0")]
    with pytest.raises(ValueError, match="null"):
        access.allow_tree(paths, [*done["modes"], 0, 0])
    assert access.allow_tree(done["paths"], done["modes"]) == []
    assert (tmp_path / "top" / "a").stat().st_mode & 0o7777 == 0o2750


def test_open_descriptors_below_are_counted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert access.held_open(str(tmp_path)) == 0
    with open(tmp_path / "file", "rb"):
        assert access.held_open(str(tmp_path)) == 1
        assert access.held_open(str(tmp_path / "file")) == 0
