"""A round of changes does what its summary says, nothing else, and the same from the same seed."""

from __future__ import annotations

import io
import random
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupchaos.trees import Entry, SourceSpec, TreeError, apply_change, build, changer, copy_tree, scan

SPEC = SourceSpec(files=200, size=1_000_000)
KINDS = (
    "new",
    "edited",
    "grown",
    "truncated",
    "deleted",
    "renamed",
    "mode_changed",
    "file_to_dir",
    "dir_to_file",
)
Read = Callable[[Path], list[Entry]]


def _entries(found: list[Entry]) -> dict[bytes, Entry]:
    return {e.path: e for e in found}


def test_the_summary_is_true_and_complete(tmp_path: Path, entries: Read) -> None:
    root = tmp_path / "tree"
    build(root, SPEC, 5)
    for number in (1, 2, 3):
        before = _entries(entries(root))
        done = apply_change(root, SPEC, 5, round=number)
        after = _entries(entries(root))
        assert done.not_made == {}
        assert all(getattr(done, kind) for kind in (*KINDS, "touched"))
        _check(before, after, done)


def _check(before: dict[bytes, Entry], after: dict[bytes, Entry], done: object) -> None:
    def get(kind: str) -> Any:
        return getattr(done, kind)

    moved = dict(get("renamed"))
    appeared = {*get("new"), *moved.values()}
    gone = {*get("deleted"), *moved}
    assert set(after) - set(before) == appeared
    assert set(before) - set(after) == gone
    touched = set()
    for kind, same_size in (("edited", True), ("grown", False), ("truncated", False)):
        for path in get(kind):
            old, new = before[path], after[path]
            assert old.sha256 != new.sha256
            assert (old.size == new.size) is same_size
            assert (new.size > old.size) is (kind == "grown")
            assert new.mtime_ns - old.mtime_ns >= 3600 * 10**9
            assert new.mode == old.mode
            touched.add(path)
    for path in get("mode_changed"):
        assert after[path] == before[path]._replace(mode=after[path].mode) != before[path]
        touched.add(path)
    for path in get("touched"):
        assert after[path] == before[path]._replace(mtime_ns=after[path].mtime_ns) != before[path]
        touched.add(path)
    for path in get("file_to_dir"):
        assert (before[path].type, after[path].type) == ("file", "directory")
        touched.add(path)
    for path in get("dir_to_file"):
        assert (before[path].type, after[path].type) == ("directory", "file")
        touched.add(path)
    for old_path, new_path in moved.items():
        assert after[new_path] == before[old_path]._replace(path=new_path)
    parents = {
        path.rpartition(b"/")[0] for path in (*appeared, *gone, *get("file_to_dir"), *get("dir_to_file"))
    }
    for path in set(before) & set(after) - touched:
        if path in parents:
            assert after[path]._replace(mtime_ns=0) == before[path]._replace(mtime_ns=0)
        else:
            assert after[path] == before[path]


def test_same_seed_same_change_wherever_the_tree_lies(tmp_path: Path) -> None:
    identities = []
    for name, seed, number in (("a", 5, 1), ("b", 5, 1), ("c", 6, 1), ("d", 5, 2)):
        build(tmp_path / name, SPEC, 5)
        apply_change(tmp_path / name, SPEC, seed, round=number)
        identities.append(scan(tmp_path / name, io.BytesIO()).identity)
    assert identities[0] == identities[1]
    assert len(set(identities)) == 3


def test_nothing_has_a_time_of_today(tmp_path: Path, entries: Read) -> None:
    """A time that is not from the seed would make two runs differ."""
    build(tmp_path / "tree", SPEC, 5)
    apply_change(tmp_path / "tree", SPEC, 5)
    now = time.time_ns()
    assert not [e.path for e in entries(tmp_path / "tree") if abs(e.mtime_ns - now) < 86_400 * 10**9]


class _Unlucky(random.Random):
    def randbytes(self, n: int) -> bytes:
        return b"x" * n


def test_an_edit_changes_the_content_even_if_chance_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"xx")
    with (tmp_path / "f").open("r+b") as file:
        assert changer._rewrite(file.fileno(), _Unlucky(1), 2) == 2
    assert (tmp_path / "f").read_bytes() not in (b"xx", b"")
    assert (tmp_path / "f").stat().st_size == 2


@pytest.mark.parametrize("wanted", [1, 5_000, 3_000_000])
def test_fresh_data_is_enough_incompressible_and_in_several_files(tmp_path: Path, wanted: int) -> None:
    root = tmp_path / "tree"
    build(root, SPEC, 5)
    done = apply_change(root, SPEC, 5, new_bytes=wanted)
    data = [(root / path.decode()).read_bytes() for path in done.new]
    assert sum(map(len, data)) == done.new_bytes >= wanted
    assert len(data) >= 4
    whole = b"".join(data)
    assert len(zlib.compress(whole)) > 0.99 * len(whole)
    assert done.written_bytes >= done.new_bytes


def test_the_default_is_a_fraction_of_the_size(tmp_path: Path) -> None:
    spec = SourceSpec(files=20, size=4_000_000)
    build(tmp_path / "tree", spec, 5)
    assert apply_change(tmp_path / "tree", spec, 5, 0.5).new_bytes >= 2_000_000


def test_fraction_nought_changes_no_file_that_was_there(tmp_path: Path, entries: Read) -> None:
    build(tmp_path / "tree", SPEC, 5)
    before = _entries(entries(tmp_path / "tree"))
    done = apply_change(tmp_path / "tree", SPEC, 5, 0.0, new_bytes=10)
    assert (
        done.new_bytes == sum((tmp_path / "tree" / path.decode()).stat().st_size for path in done.new) >= 10
    )
    after = _entries(entries(tmp_path / "tree"))
    assert set(after) - set(before) == set(done.new)
    assert all(after[p] == e for p, e in before.items() if e.type != "directory")


def test_small_trees_say_what_was_not_made(tmp_path: Path) -> None:
    spec = SourceSpec(files=3, size=100, features=frozenset())
    build(tmp_path / "tree", spec, 5)
    done = apply_change(tmp_path / "tree", spec, 5)
    made = {kind for kind in (*KINDS, "touched") if getattr(done, kind)}
    assert made | set(done.not_made) == {*KINDS, "touched"}
    assert not made & set(done.not_made)
    assert len(done.new) >= 4


def test_the_same_round_twice_is_refused_and_never_overwrites(tmp_path: Path) -> None:
    build(tmp_path / "tree", SPEC, 5)
    apply_change(tmp_path / "tree", SPEC, 5)
    with pytest.raises(TreeError):
        for _ in range(20):
            apply_change(tmp_path / "tree", SPEC, 5)


@pytest.mark.parametrize("wrong", [{"fraction": 1.1}, {"round": 0}, {"new_bytes": -1}])
def test_senseless_arguments_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(TreeError, match="fraction must be"):
        apply_change(tmp_path, SPEC, 5, **wrong)  # type: ignore[arg-type]


def test_all_files_of_a_tree_may_change(tmp_path: Path) -> None:
    spec = SourceSpec(files=40, size=40_000, features=frozenset())
    build(tmp_path / "tree", spec, 5)
    done = apply_change(tmp_path / "tree", spec, 5, 1.0)
    changed = sum(
        len(getattr(done, kind)) for kind in (*KINDS, "touched") if kind not in ("new", "dir_to_file")
    )
    assert changed == 40


def test_real_trees_can_be_changed(tmp_path: Path) -> None:
    copy_tree(Path(shutil.__file__).parent / "email", tmp_path / "tree")
    done = apply_change(tmp_path / "tree", SPEC, 5)
    assert done.edited and done.renamed and done.deleted
