"""Whole runs under every kind of fault leave the machine as it was, for root and for an ordinary user."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests import ordinary
from tests.hostwatch import Watch, canary

import backupchaos_scenarios

# -- the watch itself: what it would not see proves nothing ------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path.resolve() / "watched"
    place.mkdir()
    canary(place)
    return place


def _process(folder: Path, undo: ExitStack) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    undo.callback(process.communicate)
    undo.callback(process.kill)


def _orphan(folder: Path, undo: ExitStack) -> None:
    """Its parent is gone, and only its environment tells that it is ours."""
    code = "import os\nif os.fork(): os._exit(0)\nos.setsid(); print(os.getpid(), flush=True); input()"
    env = {"BACKUPCHAOS_RUN": "x", "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    assert process.stdin and process.stdout
    undo.callback(process.stdin.close)  # its end
    undo.callback(process.stdout.close)
    assert int(process.stdout.readline()) != process.pid
    process.wait()


def _port(folder: Path, undo: ExitStack) -> None:
    undo.enter_context(socket.create_server(("127.0.0.1", 0)))


def _mount(folder: Path, undo: ExitStack) -> None:
    (folder / "canary/sub/point").mkdir()
    undo.callback((folder / "canary/sub/point").rmdir)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder / "canary/sub/point"], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs root with CAP_SYS_ADMIN: {done.stderr.decode()}")
    undo.callback(lambda: subprocess.run(["umount", folder / "canary/sub/point"], check=True))


def _loop(folder: Path, undo: ExitStack) -> None:
    (folder / "image").write_bytes(bytes(1 << 16))
    undo.callback((folder / "image").unlink)
    done = subprocess.run(["losetup", "--find", "--show", folder / "image"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a loop device: {done.stderr}")
    undo.callback(lambda: subprocess.run(["losetup", "-d", done.stdout.strip()], check=True))


def _cgroup(folder: Path, undo: ExitStack, token: str = "test") -> None:
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"):
        place = Path(top, f"backupchaos-{token}")
        try:
            place.mkdir()
        except OSError:
            continue
        undo.callback(place.rmdir)
        return
    pytest.skip("needs a cgroup file system that takes directories")


def _attribute(folder: Path, undo: ExitStack) -> None:
    done = subprocess.run(["chattr", "+d", folder / "canary/plain"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a file system with attributes: {done.stderr}")


def _xattr(folder: Path, undo: ExitStack) -> None:
    try:
        os.setxattr(folder / "canary/plain", "user.x", b"1")
    except OSError as problem:
        pytest.skip(f"needs a file system with user attributes: {problem.strerror}")


def _name(folder: Path, undo: ExitStack) -> None:
    path = Path("/dev/shm", f"backupchaos-test-{os.getpid()}")
    path.touch()
    undo.callback(path.unlink)


TRACES: dict[str, Callable[[Path, ExitStack], object]] = {
    "processes/child": _process,
    "processes/orphan": _orphan,
    "ports/own": _port,
    "mounts/in a folder": _mount,
    "loop devices/file": _loop,
    "cgroups/name": lambda folder, undo: _cgroup(folder, undo, os.urandom(16).hex()),
    "names/shared memory": _name,
    "files/flags": _attribute,
    "files/xattr": _xattr,
    "files/new": lambda folder, undo: (folder / "canary/new").touch(),
    "files/gone": lambda folder, undo: (folder / "canary/secret").unlink(),
    "files/mode": lambda folder, undo: (folder / "canary/secret").chmod(0o644),
    "files/time": lambda folder, undo: os.utime(folder / "canary/plain", (1, 1)),
    "files/link": lambda folder, undo: (folder / "canary/link").unlink(),
    "files/content": lambda folder, undo: (folder / "canary/plain").write_text("CANARY plain\n"),
}


@pytest.mark.parametrize("trace", TRACES)
def test_the_watch_sees(trace: str, folder: Path) -> None:
    watch = Watch((folder,))
    before = watch.look()
    assert watch.differences(before) == []
    with ExitStack() as undo:
        TRACES[trace](folder, undo)
        seen = watch.differences(before)
        assert trace.partition("/")[0] in {line.partition(":")[0] for line in seen}
    if not trace.startswith("files"):
        assert watch.settled(before) == []


def test_the_watch_overlooks_strangers(folder: Path, tmp_path: Path) -> None:
    watch = Watch((folder,), harnesses=(2**22 - 5,), expected=("results", "results/*"))
    before = watch.look()
    with ExitStack() as undo:
        _process(folder, undo)
        undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        (tmp_path / "elsewhere").touch()
        (folder / "results").mkdir()
        (folder / "results/one").touch()
        assert [line for line in watch.differences(before) if not line.startswith("ports")] == []


def test_the_watch_overlooks_the_group_of_a_run_that_lives(folder: Path, tmp_path: Path) -> None:
    watch = Watch((folder,), harnesses=())
    before = watch.look()
    token = os.urandom(16).hex()
    with ExitStack() as undo:
        _cgroup(folder, undo, token)
        assert [line.partition(":")[0] for line in watch.differences(before)] == ["cgroups"]
        with (tmp_path / f"{token}.journal").open("w"):
            assert watch.differences(before) == []
            assert Watch((folder,)).differences(before) != [], "our own group counts"
    assert watch.differences(before) == []


# -- whole runs -----------------------------------------------------------------------------------------------


MARKED = ("process.oom", "process.cpu", "dns.failure", "disk.readonly", "file.special", "service.restart")
"""Kinds that touch more than files of their own volume: control groups, mounts, device nodes, servers."""


ORDINARY = ("network.down", "disk.full", "file.locked", "permission.denied", "process.cpu", "file.special")
"""Kinds that an ordinary user's sandbox does otherwise than root's, or that a plain one has at all."""


def smallest(*kinds: str) -> list[str]:
    """For each kind the scenario with the fewest faults and the smallest source."""
    every = sorted(backupchaos_scenarios.all(), key=lambda one: (len(one.faults), one.source.size))
    found = (next(s for s in every if any(f.kind == kind for f in s.faults.values())) for kind in kinds)
    return sorted({scenario.scenario for scenario in found})


def chosen() -> list[str]:
    """The smallest quick scenarios that have a fault of each layer, and one for each of the kinds above."""
    found: dict[str, str] = {}
    for scenario in sorted(backupchaos_scenarios.all(), key=lambda one: (len(one.faults), one.source.size)):
        for fault in scenario.faults.values():
            if "quick" in scenario.tags:
                found.setdefault(fault.layer, scenario.scenario)
    return sorted({*found.values(), *smallest(*MARKED)})


class Host:
    """Folders of one test in place of the user's own, watched."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("tmp", "run", "home", "work"):
            (top / name).mkdir()
        canary(top / "home")
        canary(top / "work")
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(
                [*(str(ordinary.ROOT / name) for name in ordinary.ROOTS), sysconfig.get_path("purelib")]
            ),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(top / "tmp"),
            "XDG_RUNTIME_DIR": str(top / "run"),
            "HOME": str(top / "home"),
        }

    def run(self, command: list[str], scenarios: list[str]) -> tuple[str, list[str]]:
        """(What was printed, what is left)."""
        expected = (".backupchaos", ".backupchaos/*")
        watch = Watch(tuple(self.top / name for name in ("tmp", "run", "home", "work")), (), expected)
        before = watch.look()
        process = subprocess.Popen(
            [*command, "-m", "backupchaos_cli.main", "run", *scenarios, "--seed=7", "-q"],
            cwd=self.top / "work",
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            text, _ = process.communicate(timeout=900)
        finally:
            process.kill()
            process.wait()
        after = Watch(watch.folders, (process.pid,), expected)
        return text, after.settled(before)

    def applied(self) -> set[str]:
        """The kinds of fault that were in force, as the histories tell."""
        import json

        found = set()
        for path in (self.top / "work").glob(".backupchaos/runs/*/history.jsonl"):
            events = [json.loads(line) for line in path.read_text().splitlines()]
            found |= {e["fault"] for e in events if e["kind"] == "fault" and e["status"] == "applied"}
        return found


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp")
@pytest.mark.parametrize("scenario", chosen())
def test_a_run_leaves_the_machine_as_it_was(scenario: str, tmp_path: Path) -> None:
    host = Host(tmp_path)
    text, left = host.run([sys.executable], [scenario])
    assert left == [], text
    if "skipped:" in text:
        pytest.skip(text.strip().splitlines()[1])
    assert host.applied() == {f.kind for f in backupchaos_scenarios.load(scenario).faults.values()}, text


@pytest.mark.slow
@pytest.mark.needs("ordinary-user", "setpriv", "/usr/bin/python3")
@pytest.mark.parametrize("mechanism", ["userns", "plain"])
def test_runs_of_an_ordinary_user_leave_the_machine_as_it_was(mechanism: str) -> None:
    top = (
        Path("/var/tmp") / f"hostwatch-{os.getpid()}-{mechanism}"
    )  # pytest's own folders are closed to others
    top.mkdir(mode=0o755)
    try:
        python = ordinary.reachable_python(top)
        (top / "user").mkdir()
        host = Host(top / "user")
        ordinary.own(host.top)
        del host.env["PYTHONPATH"]
        host.env |= {"BACKUPCHAOS_SANDBOX": mechanism, "PATH": ordinary.PATH}
        if not ordinary.works([*ordinary.BECOME, python, "-c", ordinary.REACH], host.env):
            pytest.skip(
                "the system's Python cannot load our dependencies, or an ordinary user cannot reach them"
            )
        text, left = host.run([*ordinary.BECOME, python], ["normal", *smallest(*ORDINARY)])
        assert left == [], text
        if "MissingCapability: namespaces" in text:
            pytest.skip(text)
        assert len(host.applied()) >= 3, text
    finally:
        shutil.rmtree(top, ignore_errors=True)  # after a time-out something may still be vanishing
