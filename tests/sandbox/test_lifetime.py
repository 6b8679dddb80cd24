"""What is left when it ends: by close, by an error, by SIGKILL at any instant."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from backupchaos.commands import Command
from backupchaos.environments.base import Place
from backupchaos.environments.local import journal
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import HarnessBroken

from .conftest import LIMIT, Box

HARNESS = """
import os, sys
from backupchaos.commands import Command
from backupchaos.environments.base import Place, SyscallRule
from backupchaos.environments.local.environment import LocalEnvironment
print("start", flush=True)
s = LocalEnvironment(sys.argv[1]).sandbox({Place.SOURCE: 1 << 20})
rule = SyscallRule("h", ("open",), ("/nowhere/**",), armed=True)
script = f"(setsid sleep 1000 &); trap '' TERM; sleep 1000 & echo {sys.argv[2]}; wait"
read, write = os.pipe()
s.spawn(Command(("sh", "-c", script), {"MARKER": sys.argv[2]}), role="target", stdout=write, rules=[rule])
assert os.read(read, 100)
s.spawn(Command(("sleep", "1000"), {"MARKER": sys.argv[2]}), role="service")
print("up", flush=True)
if sys.argv[3] == "work":
    while True: s.call("build_tree", root=s.path(Place.SOURCE) + "/t", spec={"files": 5, "size": 5000}, seed=1); s.call("remove_tree", path=s.path(Place.SOURCE))
s.events()
input()
"""


def marked(marker: str) -> list[str]:
    """Live processes with the marker in their environment or command line, or whose parent is such a one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            continue
        if marker.encode() in text and state not in b"ZX":
            found.append(f"{entry.name} {text[:200]!r}")
    return found


def agents_of(pid: int) -> list[int]:
    """The processes whose command line names ``pid`` as their harness."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and (entry / "cmdline").read_bytes().endswith(b"\0%d\0" % pid)
                and b"agent.py" in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def gone(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while left := check():
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


def private_directories() -> list[str]:
    return [str(path) for path in Path(tempfile.gettempdir()).glob(f"backupchaos-{os.geteuid()}/*")]


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["root", "userns", "plain"])
def test_killing_the_harness_at_any_instant_leaves_nothing(
    mechanism: str, tmp_path: Path, make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_box(mechanism).sandbox.close()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dice = random.Random(7)
    mounts = Path("/proc/self/mountinfo").read_text()
    for trial in range(20):
        marker = f"marker-{mechanism}-{os.getpid()}-{trial}"
        argv = [sys.executable, "-c", HARNESS, mechanism, marker, "work" if trial % 2 else "rest"]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        assert process.stdout and process.stdin
        assert process.stdout.readline() == b"start\n"
        if trial % 4 == 3:  # a quarter of the trials once everything stands, the others on the way
            assert process.stdout.readline() == b"up\n"
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
        gone(partial(marked, marker))
        gone(partial(agents_of, process.pid))
        gone(private_directories)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    # Python tries out a directory for temporary files by a file of these four letters, and may be killed before it is gone.
    assert not [
        path for path in tmp_path.iterdir() if not path.is_file() or path.read_bytes() not in (b"", b"blat")
    ]


@pytest.mark.parametrize("mechanism", ["root", "userns", "plain"])
def test_close_ends_everything_and_is_idempotent(mechanism: str, make_box: Callable[..., Box]) -> None:
    box = make_box(mechanism)
    marker = f"marker-close-{mechanism}-{os.getpid()}"
    _, read = box.start("trap '' TERM; (setsid sleep 1000 &); echo up; sleep 1000", env={"MARKER": marker})
    assert box.line(read) == "up"
    gone(lambda: len(marked(marker)) < 2)  # the daemon may be in the middle of its exec
    box.sandbox.close()
    assert marked(marker) == []
    box.sandbox.close()
    assert box.sandbox.events() == []
    with pytest.raises(HarnessBroken, match="closed"):
        box.sandbox.processes()
    os.close(read)


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["root", "userns"])
def test_a_hundred_sandboxes_leak_no_descriptor(mechanism: str, make_box: Callable[..., Box]) -> None:
    make_box(mechanism).sandbox.close()
    environment = LocalEnvironment(mechanism)
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with environment.sandbox({}) as sandbox:
            sandbox.spawn(Command(("true",)), role="tool")
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_forked_copy_does_not_end_the_sandbox(any_box: Box) -> None:
    pid = os.fork()
    if pid == 0:
        any_box.sandbox.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert any_box.run("echo alive").output == "alive\n"


@pytest.mark.parametrize("mechanism", ["root", "userns", "plain"])
def test_a_killed_agent_is_our_fault_and_leaves_nothing(mechanism: str, make_box: Callable[..., Box]) -> None:
    box = make_box(mechanism)
    marker = f"marker-agent-{mechanism}-{os.getpid()}"
    _, read = box.start("echo up; exec sleep 1000", env={"MARKER": marker})
    assert box.line(read) == "up"
    for agent in agents_of(os.getpid()):
        os.kill(agent, signal.SIGKILL)
    gone(lambda: marked(marker))
    with pytest.raises(HarnessBroken, match="agent died"):
        box.sandbox.processes()
    with pytest.raises(HarnessBroken, match="agent died"):
        box.sandbox.events()
    root = box.path(Place.SOURCE)
    box.sandbox.close()
    assert not os.path.exists(root)
    os.close(read)


def _dead_run(tmp_path: Path) -> tuple[Path, subprocess.Popen[bytes]]:
    """A plain run whose harness and agents are all killed at once, with a daemon that outlives them."""
    argv = [sys.executable, "-c", HARNESS, "plain", f"marker-heal-{tmp_path}", "rest"]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert process.stdout
    while process.stdout.readline() != b"up\n":
        pass
    folder = next(tmp_path.glob("backupchaos-*"))
    everybody = [*agents_of(process.pid), process.pid]
    assert len(everybody) == 3
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.stdin
    process.stdin.close()
    return folder, process


def test_the_journal_heals_what_a_double_kill_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, process = _dead_run(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    marker = f"marker-heal-{tmp_path}"
    gone(lambda: agents_of(process.pid))
    assert marked(marker), "the daemon outlives all three"
    assert len(list(folder.iterdir())) == 2
    stranger = folder / "not-ours"
    stranger.mkdir()
    would: list[str] = []

    def still_held() -> bool:  # the kernel takes its time to let go of what the dead had locked
        would[:] = journal.heal(dry_run=True)
        return not any("directory" in line for line in would)

    gone(still_held)
    assert len(list(folder.iterdir())) == 3
    done = journal.heal()
    assert [line for line in done if "directory" in line] == [line for line in would if "directory" in line]
    gone(lambda: marked(marker))
    assert list(folder.iterdir()) == [stranger]
    assert journal.heal() == []


def test_the_next_start_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, process = _dead_run(tmp_path)
    gone(partial(agents_of, process.pid))
    left = set(folder.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with LocalEnvironment("plain").sandbox({}):
        assert not left & set(folder.iterdir())
    assert not folder.exists()


def test_healing_touches_no_live_run_and_no_replaced_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with LocalEnvironment("plain").sandbox({}) as sandbox:
        assert journal.heal() == []
        assert sandbox.call("list_files", root=sandbox.path(Place.SOURCE))["entries"] == []
    folder, process = _dead_run(tmp_path)
    gone(partial(agents_of, process.pid))
    root = next(path for path in folder.iterdir() if path.is_dir())
    root.rename(tmp_path / "moved")
    root.mkdir()
    (root / "precious").write_text("not made by us")

    def unhealed() -> bool:
        journal.heal()
        return list(folder.iterdir()) != [root]

    gone(unhealed)  # the last process of the run may still be on its way out
    assert (root / "precious").exists()
    assert (tmp_path / "moved").exists()


def test_a_shared_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"backupchaos-{os.geteuid()}"
    place.mkdir(mode=0o700)
    place.chmod(0o777)
    with pytest.raises(PermissionError, match="only you can enter"):
        journal.place(str(place))
    assert journal.heal() == []
