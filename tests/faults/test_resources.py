"""Too little memory, too few descriptors, no more processes, a slow processor, a poor environment."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Probe, Tried, bench, python, tried

from backupchaos.commands import Command
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.base import JobShape
from backupchaos.faults.limits import is_go
from backupchaos.targets.base import Workspace

pytestmark = pytest.mark.needs("namespaces", "seccomp")

IDLE = python("import time\nprint('idle', flush=True)\ntime.sleep(0.2)")
HUNGRY = python("data = bytearray(200 << 20)\nprint('fed')")
OPENS = python("files = []\nfor n in range(40): files.append(open('/dev/null'))\nprint('opened', len(files))")
FORKS = python(
    "import os, sys\nfor n in range(4):\n  pid = os.fork()\n  if not pid: os._exit(0)\n  os.waitpid(pid, 0)\n  print('forked', n, flush=True)"
)
BUSY = python("import time\nwhile time.process_time() < 0.15: pass\nprint('done')")


@pytest.fixture
def no_groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nobody may make a control group."""

    def refuse(self: LocalSandbox, controller: str) -> Any:
        raise MissingCapability(f"cgroup {controller}", "not on this machine")

    monkeypatch.setattr(LocalSandbox, "control_group", refuse)
    yield


def group_is_gone(result: Tried) -> bool:
    """The control group that the job was in went with its sandbox."""
    return not Path(result.fault._group.path).exists()  # type: ignore[attr-defined]


# -- memory -------------------------------------------------------------------------------------


@pytest.mark.needs("cgroup:memory")
def test_the_kernel_kills_a_job_that_wants_too_much(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.oom": "target", "memory": 48 << 20}, HUNGRY)
    assert result.returncode == -signal.SIGKILL
    assert result.proof == ["the kernel killed for lack of memory: oom_kill 1"]
    assert result.fault.mechanism.startswith("cgroup v")
    assert group_is_gone(result)


@pytest.mark.needs("cgroup:memory")
def test_a_job_that_needs_little_does_not_meet_the_limit(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.oom": "target", "memory": 400 << 20}, HUNGRY)
    assert result.lines == ["fed"]
    assert result.proof == []


@pytest.mark.needs("cgroup:memory")
def test_other_jobs_are_not_limited_and_the_limit_ends_with_the_job(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.oom": "target", "memory": 48 << 20}, HUNGRY) as made:
        result = made.go()
        assert result.proof
        assert made.run(*HUNGRY).stdout == "fed\n"
        group = made.world.sandbox.control_group("memory")
        assert group.limited() is None
        assert Path(group.path).is_dir()
    assert not Path(group.path).exists()


@pytest.mark.needs("cgroup:memory")
def test_a_limit_that_is_not_in_force_is_the_harnesss_error(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.oom": "target"}, HUNGRY) as made:
        group = made.world.sandbox.control_group("memory")
        group.limit = lambda value: None  # type: ignore[method-assign]
        with pytest.raises(HarnessBroken, match="no limit is in force"):
            made.go()


def test_without_groups_the_address_space_is_limited(tmp_path: Path, no_groups: None) -> None:
    result = tried(tmp_path, {"process.oom": "target", "memory": 100 << 20}, HUNGRY)
    assert result.returncode == 1
    assert result.fault.mechanism.startswith("RLIMIT_AS")
    assert f"with a limit of {100 << 20} bytes" in result.proof[0]
    assert "MemoryError" in result.proof[0]


def test_words_of_memory_without_the_limit_are_no_proof(tmp_path: Path, no_groups: None) -> None:
    result = tried(tmp_path, {"process.oom": "target", "memory": 100 << 20}, python("print('idle')"))
    assert result.proof == []
    talk = python("print('MemoryError', flush=True)")
    with bench(tmp_path / "other", {"process.oom": "target", "memory": 100 << 20}, talk) as made:
        made.fault.shape = lambda: None  # type: ignore[method-assign]
        assert made.go().proof == []


@pytest.mark.needs("rclone")
def test_go_cannot_have_a_limited_address_space(tmp_path: Path, no_groups: None) -> None:
    from backupchaos_targets.programs import find_program

    rclone = find_program("rclone")
    assert rclone is not None and is_go(rclone)
    assert not is_go(sys.executable)
    assert not is_go(__file__)
    assert not is_go("/nowhere")
    with pytest.raises(MissingCapability, match="a Go program cannot live"):
        tried(tmp_path, {"process.oom": "target"}, (rclone, "version"))


# -- descriptors --------------------------------------------------------------------------------


def test_the_last_descriptor_is_seen_to_be_used_up(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.fds": "target", "limit": 8}, OPENS)
    assert result.returncode == 1
    assert any("Too many open files" in line for line in result.lines)
    assert "with all 8 in use, first: open" in result.proof[0]
    assert "'/dev/null'" in result.proof[0]


def test_enough_descriptors_are_no_fault(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.fds": "target", "limit": 64}, OPENS)
    assert result.lines == ["opened 40"]
    assert result.proof == []


def test_pipes_and_sockets_are_descriptors_too(tmp_path: Path) -> None:
    code = "import os\nmade = []\ntry:\n  while True: made += os.pipe()\nexcept OSError as e: print(e.errno, flush=True)"
    result = tried(tmp_path, {"process.fds": "target", "limit": 8}, python(code))
    assert result.lines == ["24"]
    assert "pipe2" in result.proof[0]


def test_a_limit_above_the_machines_own_is_no_error(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.fds": "target", "limit": 1_000_000}, OPENS)
    assert result.lines == ["opened 40"]
    assert result.proof == []


# -- processes and threads ----------------------------------------------------------------------


@pytest.mark.needs("cgroup:pids")
def test_the_kernel_refuses_the_first_fork(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.pids": "target"}, FORKS)
    assert any("Resource temporarily unavailable" in line for line in result.lines)
    assert result.proof == ["the kernel refused to start a process or thread: max 1"]
    assert group_is_gone(result)


@pytest.mark.needs("cgroup:pids")
def test_as_many_as_are_allowed_at_once_may_run(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.pids": "target", "limit": 1}, FORKS)
    assert len([line for line in result.lines if line.startswith("forked")]) == 4
    assert result.proof == []


def test_without_groups_the_supervisor_refuses(tmp_path: Path, no_groups: None) -> None:
    result = tried(tmp_path, {"process.pids": "target", "limit": 2}, FORKS)
    assert result.lines[:2] == ["forked 0", "forked 1"]
    assert any("Resource temporarily unavailable" in line for line in result.lines)
    assert result.proof[0].startswith("1 times refused with EAGAIN")
    assert "seccomp" in result.fault.mechanism


def test_without_groups_threads_are_refused_too(tmp_path: Path, no_groups: None) -> None:
    code = "import threading\nthreading.Thread(target=print).start()"
    result = tried(tmp_path, {"process.pids": "target"}, python(code))
    assert any("can't start new thread" in line for line in result.lines)
    assert "clone" in result.proof[0]


@pytest.mark.parametrize("groups", [True, False])
def test_a_job_that_works_alone_does_not_meet_it(
    tmp_path: Path, groups: bool, request: pytest.FixtureRequest
) -> None:
    if not groups:
        request.getfixturevalue("no_groups")
    assert tried(tmp_path, {"process.pids": "target"}, IDLE).proof == []


# -- processor ----------------------------------------------------------------------------------


@pytest.mark.needs("cgroup:cpu")
def test_a_tenth_of_a_processor_takes_ten_times_as_long(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.cpu": "target", "share": 0.1}, BUSY)
    assert result.lines == ["done"]
    assert result.job.ended - result.job.started > 0.7
    assert result.proof[0].startswith("the job had to wait for the processor: nr_throttled ")


@pytest.mark.needs("cgroup:cpu")
def test_it_can_begin_and_end_while_the_job_runs(tmp_path: Path) -> None:
    code = "import time\nprint('ready', flush=True)\nwhile time.process_time() < 0.5: pass"
    fault = {"process.cpu": "target", "share": 0.1, "when": {"log": "ready"}, "for": 0.6}
    result = tried(tmp_path, fault, python(code))
    assert result.proof
    assert result.job.ended - result.job.started < 4.0


@pytest.mark.needs("cgroup:cpu")
def test_a_job_that_sleeps_does_not_wait_for_the_processor(tmp_path: Path) -> None:
    fault = {"process.cpu": "target", "share": 0.5, "when": {"log": "idle"}}
    assert tried(tmp_path, fault, IDLE).proof == []


def test_without_groups_it_is_stopped_most_of_the_time(tmp_path: Path, no_groups: None) -> None:
    result = tried(tmp_path, {"process.cpu": "target", "share": 0.2}, BUSY)
    assert result.lines == ["done"]
    assert result.job.ended - result.job.started > 0.4
    assert result.proof[0].startswith("the job was stopped ")
    assert result.fault.mechanism.startswith("SIGSTOP")


def test_without_groups_a_job_that_sleeps_loses_nothing(tmp_path: Path, no_groups: None) -> None:
    """It sleeps from before the fault until after it."""
    fault = {"process.cpu": "target", "share": 0.1, "when": {"after": 0.2}, "for": 0.3}
    result = tried(tmp_path, fault, ("sleep", "0.7"))
    assert result.fault.mechanism.startswith("SIGSTOP")
    assert result.proof == []


def test_without_groups_nobody_is_left_standing(tmp_path: Path, no_groups: None) -> None:
    """Also what the job has started goes on when the fault is over."""
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY[2]!r}], check=True)\nprint('ready', flush=True)\nsubprocess.run([sys.executable, '-c', {BUSY[2]!r}], check=True)"
    fault = {"process.cpu": "target", "share": 0.2, "until": {"log": "ready"}}
    result = tried(tmp_path, fault, python(code))
    assert result.returncode == 0
    assert result.proof
    (undone,) = [e for e in result.events if e.kind == "fault" and e["status"] == "undone"]
    assert undone.t < result.job.ended


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="at least 1%"):
        tried(tmp_path, {"process.cpu": "target", "share": 0.0}, IDLE)


# -- environment --------------------------------------------------------------------------------

SHOWS = "import os, time\nprint(sorted(os.environ))\nprint(os.getcwd(), os.environ['PATH'], os.isatty(0), flush=True)\ntime.sleep(0.2)"


def test_as_under_cron(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.minimal_env": "target"}, python(SHOWS), env={"TOOL_PASSWORD": "x"})
    names = result.lines[0]
    assert "'TOOL_PASSWORD'" in names and "'SHELL'" in names
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "LANG"):
        assert f"'{name}'" not in names
    assert result.lines[1] == "/ /usr/bin:/bin False"
    assert result.proof == [
        "the job's working directory was / and its environment PATH, SHELL, TOOL_PASSWORD"
    ]


def test_a_home_that_the_adapter_sets_goes_too(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.minimal_env": "target"}, python(SHOWS), env={"HOME": "/root"})
    assert "'HOME'" not in result.lines[0]
    assert result.proof


class Inside(Probe):
    """A job that has to be run in the source, as ``borg create ARCHIVE .``."""

    def backup(self, work: Workspace) -> Command:
        command = super().backup(work)
        return Command(command.argv, command.env, cwd=work.source)


def test_a_directory_that_the_command_needs_stays(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.minimal_env": "target"}, (), target=Inside(python(SHOWS)))
    assert result.lines[1].endswith("/source /usr/bin:/bin False")
    assert "/source and its environment" in result.proof[0]


def test_a_program_that_is_not_on_the_short_path_fails_as_under_cron(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.minimal_env": "target"}, ("backupchaos-no-such-tool", "run"))
    assert result.returncode == 127
    assert any("not found" in line for line in result.lines)


def test_a_program_on_the_short_path_is_found(tmp_path: Path) -> None:
    result = tried(tmp_path, {"process.minimal_env": "target"}, ("sleep", "0.2"))
    assert result.returncode == 0
    assert result.proof


def test_a_job_that_was_given_a_home_is_no_proof(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.minimal_env": "target"}, python(SHOWS)) as made:
        shape = JobShape(env={"PATH": "/usr/bin:/bin"}, cwd="/")
        made.fault.shape = lambda: shape  # type: ignore[method-assign]
        assert made.go().proof == []


# -- every kind of sandbox ----------------------------------------------------------------------

READY = python("import time\nprint('ready', flush=True)\ntime.sleep(1)")
EVERYWHERE: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"process.oom": "target", "memory": 100 << 20}, HUNGRY),
    ({"process.fds": "target", "limit": 8}, OPENS),
    ({"process.pids": "target"}, FORKS),
    ({"process.cpu": "target", "share": 0.2}, BUSY),
    ({"process.minimal_env": "target"}, IDLE),
    ({"process.kill": "target", "when": {"log": "ready"}}, READY),
    ({"process.pause": "target", "when": {"log": "ready"}, "for": 0.3}, READY),
]


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["userns", "plain"])
@pytest.mark.parametrize("groups", [True, False], ids=["groups", "no_groups"])
@pytest.mark.parametrize("story", EVERYWHERE, ids=[next(iter(fault)) for fault, _ in EVERYWHERE])
def test_it_bites_in_the_other_sandboxes_too(
    tmp_path: Path, story: tuple[Any, Any], mechanism: str, groups: bool, request: pytest.FixtureRequest
) -> None:
    if not groups:
        request.getfixturevalue("no_groups")
    result = tried(tmp_path, *story, environment=LocalEnvironment(mechanism))
    assert result.proof
    assert result.strays == []
    assert [e["status"] for e in result.events if e.kind == "fault"].count("failed") == 0


# -- real tools ---------------------------------------------------------------------------------


class Tool(Probe):
    """A real tool on the bench; ``made`` is the adapter."""

    def __init__(self, made: Any) -> None:
        super().__init__(())
        self.backup, self.init = made.backup, made.init  # type: ignore[method-assign]


def real(tmp_path: Path, fault: dict[str, Any], made: Any) -> Tried:
    with bench(tmp_path, fault, (), target=Tool(made)) as it:
        it.phases.init_repository()
        return it.go()


@pytest.mark.needs("restic", "cgroup:pids")
def test_restic_cannot_live_without_threads(tmp_path: Path) -> None:
    from backupchaos_targets.restic import ResticTarget

    result = real(tmp_path, {"process.pids": "target"}, ResticTarget())
    assert result.returncode not in (0, 3)
    assert result.proof


@pytest.mark.needs("borg")
def test_borg_needs_more_than_six_descriptors(tmp_path: Path) -> None:
    from backupchaos_targets.borg import BorgTarget

    result = real(tmp_path, {"process.fds": "target", "limit": 6}, BorgTarget())
    assert result.returncode != 0
    assert "in use" in result.proof[0]
