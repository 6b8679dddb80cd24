"""Nothing that the sandbox did not make is changed or signalled, whoever asks and by whatever detour."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backupchaos.environments import operations
from backupchaos.environments.local import landlock
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.environments.operations import bounds
from backupchaos.errors import HarnessBroken

from .conftest import Box

REFUSED = "was not made by this sandbox"


@pytest.fixture
def outside() -> Iterator[Path]:
    """A file of the machine that the sandbox can see; /tmp would be hidden from it."""
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("HOME") if os.geteuid() else "/var"))
    (folder / "precious").write_text("precious")
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("chmod", {"path": "{}/precious", "mode": 0}),
    ("write_file", {"path": "{}/precious", "text": "gone"}),
    ("make_directory", {"path": "{}/new"}),
    ("remove_tree", {"path": "{}"}),
    ("damage", {"path": "{}/precious", "how": "empty"}),
    ("damage", {"path": "inside", "how": "swap", "other": "{}/precious"}),
    ("build_tree", {"root": "{}/t", "spec": {"files": 1, "size": 1}, "seed": 1}),
    ("change_tree", {"root": "{}", "spec": {}, "seed": 1}),
    ("copy_tree", {"source": "inside", "destination": "{}/copy"}),
    ("scan_tree", {"root": "inside", "out": "{}/manifest"}),
]


def filled(arguments: dict[str, Any], top: str, inside: str) -> dict[str, Any]:
    words = {key: value for key, value in arguments.items() if isinstance(value, str)}
    return arguments | {
        key: inside if value == "inside" else value.replace("{}", top) for key, value in words.items()
    }


@pytest.mark.parametrize("detour", ["plain", "dots", "link", "last link"])
def test_no_operation_changes_what_lies_outside(any_box: Box, outside: Path, detour: str) -> None:
    source = any_box.path()
    any_box.sandbox.call("make_directory", path=f"{source}/in")
    assert any_box.run("ln", "-s", str(outside), f"{source}/link").returncode == 0
    assert any_box.run("ln", "-s", f"{outside}/precious", f"{source}/in/precious").returncode == 0
    dots = "/..".join([source, *[""] * source.count("/")])
    top = {"plain": str(outside), "dots": f"{dots}{outside}", "link": f"{source}/link"}
    for name, arguments in CHANGES:
        words = filled(arguments, top.get(detour, f"{source}/in"), f"{source}/in")
        if detour == "last link" and "precious" not in str(arguments):
            continue
        with pytest.raises(HarnessBroken, match=REFUSED):
            any_box.sandbox.call(name, **words)
    assert os.listdir(outside) == ["precious"]
    assert (outside / "precious").read_text() == "precious"
    assert (outside / "precious").stat().st_mode & 0o777


def test_looking_is_allowed_and_so_is_everything_inside(any_box: Box, outside: Path) -> None:
    source = any_box.path()
    assert any_box.sandbox.call("stat", path=str(outside / "precious"))["size"] == 8
    any_box.sandbox.call("copy_tree", source=str(outside), destination=f"{source}/copy")
    assert any_box.sandbox.call("read_file", path=f"{source}/copy/precious", text=True)["text"] == "precious"
    any_box.sandbox.call("write_file", path=f"{source}/note", text="/etc/passwd")
    any_box.sandbox.call("damage", path=f"{source}/note", how="bitflip", seed="/etc")
    assert any_box.run("ln", "-s", "copy", f"{source}/within").returncode == 0
    any_box.sandbox.call("chmod", path=f"{source}/within/precious", mode=0o600)


def test_a_relative_path_names_nothing(any_box: Box) -> None:
    with pytest.raises(HarnessBroken, match="must be an absolute path"):
        any_box.sandbox.call("make_directory", path="somewhere")


def test_an_operation_that_nobody_thought_of_is_bounded() -> None:
    """Only looking has to be declared, so that a new operation cannot slip through."""
    for arguments in ({"anything": "/etc/x"}, {"many": ["/box/a", "/etc/x"]}, {"path": "relative"}):
        with pytest.raises(bounds.OutOfBounds):
            bounds.check("brand_new", arguments, ["/box"])
    bounds.check("brand_new", {"anything": "/box/a", "seed": "/etc", "count": 3}, ["/box"])
    with pytest.raises(bounds.OutOfBounds):
        bounds.check("brand_new", {"path": "/boxes/a"}, ["/box"])


def test_what_is_declared_as_looking_exists() -> None:
    for name, parameters in bounds.LOOKS.items():
        assert parameters <= set(inspect.signature(operations.find(name)).parameters), name


def test_signals_reach_nobody_else(any_box: Box) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        plain = any_box.sandbox.mechanism == "plain"
        foreign = [1, os.getpid(), stranger.pid] if plain else [1]
        for pid in foreign:
            for tree in (False, True):
                with pytest.raises(HarnessBroken, match="not of this sandbox"):
                    any_box.sandbox.signal(pid, signal.SIGTERM, tree=tree)
        assert stranger.poll() is None
        assert not any_box.sandbox.signal(2**22 - 3, signal.SIGTERM)
        for pid in (0, -1):
            assert not any_box.sandbox.signal(pid, signal.SIGTERM)
        assert any_box.run("echo alive").output == "alive\n"
    finally:
        stranger.kill()
        stranger.communicate()


def test_a_process_that_the_job_started_is_of_the_sandbox(any_box: Box) -> None:
    _, read = any_box.start("sleep 1000 & echo $!; wait")
    child = int(any_box.line(read))
    assert any_box.sandbox.signal(child, signal.SIGKILL)
    os.close(read)


def test_a_pid_that_was_ours_and_is_anothers_now_gets_nothing(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry remembers the pid; what lives under it now is none of its processes."""
    from backupchaos.environments.local.processes import Registry

    registry = Registry(os.getpid())
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        monkeypatch.setattr(registry, "_is_ours", lambda *_: False)
        number = registry.next_number("target")
        registry.started(stranger.pid, number)
        registry.ended(stranger.pid)
        assert not registry.foreign(stranger.pid)
        assert not registry.signal(stranger.pid, signal.SIGKILL)
        assert not registry.signal_tree(stranger.pid, signal.SIGTERM)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.communicate()


def test_an_allowed_folder_is_writable_where_it_is_and_nothing_else(tmp_path: Path, outside: Path) -> None:
    given, withheld = tmp_path / "given", tmp_path / "withheld"
    given.mkdir()
    withheld.mkdir()
    for mechanism in ("root", "userns", "plain"):
        environment = LocalEnvironment(mechanism)
        if mechanism != "plain" and environment.probe()["namespaces"]:
            continue
        writable = [str(given.resolve()), str(outside)]
        with environment.sandbox({}, expose=[str(tmp_path)], writable=writable) as sandbox:
            box = Box(sandbox)
            for folder in writable:
                assert box.run(f"echo {mechanism} >{folder}/from").returncode == 0
                assert Path(folder, "from").read_text() == f"{mechanism}\n"
                sandbox.call("chmod", path=f"{folder}/from", mode=0o600)
            with pytest.raises(HarnessBroken, match=REFUSED):
                sandbox.call("make_directory", path=str(withheld / "x"))
            if mechanism != "plain":  # without mounts the job itself cannot be held back: docs/safety.md
                assert box.run(f"echo x >{withheld}/x").returncode != 0
        assert (outside / "precious").read_text() == "precious"
    assert list(withheld.iterdir()) == []


@pytest.mark.skipif(not landlock.version(), reason="needs Landlock 2, Linux 5.19")
def test_in_a_plain_sandbox_the_kernel_holds_operations_back(tmp_path: Path) -> None:
    """A job could swap a directory for a link between the check and the act."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            inside = tmp_path / "in"
            inside.mkdir()
            assert landlock.write_only_below([str(inside)])
            (inside / "a").write_text("x")
            (inside / "d").mkdir()
            (inside / "a").rename(inside / "d" / "b")
            for act in (
                lambda: (tmp_path / "x").write_text("x"),
                lambda: (tmp_path / "d").mkdir(),
                lambda: (inside / "d" / "b").rename(tmp_path / "b"),
            ):
                try:
                    act()
                except PermissionError:
                    continue
                os._exit(2)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(not landlock.version(), reason="needs Landlock 2, Linux 5.19")
def test_operations_of_a_plain_sandbox_are_under_it(make_box: Callable[..., Box]) -> None:
    """Seen from the one trace that Landlock leaves in /proc: its precondition."""
    status = make_box("plain").sandbox.call("read_file", path="/proc/self/status", text=True)["text"]
    assert "NoNewPrivs:\t1" in status
