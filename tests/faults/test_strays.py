"""A fault that bites outside of its window is an error of the harness, whatever the mechanism would show of it.

Each test plants the misbehaviour: something acts after the fault was undone, or was there when it was not due.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults import matrix
from tests.faults.bench import Bench, bench, python
from tests.faults.echo import Echo
from tests.faults.test_environment import program
from tests.faults.test_power import image, needs_image
from tests.faults.test_repository_lock import SAME, locking
from tests.faults.test_repository_state import keeper
from tests.faults.test_resources import no_groups
from tests.faults.universal import Universal

from backupchaos.commands import Command
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken
from backupchaos.services import registry
from backupchaos.targets.base import Workspace

pytestmark = pytest.mark.needs("namespaces", "seccomp")
__all__ = ["image", "no_groups"]

IDLE = python("print('idle')")
READY = python("import time\nprint('ready', flush=True)\ntime.sleep(0.3)")
FORKS = python(
    "import os\nfor _ in range(3):\n  try:\n    if not os.fork(): os._exit(0)\n  except OSError: pass"
)
Plant = Callable[[Bench], object]


def broken(made: Bench, words: str) -> None:
    """The run is an error of the harness."""
    with pytest.raises(HarnessBroken, match=f"fault fault struck while it was not in force: .*{words}"):
        made.phases.prove_bites()


def planted(made: Bench, plant: Plant, words: str) -> None:
    """Honest first, and then not."""
    result = made.go()
    assert result.strays == []
    plant(made)
    broken(made, words)


def call(made: Bench, operation: str, **arguments: Any) -> Any:
    return made.world.sandbox.call(operation, **arguments)


def another_job(made: Bench, before: Callable[[int], object] = lambda _: None, **shape: Any) -> None:
    """A job without faults, and what somebody does to it all the same."""
    spawn = made.world.spawn

    def alike(*arguments: Any, **more: Any) -> int:
        pid = spawn(*arguments, **{**more, **shape})
        before(pid)
        return pid

    made.world.spawn = alike  # type: ignore[method-assign]
    made.phases._job("recovery").run()


# -- limits ---------------------------------------------------------------------------------------


def lifted_late(made: Bench) -> None:
    """The limit came back for a while, and is gone again when somebody looks at it."""
    group: Any = made.fault._group  # type: ignore[attr-defined]
    group.limit(1)
    pid = made.world.sandbox.spawn(Command(FORKS), role="tool", cgroup=group.path)
    assert made.world.wait(pid, 20.0) is not None
    group.limit(None)


def limited_again(made: Bench) -> None:
    made.fault._group.limit(100)  # type: ignore[attr-defined]


@pytest.mark.needs("cgroup:pids")
@pytest.mark.parametrize(
    ("plant", "words"),
    [(lifted_late, "the kernel acted 3 times after"), (limited_again, "is still in force")],
)
def test_a_limit_of_a_group_that_is_met_later(tmp_path: Path, plant: Plant, words: str) -> None:
    with bench(tmp_path, {"process.pids": "target", "limit": 5}, IDLE) as made:
        planted(made, plant, words)


@pytest.mark.needs("cgroup:cpu")
def test_a_limit_that_was_met_between_two_times(tmp_path: Path) -> None:
    """It comes again, and its counter is read then: what was counted in between is not the next time's."""
    with bench(tmp_path, {"process.cpu": "target", "share": 0.5}, IDLE) as made:
        assert made.go().strays == []
        fault: Any = made.fault
        fault._quiet -= 2
        fault.begin(made.world.history.now())
        fault.apply()
        fault.end(made.world.history.now())
        fault.undo()
        fault.verify_undone()
        broken(made, "the kernel acted 2 times after")


def test_stops_by_the_agent_go_on(tmp_path: Path, no_groups: None) -> None:
    def plant(made: Bench) -> None:
        busy = python("import time\nwhile time.process_time() < 20: pass")
        pid = made.world.sandbox.spawn(Command(busy), role="target")
        made.world.sandbox.throttle(0.1)
        while not any(p.pid == pid and p.state in "Tt" for p in made.world.sandbox.processes()):
            pass  # its turn to stop comes ten times a second

    with bench(tmp_path, {"process.cpu": "target", "share": 0.5}, IDLE) as made:
        planted(made, plant, "were stopped [1-9][0-9]* times after")


ALIKE: list[tuple[Mapping[str, Any], Mapping[str, Any], str]] = [
    ({"process.oom": "target", "memory": 512 << 20}, {"rlimits": {"as": 512 << 20}}, "process.oom"),
    ({"process.fds": "target", "limit": 40}, {"rlimits": {"nofile": 40}}, "process.fds"),
    ({"disk.quota": "target", "size": 1 << 20}, {"rlimits": {"fsize": 1 << 20}}, "disk.quota"),
    ({"process.minimal_env": "target"}, {"only_env": True}, "process.minimal_env"),
]


@pytest.mark.parametrize(("fault", "shape", "kind"), ALIKE, ids=[row[2] for row in ALIKE])
def test_another_job_is_born_as_only_the_fault_job_should_be(
    tmp_path: Path, no_groups: None, fault: Mapping[str, Any], shape: Mapping[str, Any], kind: str
) -> None:
    with bench(tmp_path, fault, IDLE, env={"PATH": "/usr/bin:/bin"}) as made:
        another_job(made)
        assert made.go().strays == []
        another_job(made)
        assert made.fault.strays() == []
        another_job(made, **shape)
        broken(made, f"the recovery job, process [0-9]+, was born with {kind}")


def test_another_job_lives_in_the_new_home(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        made.phases.target.env = {"HOME": made.fault.home}  # type: ignore[attr-defined]
        another_job(made)

    with bench(tmp_path, {"config.drift": "target"}, IDLE) as made:
        planted(made, plant, "was born with the new HOME")


def test_a_machines_own_limit_is_nobodys_fault(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.fds": "target", "limit": 40}, IDLE) as made:
        another_job(made, rlimits={"nofile": 40})
        assert made.go().strays == []


# -- rules of the supervisor ------------------------------------------------------------------------

OPENS = python("files = []\ntry:\n  for _ in range(9): files.append(open('/dev/null'))\nexcept OSError: pass")
LISTS = python("import os\nfor top, *_ in os.walk('{source}'): os.listdir(top)")
OF_RULES: list[tuple[str, Mapping[str, Any], Sequence[str]]] = [
    ("process.pids", {"limit": 0}, FORKS),
    ("process.fds", {"limit": 8}, OPENS),
    ("file.special", {"types": ["fifo"]}, LISTS),
]


@pytest.mark.parametrize(("kind", "parameters", "argv"), OF_RULES, ids=[row[0] for row in OF_RULES])
def test_calls_on_which_a_rule_acted_outside_of_the_window(
    tmp_path: Path, no_groups: None, kind: str, parameters: Any, argv: Sequence[str]
) -> None:
    def plant(made: Bench) -> None:
        made.fault.windows = [(0.0, 0.001)]
        made.fault.went(0.002)

    place = "source" if kind.startswith("file.") else "target"
    with bench(tmp_path, {kind: place, **parameters}, argv) as made:
        planted(made, plant, r"(errno|observe) on \w+ of .* at [0-9.]+ s")


def test_a_call_while_the_fault_is_being_undone_is_none(tmp_path: Path) -> None:
    """A loaded machine may be slow to take a rule away; until then it is right that it acts."""
    with bench(tmp_path, {"file.special": "source", "types": ["fifo"]}, LISTS) as made:
        made.go()
        made.fault.windows = [(0.0, 0.001)]
        made.fault.went(made.world.history.now())
        assert made.fault.strays() == []


# -- what is there again -----------------------------------------------------------------------------


def closed_again(made: Bench) -> None:
    call(made, "chmod", path=next(iter(made.fault._modes)), mode=0)  # type: ignore[attr-defined]


def locked_again(made: Bench) -> None:
    made.fault.apply()


def planted_again(made: Bench) -> None:
    made.fault._plant()  # type: ignore[attr-defined]


def small_again(made: Bench) -> None:
    made.world.sandbox.leave(Place.REPOSITORY, 0)


def few_again(made: Bench) -> None:
    made.world.sandbox.limit_files(Place.REPOSITORY, left=0)


def frozen_again(made: Bench) -> None:
    made.world.sandbox.freeze(Place.REPOSITORY, True)


def gone_again(made: Bench) -> None:
    made.world.sandbox.vanish(Place.REPOSITORY, True)


AGAIN: list[tuple[Mapping[str, Any], Plant, str]] = [
    ({"permission.denied": "source"}, closed_again, "has mode 000 at the end of the run"),
    ({"permission.denied": "repository"}, closed_again, "has mode 000 at the end of the run"),
    ({"file.locked": "source", "mode": "advisory"}, locked_again, "which held the locks, still lives"),
    ({"file.special": "source"}, planted_again, "is still in the source"),
    ({"disk.full": "repository", "headroom": 0}, small_again, "the repository volume has"),
    ({"disk.inodes": "repository"}, few_again, "the repository volume takes"),
    ({"disk.readonly": "repository"}, frozen_again, "is still read-only"),
    ({"disk.vanishes": "repository"}, gone_again, "did not come back"),
]


@pytest.mark.parametrize(
    ("fault", "plant", "words"), AGAIN, ids=[f"{next(iter(row[0]))}-{n}" for n, row in enumerate(AGAIN)]
)
def test_a_state_that_was_taken_away_is_there_again(
    tmp_path: Path, fault: Mapping[str, Any], plant: Plant, words: str
) -> None:
    with bench(tmp_path, fault, IDLE) as made:
        planted(made, plant, words)


def test_a_lock_that_somebody_holds_again(tmp_path: Path) -> None:
    holder = "import fcntl, os, sys, time\nfd = os.open(sys.argv[1], os.O_RDWR)\nfcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(30)"

    def plant(made: Bench) -> None:
        path = f"{made.ground.source}/{made.fault.paths()[0]}"
        pid = made.world.start(Command((*python(holder), path)), what="somebody")
        while not any(e["text"] == "held" for e in made.world.history.of("beside")):
            assert made.world.wait(pid, 0.02) is None

    with bench(tmp_path, {"file.locked": "source", "mode": "advisory"}, IDLE) as made:
        planted(made, plant, "is in force again .* is still locked")


# -- somebody beside the job -----------------------------------------------------------------------


def test_a_second_job_that_was_not_due(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.concurrent": "target", "when": {"log": "ready"}}, READY) as made:
        planted(made, lambda _: made.fault.apply(), "was started beside the job 2 times, and was due 1 times")


def test_a_second_job_that_works_on(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        fault: Any = made.fault
        pid = made.world.start(Command(("sleep", "30")), what="backup")
        fault._started = [(pid, 0.0, "")]
        fault._waited.add(pid)

    with bench(tmp_path, {"process.concurrent": "target", "when": {"log": "ready"}}, READY) as made:
        planted(made, plant, "the backup beside the job, still lives")


def test_a_producer_that_still_writes(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        made.fault._producer = made.world.start(Command(("sleep", "30")), what="producer")  # type: ignore[attr-defined]

    with bench(tmp_path, {"process.stdin_dies": "target"}, (), target=Universal()) as made:
        planted(made, plant, "the producer, process [0-9]+, survived")


def test_a_producer_that_was_killed_at_another_time(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        made.fault.windows = [(0.0, 0.001)]
        made.fault.went(0.002)

    with bench(tmp_path, {"process.stdin_dies": "target"}, (), target=Universal()) as made:
        planted(made, plant, "kill on write")


# -- blows -----------------------------------------------------------------------------------------


def test_a_signal_that_was_not_due(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.kill": "target", "when": {"log": "ready"}}, READY) as made:
        planted(made, lambda _: made.fault.apply(), "SIGKILL was sent 2 times, and was due 1 times")


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_signal_to_a_job_without_faults(tmp_path: Path, name: str) -> None:
    number = getattr(signal, f"SIG{name}")

    def plant(made: Bench) -> None:
        another_job(made, lambda pid: made.world.sandbox.signal(pid, number))

    with bench(tmp_path, {"process.kill": "target", "signal": name, "when": {"log": "ready"}}, READY) as made:
        planted(made, plant, f"signal {int(number)} was sent to the recovery job")


def test_a_job_that_kills_itself_later_is_the_targets_own_affair(tmp_path: Path) -> None:
    with bench(tmp_path, {"process.kill": "target", "when": {"log": "ready"}}, READY) as made:
        made.go()
        made.phases.target.argv = python("import os; os.kill(os.getpid(), 9)")  # type: ignore[attr-defined]
        another_job(made)
        assert made.fault.strays() == []


def cut_again(made: Bench) -> None:
    made.world.sandbox.cut_power(Place.REPOSITORY)


@needs_image
@pytest.mark.parametrize("kind", ["power.cut", "power.lying_disk"])
def test_the_power_fails_once_more(tmp_path: Path, kind: str) -> None:
    with bench(tmp_path, {kind: "repository", "when": {"exit": True}}, IDLE) as made:
        planted(made, cut_again, "the power was cut 2 times, and was due 1 times")


KEEPING = "import shutil\nshutil.copy('{repository}/f', '{state}/kept')\nopen('{repository}/f', 'wb').write(b'new' * 3000)"


@pytest.mark.parametrize("kind", ["repository.bitflip", "repository.truncate"])
def test_damage_that_was_mended_is_there_again(tmp_path: Path, kind: str) -> None:
    def plant(made: Bench) -> None:
        assert made.run("cp", f"{made.world.path(Place.STATE)}/kept", f"{made.ground.repository}/repo/f").ok

    with bench(tmp_path, {kind: "repository"}, python(KEEPING)) as made:
        made.run("sh", "-c", f"seq 5000 > {made.ground.repository}/repo/f")
        planted(made, plant, "/f had been repaired, and is damaged again")


@pytest.mark.parametrize(
    "kind", ["repository.bitflip", "repository.truncate", "repository.delete", "cache.corrupt", "cache.lost"]
)
def test_damage_that_was_not_due(tmp_path: Path, kind: str) -> None:
    how = (
        {"how": "bit"} if kind == "cache.corrupt" else {}
    )  # what is zeros already cannot be damaged so again
    with bench(tmp_path, {kind: kind.partition(".")[0], **how}, IDLE) as made:
        for folder in ("repository/repo", "cache"):
            made.run("sh", "-c", f"for n in 1 2 3; do seq 5000 > /backupchaos/{folder}/$n; done")
        planted(made, lambda _: made.fault.apply(), "2 times, and was due 1 times")


def test_a_damaged_cache_that_was_mended_is_damaged_again(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        assert made.run("cp", f"{made.world.path(Place.STATE)}/kept", f"{made.world.path(Place.CACHE)}/f").ok

    with bench(
        tmp_path, {"cache.corrupt": "cache"}, python(KEEPING.replace("{repository}", "{cache}"))
    ) as made:
        made.run("sh", "-c", f"seq 5000 > {made.world.path(Place.CACHE)}/f")
        planted(made, plant, "/f had been replaced, and is damaged again")


def test_an_older_copy_that_is_put_back_once_more(tmp_path: Path) -> None:
    with bench(tmp_path, {"repository.rollback": "repository"}, (), target=keeper()) as made:
        made.phases.init_repository()
        planted(made, lambda _: made.fault.apply(), "was exchanged 2 times, and was due 1 times")


def test_a_file_of_the_other_repository_in_the_real_one(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        made.phases.end_lasting()
        assert made.fault.strays() == []
        other = made.fault.folder("other")  # type: ignore[attr-defined]
        assert made.run("cp", "-a", f"{other}/.", made.ground.repository).ok

    with bench(tmp_path, {"repository.swapped": "repository"}, (), target=keeper()) as made:
        made.phases.init_repository()
        planted(made, plant, "of the other repository lies in the real one's place")


def test_a_lock_that_was_taken_away_and_is_there_again(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        assert made.run(
            "cp", f"{made.world.path(Place.STATE)}/kept", f"{made.ground.repository}/repo/a.lock"
        ).ok

    job = locking("a.lock")
    code = job[-1].replace(
        "if os.path.exists(lock): sys.exit('error: locked by ' + open(lock).read())",
        "if os.path.exists(lock): open('{state}/kept', 'w').write(open(lock).read()); os.unlink(lock); sys.exit(1)",
    )
    with bench(tmp_path, SAME, python(code)) as made:
        planted(made, plant, "a.lock had been taken away, and is there again")


def test_a_dead_job_that_lives(tmp_path: Path) -> None:
    def plant(made: Bench) -> None:
        made.fault._pid = made.world.start(Command(("sleep", "30")), what="the dead")  # type: ignore[attr-defined]

    with bench(tmp_path, SAME, locking("a.lock")) as made:
        planted(made, plant, "the dead job, process [0-9]+, lives")


# -- what the target's own commands have become --------------------------------------------------------


class Forgetful(Universal):
    """An adapter that goes on with what the fault job was given."""

    kept: Command | None = None

    def backup(self, work: Workspace) -> Command:
        return self.kept if self.kept is not None else super().backup(work)


def test_the_wrong_password_stays(tmp_path: Path) -> None:
    target = Forgetful()

    def plant(made: Bench) -> None:
        target.kept = target.backup(made.fault.workspace(made.world.workspace))

    with bench(tmp_path, {"repository.wrong_password": "repository"}, (), target=target) as made:
        planted(made, plant, "words of later commands carry the wrong password")


def test_the_other_version_stays(tmp_path: Path) -> None:
    target = Forgetful()

    def plant(made: Bench) -> None:
        target.kept = target.drifted(made.world.workspace)

    with bench(tmp_path, {"version.drift": "target"}, (), target=target) as made:
        planted(made, plant, "the target's own command has become the other version's")


def test_another_job_is_done_by_the_other_program(tmp_path: Path) -> None:
    path = program(tmp_path)

    def plant(made: Bench) -> None:
        made.phases.target.argv = (path, "-c", "print('again')")  # type: ignore[attr-defined]
        another_job(made)

    with bench(tmp_path, {"version.drift": "target", "program": path}, IDLE) as made:
        planted(made, plant, f"the recovery job was done by {path}")


# -- links and servers -----------------------------------------------------------------------------------


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "make_service", lambda kind, prefer=None: Echo())


@pytest.mark.parametrize("kind", ["network.slow", "network.latency"])
@pytest.mark.parametrize(
    "server", ["embedded", pytest.param("toxiproxy", marks=pytest.mark.needs("toxiproxy-server"))]
)
def test_a_toxic_that_is_on_the_link_again(
    tmp_path: Path, echo: None, kind: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server == "embedded":
        monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def plant(made: Bench) -> None:
        assert made.world.link is not None
        assert made.world.links is not None
        assert made.world.links.server_used.startswith(server)
        made.world.link.toxic("latency", "upstream", name="fault_upstream", latency=5)

    with bench(tmp_path, {kind: "repository", **matrix.PARAMETERS[kind]}, IDLE, repository="rest") as made:
        planted(made, plant, "is in force again at the end of the run: still on the link: fault_upstream")


def down_again(made: Bench) -> None:
    assert made.world.link is not None
    made.world.link.down("refused", cause="fault")


@pytest.mark.parametrize("kind", ["network.down", "network.blackhole"])
def test_a_link_that_is_down_again(tmp_path: Path, echo: None, kind: str) -> None:
    with bench(tmp_path, {kind: "repository"}, IDLE, repository="rest") as made:
        planted(made, down_again, "the link is still refused after")


AWAY = {"service.kill": "repository", "when": {"log": "ready"}, "for": 0.1}
RESTARTED = {"service.restart": "repository", "when": {"log": "ready"}}


def ended_by_itself(made: Bench) -> None:
    pid = made.world.service_pid
    assert pid is not None
    made.world.sandbox.signal(pid, signal.SIGKILL, tree=True)
    assert made.world.wait(pid, 10.0) is not None


def refused_in_its_name(made: Bench) -> None:
    assert made.world.link is not None
    made.world.loop.pump_until(lambda: False, 0.2)  # later than the tap's last word about the fault itself
    made.world.link.down("refused", cause="fault")
    with pytest.raises(ConnectionRefusedError):
        made.world.sandbox.connect(made.world.link.port)
    made.world.link.up(cause="fault")
    made.world.poll_links()


def stopped_again(made: Bench) -> None:
    made.fault.stop(signal.SIGTERM)  # type: ignore[attr-defined]
    made.fault.start()  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", [AWAY, RESTARTED], ids=["kill", "restart"])
@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (ended_by_itself, "the server, process [0-9]+, ended with -9 while it was to run"),
        (refused_in_its_name, "refused at [0-9.]+ s"),
        (stopped_again, "the server was stopped 2 times, and was due 1 times"),
    ],
    ids=["ended", "refused", "stopped"],
)
def test_a_server_that_is_away_at_another_time(
    tmp_path: Path, echo: None, fault: Mapping[str, Any], plant: Plant, words: str
) -> None:
    with bench(tmp_path, fault, READY, repository="rest") as made:
        planted(made, plant, words)


def test_an_order_that_the_server_has_again(tmp_path: Path) -> None:
    with bench(tmp_path, {"service.slow": "repository", "delay": 0.1}, IDLE, repository="sftp") as made:
        planted(made, lambda _: made.fault.apply(), "still does what it was told")
