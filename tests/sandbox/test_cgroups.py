"""Control groups, names of one's own, what a process was born with, and a slow processor without groups."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backupchaos
from backupchaos.commands import Command
from backupchaos.environments.local import cgroups, journal
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability

from .conftest import Box
from .test_ordinary_user import REACHABLE

ROOT = Path(backupchaos.__file__).parents[1]
HARNESS = """
import os, sys
from backupchaos.commands import Command
from backupchaos.environments.local.environment import LocalEnvironment
s = LocalEnvironment(sys.argv[1]).sandbox({})
groups = [s.control_group(name) for name in sys.argv[2].split(",")]
groups[0].limit(0.5 if sys.argv[2] == "cpu" else 1 << 30)
pid = s.spawn(Command(("sleep", "1000")), role="target", cgroup="\\n".join({g.path for g in groups}))
print(*sorted({g.path for g in groups}), flush=True)
input()
"""
usable = pytest.mark.needs("cgroup:memory", "cgroup:cpu", "cgroup:pids")


@pytest.fixture
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Journals of this test alone: others run sandboxes too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def harness(mechanism: str, names: str) -> tuple[subprocess.Popen[bytes], list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HARNESS, mechanism, names], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    return process, process.stdout.readline().decode().split()


def finish(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()


# -- groups -------------------------------------------------------------------------------------


@usable
def test_a_child_joins_all_its_groups_before_its_exec(any_box: Box) -> None:
    groups = [any_box.sandbox.control_group(name) for name in ("memory", "pids", "cpu")]
    paths = "\n".join(dict.fromkeys(group.path for group in groups))
    result = any_box.run("cat", "/proc/self/cgroup", cgroup=paths)
    for group in groups:
        assert os.path.basename(group.path) in result.output
    assert os.path.basename(groups[0].path) not in any_box.run("cat", "/proc/self/cgroup").output
    any_box.sandbox.close()
    assert not any(os.path.exists(group.path) for group in groups)


@usable
def test_limits_are_kept_and_taken_back(any_box: Box) -> None:
    for name, value in (("memory", 32 << 20), ("pids", 3), ("cpu", 0.25)):
        group = any_box.sandbox.control_group(name)  # type: ignore[arg-type]
        assert group is any_box.sandbox.control_group(name)  # type: ignore[arg-type]
        assert group.limited() is None
        group.limit(value)
        assert group.limited() == value
        assert group.hits() == 0
        group.limit(None)
        assert group.limited() is None


@usable
def test_the_kernel_counts_what_it_refuses(any_box: Box) -> None:
    group = any_box.sandbox.control_group("pids")
    group.limit(1)
    result = any_box.run("/bin/true; /bin/true", cgroup=group.path)
    assert result.returncode != 0
    assert group.hits() == 1


@usable
@pytest.mark.parametrize("mechanism", ["root", "userns", "plain"])
def test_what_a_killed_harness_left_is_healed_at_the_next_start(
    mechanism: str, make_box: Callable[..., Box], own_journals: Path
) -> None:
    make_box(mechanism).sandbox.close()
    process, paths = harness(mechanism, "memory,pids")
    assert paths and all(os.path.isdir(path) for path in paths)
    assert journal.heal() == [], "a run that lives is left alone"
    finish(process)
    assert any(os.path.isdir(path) for path in paths), "no namespace takes a control group away"
    would = journal.heal(dry_run=True)
    assert [line for line in would if paths[0] in line]
    assert os.path.isdir(paths[0])
    make_box("auto").sandbox.close()
    assert not any(os.path.isdir(path) for path in paths)
    assert journal.heal() == []
    assert list(own_journals.iterdir()) == []


@usable
def test_members_of_a_group_of_a_dead_run_are_ended(own_journals: Path) -> None:
    """A process that escaped from a plain sandbox is still in its group."""
    book = journal.Journal(journal.place(journal.home()), secrets.token_hex(16), os.getpid())
    _, parent = next(cgroups._usable("pids"))
    path = f"{parent}/backupchaos-{book.token}"
    book.make_group(path)
    child = subprocess.Popen(["sleep", "1000"])
    try:
        Path(path, "cgroup.procs").write_text(str(child.pid))
        book.finish(keep=True)
        assert journal.heal_run(journal.home(), book.token, mine=True) == [
            f"removed the control group {path}"
        ]
        assert child.wait(10) == -signal.SIGKILL
        assert not os.path.exists(path)
        assert not os.path.exists(book.path)
    finally:
        child.kill()
        child.wait()
        journal.remove_group(path, 5.0)


def test_a_group_whose_name_is_not_the_runs_is_left_alone(own_journals: Path, tmp_path: Path) -> None:
    """Whoever could write into a journal must not get a directory removed by it."""
    folder = journal.place(journal.home())
    other = tmp_path / "somebody-elses"
    other.mkdir()
    path = Path(folder, "cd" * 16 + ".journal")
    path.write_text(
        json.dumps({"run": "cd" * 16, "boot": "x"}) + "\n" + json.dumps({"group": str(other)}) + "\n"
    )
    assert journal.heal() == []
    assert other.is_dir()
    assert not path.exists()


@usable
def test_a_group_of_another_run_is_left_alone(own_journals: Path) -> None:
    folder = journal.place(journal.home())
    _, parent = next(cgroups._usable("pids"))
    other = Path(parent, f"backupchaos-{secrets.token_hex(16)}")
    other.mkdir()
    try:
        token = secrets.token_hex(16)
        path = Path(folder, f"{token}.journal")
        path.write_text(
            json.dumps({"run": token, "boot": "x"}) + "\n" + json.dumps({"group": str(other)}) + "\n"
        )
        assert journal.heal() == []
        assert other.is_dir()
    finally:
        other.rmdir()


def test_a_journal_that_is_being_begun_is_not_taken_for_a_dead_one(
    own_journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = journal.Journal.write

    def heal_first(self: journal.Journal, **record: Any) -> None:
        journal.heal()
        write(self, **record)

    monkeypatch.setattr(journal.Journal, "write", heal_first)
    book = journal.Journal(journal.place(journal.home()), "ef" * 16, os.getpid())
    assert os.path.exists(book.path)
    book.finish()
    assert not os.path.exists(book.path)


def test_a_machine_without_groups_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_mounts", list)
    assert "not mounted" in cgroups.probe.__wrapped__("memory")


def test_version_two_is_taken_where_children_have_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "unified/user.slice/session.scope"
    own.mkdir(parents=True)
    for folder, controllers in ((own, ""), (own.parent, "memory pids"), (own.parent.parent, "memory")):
        (folder / "cgroup.subtree_control").write_text(controllers)
    mounts = [
        ("cgroup2", "rw", "/", str(tmp_path / "unified")),
        ("cgroup", "rw,cpu,cpuacct", "/", str(tmp_path)),
    ]
    monkeypatch.setattr(cgroups, "_mounts", lambda: mounts)
    monkeypatch.setattr(cgroups, "_own", lambda: {"": "/user.slice/session.scope", "cpu": "/"})
    assert list(cgroups._usable("pids")) == [(2, str(own.parent))]
    assert [folder for _, folder in cgroups._usable("memory")] == [str(own.parent), str(own.parent.parent)]
    assert list(cgroups._usable("cpu")) == [(1, str(tmp_path))]


@pytest.mark.parametrize(
    ("version", "controller", "files", "value", "written"),
    [
        (2, "memory", {"memory.max": "max\n", "memory.swap.max": "max\n"}, 4096, {"memory.max": "4096"}),
        (2, "memory", {"memory.max": "max\n", "memory.swap.max": "max\n"}, 4096, {"memory.swap.max": "0"}),
        (2, "pids", {"pids.max": "max\n"}, 2, {"pids.max": "2"}),
        (2, "cpu", {"cpu.max": "max 100000\n"}, 0.1, {"cpu.max": "10000 100000"}),
        (1, "cpu", {"cpu.cfs_quota_us": "-1\n"}, 0.001, {"cpu.cfs_quota_us": "1000"}),
        (1, "memory", {"memory.limit_in_bytes": "9223372036854771712\n"}, 4096, {}),
    ],
)
def test_the_files_of_both_versions(  # noqa: PLR0917
    tmp_path: Path,
    version: int,
    controller: Any,
    files: dict[str, str],
    value: float,
    written: dict[str, str],
) -> None:
    """As they stand in the kernel's admin guides; a file here is not cut before it is written, as there."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    group = cgroups.Group(str(tmp_path), version, controller)
    assert group.limited() is None
    for name in files:
        (tmp_path / name).write_text("")
    group.limit(value)
    for name, text in written.items():
        assert (tmp_path / name).read_text() == text
    assert group.limited() == max(value, 0.01) if controller == "cpu" else value
    (tmp_path / "cpu.stat").write_text("nr_periods 7\nnr_throttled 3\n")
    (tmp_path / "memory.events").write_text("max 5\noom 2\noom_kill 3\noom_group_kill 0\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (tmp_path / "pids.events").write_text("max 3\n")
    assert group.hits() == 3


def test_it_is_said_why_a_group_has_no_use(tmp_path: Path) -> None:
    assert "cannot be read" in cgroups._hindrance(str(tmp_path), 2, "memory")
    (tmp_path / "cgroup.subtree_control").write_text("cpu io pids\n")
    assert "does not pass memory on" in cgroups._hindrance(str(tmp_path), 2, "memory")
    assert not cgroups._hindrance(str(tmp_path), 2, "cpu")
    assert not cgroups._hindrance(str(tmp_path), 1, "memory")
    assert "no groups there" in cgroups._hindrance(str(tmp_path / "absent"), 1, "memory")


NOBODY = 65534
ORDINARY = """
import os, sys, time
from backupchaos.commands import Command
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability
with LocalEnvironment(sys.argv[1]).sandbox({}) as s:
    try: print("group", s.control_group("memory").path)
    except MissingCapability as missing: print("no group:", missing)
    pid = s.spawn(Command(("/bin/sh", "-c", "while :; do :; done"), cwd="/"), role="target", hostname="elsewhere", rlimits={"nofile": 9})
    born = s.birth(pid)
    print(born["cwd"], born["limits"]["Max open files"])
    s.throttle(0.1)
    before = s.processes()[0].cpu
    time.sleep(1)
    print(s.processes()[0].cpu - before < 0.5, s.throttle(None) > 3)
"""


@pytest.mark.needs("ordinary-user")
@pytest.mark.parametrize("mechanism", ["userns", "plain"])
def test_an_ordinary_user_has_what_needs_no_rights(mechanism: str) -> None:
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(python: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, python, "-B", "-c", *argv],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )

    reachable = [p for p in (sys.executable, "/usr/bin/python3") if run(p, REACHABLE).returncode == 0]
    if not reachable:
        pytest.skip("no interpreter that an ordinary user can reach")
    done = run(reachable[0], ORDINARY, mechanism)
    if "MissingCapability: namespaces" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.stderr == ""
    group, born, slow = done.stdout.splitlines()
    assert group.startswith("no group: cgroup memory: ") and "may not be used" in group
    assert born == "/ 9"
    assert slow == "True True"


# -- what else a job can be given ---------------------------------------------------------------


def test_a_name_of_its_own(any_box: Box) -> None:
    mine = any_box.run("hostname").output
    assert any_box.run("hostname", hostname="another-machine").output == "another-machine\n"
    assert any_box.run("hostname").output == mine


def test_a_limit_below_what_we_need_ourselves(any_box: Box) -> None:
    """Descriptors of the agent's, a filter's listener: nothing of ours counts."""
    from backupchaos.environments.base import SyscallRule

    rule = SyscallRule("watch", ("open",), ("/etc/hostname",), armed=True)
    result = any_box.run("ulimit -n; exec 3</dev/null; exec 4</dev/null", rlimits={"nofile": 4}, rules=[rule])
    assert result.output.startswith("4\n")
    assert result.returncode != 0


def test_what_a_process_was_born_with(any_box: Box) -> None:
    command = Command(
        ("sleep", "5"), {"SECRET": "value", "HOME": "/nowhere", "PATH": "/usr/bin:/bin"}, cwd="/usr"
    )
    pid = any_box.sandbox.spawn(command, role="target", only_env=True, rlimits={"nofile": 77})
    born = any_box.sandbox.birth(pid)
    assert born["cwd"] == "/usr"
    assert {"HOME", "PATH", "SECRET"} <= set(born["names"])
    assert born["env"] == {"HOME": "/nowhere", "PATH": "/usr/bin:/bin"}
    assert born["limits"]["Max open files"] == "77"
    assert "value" not in json.dumps(born)
    any_box.kill(pid)
    assert any_box.sandbox.birth(pid) == born, "it is kept when the process is gone"
    other = any_box.sandbox.spawn(Command(("sleep", "5")), role="tool")
    assert any_box.sandbox.birth(other) == {}


def test_a_slow_processor_by_stops(any_box: Box) -> None:
    pid, read = any_box.start("echo up; while :; do :; done")
    other, other_read = any_box.start("echo up; while :; do :; done", role="tool")
    assert any_box.line(read) == any_box.line(other_read) == "up"
    any_box.sandbox.throttle(0.1)
    before = {p.pid: p.cpu for p in any_box.sandbox.processes()}
    time.sleep(1.5)
    used = {p.pid: p.cpu - before[p.pid] for p in any_box.sandbox.processes()}
    assert any_box.sandbox.throttle(None) >= 3
    assert used[pid] < 0.6
    assert used[other] > used[pid], "only the target is slowed down"
    assert any_box.sandbox.throttle(None) == 0
    deadline = time.monotonic() + 10
    while next(p.state for p in any_box.sandbox.processes() if p.pid == pid) == "T":
        assert time.monotonic() < deadline
    for one in (pid, other):
        any_box.kill(one)
    os.close(read)
    os.close(other_read)


def test_a_process_that_somebody_else_stopped_stays_stopped(any_box: Box) -> None:
    pid, read = any_box.start("echo up; sleep 60")
    assert any_box.line(read) == "up"
    other, other_read = any_box.start("echo up; while :; do :; done")
    assert any_box.line(other_read) == "up"
    any_box.sandbox.signal(pid, signal.SIGSTOP, tree=True)
    any_box.sandbox.throttle(0.2)
    time.sleep(0.5)
    assert any_box.sandbox.throttle(None) > 0
    deadline = time.monotonic() + 10

    def states() -> set[str]:
        return {p.state for p in any_box.sandbox.processes() if p.pid != other}

    while states() != {"T"} and time.monotonic() < deadline:  # a call in the kernel may end first
        time.sleep(0.01)
    assert states() == {"T"}
    for one in (pid, other):
        any_box.kill(one)
    os.close(read)
    os.close(other_read)


def test_missing_groups_are_a_missing_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "probe", lambda controller: "none here")
    missing = pytest.raises(MissingCapability, match="cgroup cpu: none here")
    with LocalEnvironment().sandbox({}) as sandbox, missing:
        sandbox.control_group("cpu")
