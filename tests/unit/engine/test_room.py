"""What would take more memory than there is is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupchaos.engine import room
from backupchaos.errors import MissingCapability
from backupchaos.model.scenario import Scenario

GIB = 2**30


def story(source: dict[str, Any], **volumes: int) -> Scenario:
    fields = {"scenario": "s", "title": "t", "source": source, "volumes": volumes}
    return Scenario.model_validate(fields, strict=False)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set what is free."""
    monkeypatch.setattr(room, "_groups", lambda: ())

    def be(machine: int | None, *groups: int) -> None:
        monkeypatch.setattr(room, "_machine", lambda: machine)
        monkeypatch.setattr(room, "_groups", lambda: groups)

    return be


def test_three_copies_are_needed_at_once() -> None:
    big = {"size": 2 * GIB, "new": GIB, "files": 1}
    assert room.needed(story(big)) == 9 * GIB + 2 * 4096
    assert room.needed(story(big, repository=GIB)) == 7 * GIB + 2 * 4096, (
        "a volume holds no more than its size"
    )
    assert room.needed(story({"size": 0, "new": 0, "files": 1000})) == 2 * 4096 * 1000, "a page for each file"


def test_a_real_source_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    measured = room.needed(story({"path": str(tmp_path), "new": 0}))
    assert 3_000_000 < measured < 3_200_000


def test_what_does_not_fit_is_refused_with_both_numbers_and_advice(free: Any) -> None:
    big = story({"size": 900 * GIB, "new": 0, "files": 1})
    free(20 * GIB)
    with pytest.raises(MissingCapability, match=r"would take 2700GiB of memory.*; 18GiB may be taken.*lower"):
        room.check_memory(big)


@pytest.mark.parametrize(
    ("machine", "groups", "fits"),
    [
        (4 * GIB, (), True),
        (3 * GIB, (), False),  # a tenth is kept back
        (4 * GIB, (3 * GIB,), False),
        (4 * GIB, (8 * GIB, 4 * GIB), True),
        (None, (), True),
        (None, (GIB,), False),
    ],
)
def test_a_tenth_is_kept_back_and_groups_count(free: Any, machine: int, groups: Any, fits: bool) -> None:
    free(machine, *groups)
    one = story({"size": GIB, "new": 0, "files": 1})
    if fits:
        room.check_memory(one)
    else:
        with pytest.raises(MissingCapability) as told:
            room.check_memory(one)
        assert told.value.capability == "space"
    if groups and machine:
        room.check_memory(one, limited=False)  # containers have groups of their own


def test_a_plain_sandbox_lies_on_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sandbox: Any = SimpleNamespace(capabilities=frozenset(), path=lambda place: str(tmp_path))
    room.check_room(story({"size": 1, "new": 0, "files": 1}), sandbox)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=GIB))
    with pytest.raises(MissingCapability, match="of the disk"):
        room.check_room(story({"size": GIB, "new": 0, "files": 1}), sandbox)


@pytest.mark.parametrize(
    ("line", "folder", "older"),
    [("0::/a/b", "a/b", False), ("4:memory:/a/b", "memory/a/b", True), ("0::/", ".", False)],
)
def test_the_limits_of_control_groups(tmp_path: Path, line: str, folder: str, older: bool) -> None:
    names = room._OLDER if older else room._UNIFIED
    group = tmp_path / "fs" / folder
    group.mkdir(parents=True)
    proc = tmp_path / "cgroup"
    proc.write_text(f"9:name=systemd:/x\n7:pids:/\n{line}\n")
    assert list(room._groups(str(proc), str(tmp_path / "fs"))) == []
    (group / names[0]).write_text("max\n")
    (group / names[1]).write_text("300\n")
    (group / "memory.stat").write_text(f"anon 200\n{names[2][0]} 20\n{names[2][1]} 30\n")
    assert list(room._groups(str(proc), str(tmp_path / "fs"))) == []
    (group / names[0]).write_text("1000\n")
    assert list(room._groups(str(proc), str(tmp_path / "fs"))) == [750]


def test_a_container_sees_its_own_limit_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in zip(
        (room._OLDER[0], room._OLDER[1], "memory.stat"), ("1000", "100", "x 1"), strict=True
    ):
        (tmp_path / "memory" / name).write_text(text)
    proc = tmp_path / "cgroup"
    proc.write_text("4:memory:/docker/0123456789ab\n")
    assert list(room._groups(str(proc), str(tmp_path))) == [900]


def test_this_machine_says_what_is_free() -> None:
    assert 2**20 < (room._machine() or 0) < 2**50
