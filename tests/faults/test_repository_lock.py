"""The lock of a dead job: left by the tool itself, of this host or another, and met by the next job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Probe, Tried, bench, python, tried

from backupchaos.commands import Command
from backupchaos.errors import MissingCapability
from backupchaos.faults.repository_lock import LOCKISH
from backupchaos.targets.base import Workspace
from backupchaos.targets.registry import resolve_target

pytestmark = pytest.mark.needs("namespaces", "seccomp")

SAME = {"repository.stale_lock": "repository"}
OTHER = {**SAME, "host": "other"}
LOCKING = """
import os, socket, sys
lock, root = '{repository}/LOCK', '{repository}'
os.makedirs(os.path.dirname(lock), exist_ok=True)
if os.path.exists(lock): sys.exit('error: locked by ' + open(lock).read())
with open(root + '/.new', 'w') as file: file.write(socket.gethostname() + ' ' + os.environ.get('MY_HOST_ID', ''))
os.rename(root + '/.new', lock)
for n in range(3): open(f'{root}/data{n}', 'w').write('x')
os.unlink(lock)
"""


def locks(tried: Tried) -> list[str]:
    fault: Any = tried.fault
    return list(fault.locks)


def locking(name: str = "locks/mine") -> tuple[str, ...]:
    return python(LOCKING.replace("LOCK", name))


@pytest.mark.parametrize("name", ["locks/mine", "repo.lock", "lock.exclusive/host-1", "lockfile"])
def test_a_real_lock_is_left_and_met(name: str, tmp_path: Path) -> None:
    with bench(tmp_path, SAME, locking(name)) as made:
        result = made.go()
        root = made.world.workspace.location.path
        assert made.run("ls", root).stdout.split() == [name.partition("/")[0]]
    assert result.returncode == 1
    assert result.lines[0].startswith("error: locked by backupchaos")
    assert any(f"of repo/{name}" in fact for fact in result.proof)
    assert locks(result) == [f"repo/{name}"]
    assert any(e["text"].startswith("a job was killed: at its ") for e in result.events if e.kind == "note")


def test_what_the_dead_job_had_stored_stays(tmp_path: Path) -> None:
    code = LOCKING.replace("LOCK", "a.lock").replace("range(3)", "range(1)")
    code = code.replace("os.rename(", "open(root + '/early', 'w').write('x')\nos.rename(")
    with bench(tmp_path, SAME, python(code)) as made:
        made.go()
        assert made.run("ls", made.world.workspace.location.path).stdout.split() == ["a.lock", "early"]


def test_a_lock_of_another_host(tmp_path: Path) -> None:
    with bench(tmp_path, OTHER, locking(), env={"MY_HOST_ID": "-1"}) as made:
        result = made.go()
        host = made.run("uname", "-n").stdout.strip()
    assert host != "elsewhere"
    assert result.lines == ["error: locked by elsewhere elsewhere-1"]
    assert "another host" in next(e["detail"] for e in result.events if e.kind == "fault" and e["detail"])


def test_no_other_host_without_a_host_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backupchaos.environments.local.sandbox import LocalSandbox

    spawn = LocalSandbox.spawn

    def deaf(self: LocalSandbox, command: Command, **how: object) -> int:
        return spawn(self, command, **{**how, "hostname": None})  # type: ignore[arg-type]

    monkeypatch.setattr(LocalSandbox, "spawn", deaf)
    with pytest.raises(MissingCapability, match="no process can have another host name here"):
        tried(tmp_path, OTHER, locking())


@pytest.mark.parametrize(
    "code",
    [
        "for n in range(50): open(f'{repository}/block{n}', 'w').write('x')",
        "open('{repository}/lock', 'w').close(); __import__('os').unlink('{repository}/lock')",
        "pass",
    ],
    ids=["none", "never while it works", "nothing"],
)
def test_a_tool_that_leaves_no_lock(code: str, tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="target probe leaves no lock"):
        tried(tmp_path, SAME, python(code))


def test_a_lock_file_that_is_always_there_is_none(tmp_path: Path) -> None:
    code = "open('{repository}/lock', 'w').close()\nfor n in range(3): open(f'{repository}/f{n}', 'w').write('x')"
    with bench(tmp_path, SAME, python(code)) as made:
        assert made.world.run(made.phases.target.backup(made.world.workspace), what="control").ok
        with pytest.raises(MissingCapability, match="leaves no lock"):
            made.go()


def test_a_lock_that_the_job_does_not_look_at_proves_nothing(tmp_path: Path) -> None:
    code = (
        "import os\nlock = f'{repository}/{os.getpid()}.lock'\nopen(lock, 'w').close()\n"
        "for n in range(3): open(f'{repository}/f{n}', 'w').write('x')\nos.unlink(lock)"
    )
    result = tried(tmp_path, SAME, python(code))
    assert result.returncode == 0
    assert result.proof == []


def test_a_lock_that_is_gone_too_early_breaks_the_run(tmp_path: Path) -> None:
    with bench(tmp_path, SAME, locking()) as made:
        made.fault.prepare()
        made.run("rm", f"{made.world.workspace.location.path}/locks/mine")
        from backupchaos.errors import HarnessBroken

        with pytest.raises(HarnessBroken, match="is gone before the job starts"):
            made.fault.verify()


def test_names_of_locks() -> None:
    for name in (
        "locks/3f",
        "lock.roster",
        "a/lock.exclusive/x@1",
        "repo.lock",
        ".lockfile",
        "LOCK",
        "db-lock",
    ):
        assert LOCKISH.search(name), name
    for name in ("blocks/1", "clock", "data/lockheed.txt", "unlocked", "flock0"):
        assert not LOCKISH.search(name), name


class Served(Probe):
    """The job of a real tool, in place of a few lines."""

    def __init__(self, name: str) -> None:
        super().__init__(())
        self.tool = resolve_target(name)

    def init(self, work: Workspace) -> list[Command]:
        return list(self.tool.init(work))

    def backup(self, work: Workspace) -> Command:
        return self.tool.backup(work)


@pytest.mark.needs("restic", "rclone")
def test_behind_a_server_the_kernel_tells_who_looked(tmp_path: Path) -> None:
    with bench(tmp_path, OTHER, (), repository="rest", target=Served("restic")) as made:
        made.phases.init_repository()
        result = made.go()
        (lock,) = locks(result)
    assert result.proof == [
        f"its server read or removed {lock} for the job",
        "its server read or removed repository/locks for the job",
    ]


@pytest.mark.needs("restic", "rclone")
def test_behind_a_server_too_a_lock_may_lie_there_unseen(tmp_path: Path) -> None:
    class Idle(Served):
        jobs = 0

        def backup(self, work: Workspace) -> Command:
            self.jobs += 1
            return super().backup(work) if self.jobs == 1 else Command(("true",))

    with bench(tmp_path, SAME, (), repository="rest", target=Idle("restic")) as made:
        made.phases.init_repository()
        assert made.go().proof == []


@pytest.mark.parametrize(
    "tool", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("restic", "borg")]
)
def test_a_real_tool_leaves_its_lock_and_meets_it(tool: str, tmp_path: Path) -> None:
    with bench(tmp_path, SAME, (), target=Served(tool)) as made:
        made.phases.init_repository()
        result = made.go()
    assert locks(result)
    assert result.proof
    assert result.returncode == 0
