"""Power cuts: what was not synced is gone, what was synced is there, and nothing of the cut is left on the machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import bench, python, tried
from tests.faults.remote_job import PUT, Remote

from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability
from backupchaos.faults.power import differing, loss


def missing() -> str:
    """Why images cannot be had here; empty if they can."""
    try:
        with LocalEnvironment().sandbox({}) as sandbox:
            sandbox.use_image(Place.REPOSITORY)
    except MissingCapability as problem:
        return str(problem)
    return ""


@pytest.fixture(scope="module")
def image() -> None:
    if reason := missing():
        pytest.skip(reason)


pytestmark = pytest.mark.needs("namespaces", "seccomp")
needs_image = pytest.mark.usefixtures("image")
WRITE = """
import os
def put(name, sync):
    f = os.open('{repository}/' + name, os.O_WRONLY | os.O_CREAT)
    os.write(f, name.encode() * 5000)
    if sync: os.fsync(f)
    os.close(f)
put('safe', True)
put('loose', False)
os.rename('{repository}/safe', '{repository}/renamed')
"""
CUT = {"power.cut": "repository", "when": {"exit": True}}
LIE = {"power.lying_disk": "repository", "when": {"exit": True}}


def left(made: Any) -> dict[str, int]:
    entries = made.world.sandbox.call("list_files", root=made.ground.workspace.location.path)["entries"]
    return {entry[0]: entry[2] for entry in entries}


@needs_image
def test_after_the_exit_only_what_was_synced_is_there(tmp_path: Path) -> None:
    with bench(tmp_path, CUT, python(WRITE)) as made:
        result = made.go()
        found = left(made)
    assert result.returncode == 0
    assert found == {"safe": 20000}, (
        "the file was synced, its new name was not; the other file was not either"
    )
    assert "after the job's exit" in result.proof[0]
    assert "such as" in result.proof[1]


@needs_image
def test_a_job_that_syncs_everything_loses_nothing_and_has_met_the_cut_all_the_same(tmp_path: Path) -> None:
    code = WRITE + "put('loose', True)\nos.fsync(os.open('{repository}', 0))"
    with bench(tmp_path, CUT, python(code)) as made:
        result = made.go()
        assert left(made) == {"renamed": 20000, "loose": 25000}
    assert result.proof[1] == "nothing was lost: all of it had been synced"


@needs_image
@pytest.mark.parametrize("sync", ["os.fsync(f)", "os.sync()", "os.fdatasync(f)"])
def test_a_lying_disk_keeps_nothing_of_the_job_however_it_was_asked(tmp_path: Path, sync: str) -> None:
    code = f"import os\nf = os.open('{{repository}}/x', 65 | os.O_SYNC)\nos.write(f, b'1' * 9000)\n{sync}"
    with bench(tmp_path, LIE, python(code)) as made:
        made.run("sh", "-c", f"echo old > {made.ground.workspace.location.path}/old")  # type: ignore[union-attr]
        result = made.go()
        assert left(made) == {"old": 4}, "what was there before the job is safe"
    assert result.returncode == 0
    assert result.proof[-1].startswith("the disk had answered ")
    assert "answered 0" not in result.proof[-1]


@needs_image
def test_in_the_middle_the_whole_tree_dies_at_the_call(tmp_path: Path) -> None:
    code = WRITE.replace(
        "put('loose', False)", "import subprocess; subprocess.Popen(['sleep', '60'])\nput('loose', False)"
    )
    when = {"call": {"name": "write", "place": "repository", "nth": 2}}
    with bench(tmp_path, CUT | {"when": when}, python(code)) as made:
        result = made.go()
        assert [p.command for p in made.world.sandbox.processes() if p.role != "service"] == []
        assert left(made) == {"safe": 20000}
    assert result.returncode == -signal.SIGKILL
    assert result.proof[0] == "the running job was killed, after it had made or changed 2 entries"


@needs_image
def test_who_does_not_touch_the_repository_does_not_meet_the_cut(tmp_path: Path) -> None:
    result = tried(tmp_path, CUT, python("print('nothing')"))
    assert result.proof == []


@needs_image
@pytest.mark.needs("python:asyncssh")
@pytest.mark.slow
def test_a_server_dies_with_the_power_and_is_there_again(tmp_path: Path) -> None:
    when = {"call": {"name": "write", "place": "repository", "nth": 4}}
    with bench(tmp_path, CUT | {"when": when}, (), repository="sftp", target=Remote(python(PUT))) as made:
        before = made.world.service_pid
        result = made.go()
        after = made.world.service_pid
        assert before in made.world.exits
        assert after is not None
        assert after not in made.world.exits
    assert result.returncode == -signal.SIGKILL
    assert "lost" in result.proof[1]


@needs_image
def test_the_control_job_is_safe_although_it_synced_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, CUT, python(WRITE)) as made:
        made.run("sh", "-c", f"head -c 50000 /dev/zero > {made.ground.workspace.location.path}/yesterday")  # type: ignore[union-attr]
        made.go()
        assert left(made)["yesterday"] == 50000


def test_an_ordinary_user_is_told_why_not(tmp_path: Path) -> None:
    environment = LocalEnvironment("userns")
    if reason := environment.probe()["namespaces"]:
        pytest.skip(reason)
    with pytest.raises(MissingCapability, match="by root only, and this sandbox has user namespaces"):
        tried(tmp_path, CUT, python(WRITE), environment=environment)


def test_without_mkfs_one_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalEnvironment().sandbox({}) as sandbox:
        if sandbox.mechanism != "root namespaces":
            pytest.skip("needs root")
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
        with pytest.raises(MissingCapability, match=r"no mkfs\.ext4 here \(apt install e2fsprogs\)"):
            sandbox.use_image(Place.REPOSITORY)


# -- nothing stays on the machine -------------------------------------------------------------------


def backing(device: int) -> Path:
    return Path(f"/sys/block/loop{os.minor(device)}/loop/backing_file")


def gone(file: Path) -> bool:
    """Whether that loop device has no image of ours any more; the kernel needs a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if "volume image" not in file.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@needs_image
def test_closing_frees_the_loop_device() -> None:
    with LocalEnvironment().sandbox({}) as sandbox:
        sandbox.use_image(Place.REPOSITORY)
        file = backing(sandbox.volume(Place.REPOSITORY).device)
        assert "volume image" in file.read_text()
    assert gone(file)


HARNESS = """
import sys, time
from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment
sandbox = LocalEnvironment().sandbox({})
sandbox.use_image(Place.REPOSITORY)
sandbox.remember(Place.REPOSITORY)
print(sandbox.volume(Place.REPOSITORY).device, sandbox._process.pid, flush=True)
sys.stdin.read()
"""


@needs_image
@pytest.mark.parametrize("victim", ["harness", "agent"])
def test_a_kill_of_anything_frees_the_loop_device(victim: str) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert harness.stdout is not None
        device, agent = map(int, harness.stdout.readline().split())
        assert "volume image" in backing(device).read_text()
        os.kill(harness.pid if victim == "harness" else agent, signal.SIGKILL)
        assert gone(backing(device))
    finally:
        harness.kill()
        harness.communicate()


# -- words ------------------------------------------------------------------------------------------


def test_what_a_cut_cost_in_words() -> None:
    written = {"a": (10, "x"), "b": (20, "y"), "c": (30, "z")}
    assert loss(written, written).startswith("nothing was lost")
    words = loss(written, {"a": (4, "w"), "c": (30, "z"), "d": (1, "v")})
    assert (
        words
        == "1 files and directories gone, 1 with other content, 1 that had been removed back, 26B lost, such as b"
    )
    assert differing({"a": (1, "x")}, {"a": (1, "y"), "b": (0, "-")}) == ["a", "b"]
    assert differing(written, dict(written)) == []


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("mechanism", ["auto", "userns", "plain"])
def test_a_plan_is_told_what_the_fault_would_be_told(mechanism: str) -> None:
    environment = LocalEnvironment(mechanism)
    why = ""
    with environment.sandbox({Place.REPOSITORY: 2**20}) as sandbox:
        try:
            sandbox.use_image(Place.REPOSITORY)
        except MissingCapability as gap:
            assert gap.capability == "image"
            why = f"{gap.reason} ({gap.hint})" if gap.hint else gap.reason
    assert environment.probe()["image"] == why
    assert why or mechanism == "auto"
