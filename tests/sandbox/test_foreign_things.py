"""Healing undoes what a dead run of ours left, and nothing else, whatever a journal says and wherever links lead."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupchaos.environments.base import Place
from backupchaos.environments.local import journal
from backupchaos.environments.local.environment import LocalEnvironment

from .deadruns import TOKEN, dead_process, folder_in, head, plant, started
from .deadruns import journal as written


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A directory of somebody else's."""
    place = tmp_path / "precious"
    place.mkdir()
    (place / "file").write_text("precious")
    return place


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def made(path: Path) -> dict[str, Any]:
    info = path.lstat()
    return {"made": str(path), "device": info.st_dev, "inode": info.st_ino}


# -- what is healed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["root", "userns", "plain"])
def test_every_start_heals_a_dead_run(mechanism: str, temporary: Path) -> None:
    if mechanism != "plain" and (reason := LocalEnvironment(mechanism).probe()["namespaces"]):
        pytest.skip(f"needs {mechanism}: {reason}")
    root = plant(temporary)
    with LocalEnvironment(mechanism).sandbox({}):
        assert not root.exists()
    assert list(temporary.iterdir()) == []


def test_a_dry_run_says_the_same_and_does_nothing(temporary: Path) -> None:
    plant(temporary)
    before = {str(path) for path in temporary.rglob("*")}
    would = journal.heal(dry_run=True)
    assert {str(path) for path in temporary.rglob("*")} == before
    assert journal.heal() == would != []
    assert journal.heal(dry_run=True) == journal.heal() == []


def test_a_stillborn_journal_goes_and_a_newborn_one_stays(temporary: Path) -> None:
    folder = folder_in(temporary)
    old, new, named = (folder / f"{letter * 32}.journal.new" for letter in "abc")
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    written(temporary, [head(), {"process": os.getpid(), "started": started(os.getpid())}]).rename(named)
    assert journal.heal() == [f"removed the journal {old}"]
    assert sorted(folder.iterdir()) == [new, named]


def test_one_that_cannot_be_undone_does_not_keep_the_others(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(temporary, token="a" * 32)
    plant(temporary, token="b" * 32)
    from backupchaos.environments.operations import files

    real = files.force_remove

    def stubborn(top: str) -> None:
        if top.endswith("a"):
            raise PermissionError(1, "Operation not permitted", top)
        real(top)

    monkeypatch.setattr(files, "force_remove", stubborn)
    done = journal.heal()
    assert [line.partition(" ")[0] for line in done] == ["could", "removed"]
    assert (folder_in(temporary) / ("a" * 32) / "source/file").exists()
    assert not (folder_in(temporary) / ("b" * 32)).exists()


# -- what is left alone: runs that live -------------------------------------------------------------------


def test_a_run_of_which_anybody_lives_is_left_alone(
    temporary: Path, stranger: subprocess.Popen[bytes]
) -> None:
    root = plant(temporary, {"process": stranger.pid, "started": started(stranger.pid)})
    with LocalEnvironment("plain").sandbox({}) as other:
        assert journal.heal() == []
        assert (root / "source/file").exists()
        assert other.call("list_files", root=other.path(Place.SOURCE))["entries"] == []
    assert (root / "source/file").exists()
    stranger.kill()
    stranger.wait()
    assert journal.heal() == [f"removed the directory {root}"]


def test_a_reused_pid_is_no_sign_of_life_and_its_process_is_left_alone(
    temporary: Path, stranger: subprocess.Popen[bytes]
) -> None:
    root = plant(temporary, {"process": stranger.pid, "started": started(stranger.pid) - 1})
    assert journal.heal() == [f"removed the directory {root}"]
    assert stranger.poll() is None


def test_what_another_pid_namespace_or_boot_left_is_judged_by_what_can_be_known(temporary: Path) -> None:
    """Whether a process of another PID namespace lives cannot be seen from here; one of another boot does not."""
    root = plant(temporary)
    records = [{**head(), "space": "pid:[1]"}, dead_process(), made(root)]
    written(temporary, records)
    assert journal.heal() == []
    written(temporary, [{**head(), "boot": "another"}, dead_process(), made(root)])
    assert journal.heal() == [f"removed the directory {root}"]


# -- what is left alone: forged journals ------------------------------------------------------------------


def forged(temporary: Path, precious: Path) -> dict[str, list[Any]]:
    dead = dead_process()
    inside = str(folder_in(temporary) / TOKEN)
    return {
        "a path elsewhere": [head(), dead, {"making": str(precious)}, made(precious)],
        "a way out": [head(), dead, {**made(precious), "made": f"{inside}/../../../precious"}],
        "the inode of another": [head(), dead, {**made(precious), "made": inside}],
        "a group elsewhere": [head(), dead, {"group": str(precious / TOKEN)}],
        "nonsense": [
            head(),
            dead,
            {"process": "self"},
            {"made": 7},
            {"group": 3},
            {"process": [1]},
            {},
            5,
            None,
        ],
        "no head": [{"made": str(precious)}],
        "a process without a start": [head(), {"process": os.getpid()}, {"process": 1, "started": "x"}],
    }


@pytest.mark.parametrize("forgery", forged(Path(tempfile.mkdtemp()), Path("/")))
def test_a_forged_journal_reaches_nothing(
    forgery: str, temporary: Path, precious: Path, stranger: subprocess.Popen[bytes]
) -> None:
    (precious / TOKEN).mkdir()
    (precious / TOKEN / "cgroup.procs").write_text(f"{stranger.pid}\n")
    written(temporary, forged(temporary, precious)[forgery])
    assert journal.heal(dry_run=True) == []
    assert journal.heal() == []
    assert (precious / "file").read_text() == "precious"
    assert (precious / TOKEN / "cgroup.procs").exists()
    assert stranger.poll() is None


def test_a_directory_that_took_the_place_of_ours_stays(temporary: Path, precious: Path) -> None:
    root = plant(temporary)
    shutil.rmtree(root)
    precious.rename(root)
    assert journal.heal() == []
    assert (root / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["", "..", "backup", TOKEN[:-1], TOKEN.upper(), "*" * 32])
def test_only_names_that_we_give_are_read(name: str, temporary: Path) -> None:
    """A journal called ``.journal`` would speak for the whole folder, one called ``...journal`` for the one above."""
    target = os.path.join(folder_in(temporary), name)
    os.makedirs(target, exist_ok=True)
    (folder_in(temporary) / "other").mkdir()
    written(temporary, [head(name), dead_process(), {**made(Path(target)), "made": target}], token=name)
    assert journal.heal() == []
    assert (folder_in(temporary) / "other").exists()
    assert os.path.isdir(target)


# -- what is left alone: links, traps, and other people's -------------------------------------------------


def test_links_are_not_followed(temporary: Path, precious: Path) -> None:
    root = plant(temporary)
    (root / "source/link").symlink_to(precious)
    (root / "source/file2").symlink_to(precious / "file")
    os.link(precious / "file", root / "source/hard")
    mode = (precious / "file").stat().st_mode
    assert journal.heal() == [f"removed the directory {root}"]
    assert (precious / "file").read_text() == "precious"
    assert (precious / "file").stat().st_mode == mode


def test_a_link_in_place_of_the_directory(temporary: Path, precious: Path) -> None:
    root = plant(temporary)
    shutil.rmtree(root)
    root.symlink_to(precious)
    written(temporary, [head(), dead_process(), {**made(precious), "made": str(root)}])
    assert journal.heal() == []
    assert (precious / "file").exists()


def test_a_link_in_place_of_a_journal(temporary: Path, tmp_path: Path) -> None:
    root = plant(temporary)
    path = root.with_name(f"{TOKEN}.journal")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert journal.heal() == []
    assert root.exists()
    assert (tmp_path / "elsewhere").exists()


def test_a_pipe_in_place_of_a_journal_holds_nobody_up(temporary: Path) -> None:
    os.mkfifo(folder_in(temporary) / f"{TOKEN}.journal")
    assert journal.heal() == []


def test_a_folder_that_others_may_write_is_not_ours(temporary: Path) -> None:
    root = plant(temporary)
    folder_in(temporary).chmod(0o777)
    assert journal.heal() == []
    assert root.exists()


@pytest.mark.needs("root")
@pytest.mark.parametrize("what", ["folder", "journal", "directory"])
def test_another_users_things_stay(what: str, temporary: Path) -> None:
    root = plant(temporary)
    owned = {"folder": root.parent, "journal": root.with_name(f"{TOKEN}.journal"), "directory": root}
    os.chown(owned[what], 12345, 12345)
    journal.heal()
    assert (root / "source/file").exists()


@pytest.mark.needs("root")
def test_a_link_in_place_of_the_folder(temporary: Path, tmp_path: Path) -> None:
    root = plant(temporary)
    root.parent.rename(tmp_path / "moved")
    root.parent.symlink_to(tmp_path / "moved")
    assert journal.heal() == []
    assert (tmp_path / "moved" / TOKEN / "source/file").exists()


# -- control groups ---------------------------------------------------------------------------------------


@pytest.fixture
def group() -> Iterator[Path]:
    """A directory on a control group file system."""
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"):
        place = Path(top, f"backupchaos-{TOKEN}")
        try:
            place.mkdir()
        except OSError:
            continue
        if not (place / "cgroup.procs").exists():  # a folder that only holds the mounts
            place.rmdir()
            continue
        yield place
        if place.exists():
            place.rmdir()
        return
    pytest.skip("needs a control group that takes directories")


def test_the_group_of_a_dead_run_goes_with_its_members(group: Path, temporary: Path) -> None:
    member = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (group / "cgroup.procs").write_text(str(member.pid))
        written(temporary, [head(), dead_process(), {"group": str(group)}])
        assert journal.heal(dry_run=True) == [f"removed the control group {group}"]
        assert member.poll() is None
        assert journal.heal() == [f"removed the control group {group}"]
        assert member.wait(10) == -signal.SIGKILL
        assert not group.exists()
    finally:
        member.kill()
        member.communicate()


@pytest.mark.parametrize("detour", ["another name", "a link", "dots"])
def test_other_groups_stay(detour: str, group: Path, temporary: Path, tmp_path: Path) -> None:
    link = tmp_path / f"backupchaos-{TOKEN}"
    link.symlink_to(group)
    path = {"another name": str(group.parent), "a link": str(link), "dots": f"{group}/../backupchaos-{TOKEN}"}
    written(temporary, [head(), dead_process(), {"group": path[detour]}])
    assert journal.heal() == []
    assert group.exists()


def test_a_process_with_the_token_of_another_run_stays(temporary: Path) -> None:
    env = {**os.environ, journal.RUN_MARK: TOKEN[:-1] + "0"}
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env)
    try:
        plant(temporary)
        journal.heal()
        assert other.poll() is None
    finally:
        other.kill()
        other.communicate()
