"""SIGKILL of any part of us, at any instant, under any faults: the kernel takes everything of ours along."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.hostwatch import Watch
from tests.survivors import alive, descendants, processes, wait_until

from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
TRIALS = 20
PATIENCE = 120
GROUPS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "network": (
        "sftp",
        [
            {"network.down": "repository"},
            {"network.latency": "repository", "delay": "50ms"},
            {"file.locked": "source"},
            {"permission.denied": "source"},
        ],
    ),
    "disk": (
        "local",
        [
            {"disk.full": "repository"},
            {"disk.slow": "repository"},
            {"file.unreadable": "source"},
            {"file.locked": "source", "files": 3},
            {"permission.denied": "source", "pick": "largest"},
        ],
    ),
    "machine": (
        "sftp",
        [
            {"dns.failure": "repository", "mode": "silent"},
            {"service.slow": "repository", "delay": "50ms"},
            {"disk.readonly": "repository"},
            {"clock.jump": "target", "by": "1h", "direction": "forward"},
        ],
    ),
    "power": (
        "local",
        [
            {"power.cut": "repository", "when": {"exit": True}},
            {"disk.vanishes": "source"},
            {"file.grows": "source"},
            {"file.special": "source"},
        ],
    ),
    "limits": (
        "local",
        [
            {"process.oom": "target", "memory": "1GiB"},
            {"process.pids": "target", "limit": 500},
            {"process.fds": "target", "limit": 500},
            {"process.cpu": "target", "share": "90%"},
        ],
    ),
}
"""Repository, and faults that are in force together when the blow comes; a new kind is one more line here."""
HOLD = {"process.pause": "target", "for": "50s"}
"""The last of each group: the job stands still, so that the others stay in force until the blow."""


def scenario(name: str, group: str, when: str = "{at: 50%}") -> str:
    """A scenario file: every fault of the group at the same byte."""
    repository, faults = GROUPS[group]
    lines = [
        f"scenario: {name}",
        "title: A small run that is about to be killed",
        f"repository: {repository}",
    ]
    lines += ["source: {files: 30, size: 1MiB, new: 512KiB}", "deadline: 60s", "faults:"]
    for number, fault in enumerate([*faults, HOLD]):
        words = json.dumps(fault)[1:-1]
        start = "" if "when" in fault or KINDS[next(iter(fault))].whole_job else f", when: {when}"
        lines.append(f"  f{number}: {{{words}{start}}}")
    return "\n".join(lines) + "\n"


def events(project: Path) -> Iterator[list[dict[str, Any]]]:
    """The history of each run so far; a line that is being written is left out."""
    for path in project.glob(".backupchaos/runs/*/history.jsonl"):
        lines = path.read_bytes().split(b"\n")[:-1]
        yield [json.loads(line) for line in lines]


def in_force(project: Path) -> int:
    """In how many runs the job stands still, all faults of its group in force."""
    return sum(
        any(e["kind"] == "fault" and e["fault"] in HOLD and e["status"] == "applied" for e in run)
        for run in events(project)
    )


class Doomed:
    """A pytest with folders of its own."""

    def __init__(self, top: Path, *options: str) -> None:
        self.project, self.place = top / "project", top / "place"
        for folder in (self.project, self.place):
            folder.mkdir(exist_ok=True)
        temporary = ("pytest-of-*",)
        self.watch = Watch((self.place,), (), expected=(*temporary, *(f"{name}/*" for name in temporary)))
        self.before = self.watch.look()
        self.output = top / "output"
        self.env = {**os.environ, "TMPDIR": str(self.place), "XDG_RUNTIME_DIR": str(self.place)}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(self.project)],
                cwd=self.project,
                env=self.env,
                stdout=output,
                stderr=output,
            )

    def wait_for(self, done: Callable[[], object]) -> None:
        assert wait_until(lambda: done() or self.process.poll() is not None, PATIENCE)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def left(self, doomed: dict[int, str]) -> list[str]:
        """What there still is of it, when the kernel has had its time, and the next start has healed.

        Before that, a control group and the journal that announces it are the most that may be left.
        """
        wait_until(lambda: not alive(doomed), 20)
        watch = Watch(self.watch.folders, (self.process.pid, *doomed), self.watch.expected)
        found = [f"process {pid}" for pid in alive(doomed)]
        found += watch.settled(self.before, 5, excused=self._healable)
        heal = [sys.executable, "-m", "backupchaos_cli.main", "cleanup"]
        subprocess.run(heal, env=self.env, cwd=self.project, check=True, capture_output=True, timeout=60)
        return found + watch.settled(self.before)

    def _healable(self, line: str) -> bool:
        folder = f"{self.place}/backupchaos-{os.geteuid()}"
        journal = line.startswith(f"files: + {folder} ") or (folder in line and ".journal " in line)
        return journal or line.startswith("cgroups: +")


@contextmanager
def doomed_run(top: Path, *options: str) -> Iterator[Doomed]:
    run = Doomed(top, *options)
    try:
        yield run
    finally:
        run.end()


# -- the harness, at any instant --------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(TRIALS))
def test_nothing_survives_a_killed_pytest(trial: int, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    group = list(GROUPS)[trial % len(GROUPS)]
    (tmp_path / "project/doomed.chaos.yaml").write_text(scenario("doomed", group))
    instant = random.Random(trial).randint(1, 150)
    with doomed_run(tmp_path) as run:
        run.wait_for(lambda: sum(map(len, events(run.project))) >= instant or in_force(run.project))
        doomed = descendants(run.process.pid)
        assert doomed or run.process.poll() is not None, "nothing was running: the test kills thin air"
        run.end()
        assert run.left(doomed) == []


# -- every part of us, while faults are in force ----------------------------------------------------------


def named(word: str) -> Callable[[int], bool]:
    return lambda pid: word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def depth(pid: int) -> list[str]:
    """The pids of a process in its PID namespaces, the host's first."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))


def supervises(pid: int) -> bool:
    links = Path(f"/proc/{pid}/fd").glob("*")
    return named("agent.py")(pid) and any("seccomp notify" in os.readlink(link) for link in links)


PARTS: dict[str, Callable[[int], bool]] = {
    "agent": lambda pid: named("agent.py")(pid) and len(depth(pid)) == 1,
    "sandbox's first process": lambda pid: named("agent.py")(pid) and depth(pid)[1:] == ["1"],
    "supervisor": supervises,
    "link daemon": named("backupchaos.links.linkd"),
}


def those(pids: Iterable[int], wanted: Callable[[int], bool]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if wanted(pid):
                found.append(pid)
        except (OSError, StopIteration):
            continue  # it has just ended
    return found


HAS = [
    (part, group)
    for part in ["pytest", *PARTS]
    for group in GROUPS
    if part != "link daemon" or GROUPS[group][0] != "local"
]
"""A local repository has no link."""


@pytest.mark.parametrize(("part", "group"), HAS)
def test_nothing_survives_a_killed_part(part: str, group: str, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/doomed.chaos.yaml").write_text(scenario("doomed", group))
    with doomed_run(tmp_path) as run:
        run.wait_for(lambda: in_force(run.project))
        assert run.process.poll() is None, run.output.read_text()
        (history,) = events(run.project)
        kinds = [e["fault"] for e in history if e["kind"] == "fault" and e["status"] == "applied"]
        due = [next(iter(fault)) for fault in [*GROUPS[group][1], HOLD] if "when" not in fault]
        assert sorted(kinds) == sorted(due)
        doomed = descendants(run.process.pid)
        victims = [run.process.pid] if part == "pytest" else those(doomed, PARTS[part])
        assert len(victims) == 1, f"which of {doomed} is the {part}?"
        os.kill(victims[0], signal.SIGKILL)
        if part != "pytest":
            assert wait_until(lambda: run.process.poll() is not None, PATIENCE), "the harness hangs"
            assert run.process.returncode == 1
            (result,) = run.project.glob(".backupchaos/runs/*/results.json")
            told = json.loads(result.read_text())
            assert told["verdict"] == "invalid", f"the target is blamed for our death: {told['headline']}"
        run.end()
        assert run.left(doomed) == []


# -- workers of pytest-xdist ------------------------------------------------------------------------------


@pytest.mark.needs("python:xdist")
def test_nothing_survives_a_killed_worker_nor_its_controller(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    for number, group in enumerate(list(GROUPS)[:2]):
        name = f"doomed{number}"
        (tmp_path / f"project/{name}.chaos.yaml").write_text(scenario(name, group))
    with doomed_run(tmp_path, "-n", "2", "--max-worker-restart=0") as run:
        run.wait_for(lambda: in_force(run.project) == 2)
        assert run.process.poll() is None, run.output.read_text()
        workers = {
            pid: below
            for pid, (parent, _) in processes().items()
            if parent == run.process.pid and those(below := descendants(pid), PARTS["agent"])
        }
        assert len(workers) == 2
        (first, its), (second, others) = sorted(workers.items())
        doomed = descendants(run.process.pid)
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: not alive(its), 20), f"survivors of the worker: {alive(its)}"
        assert alive(others), "the other worker's run was taken along"
        run.end()
        assert run.left(doomed) == [], f"{second} was the other worker"
