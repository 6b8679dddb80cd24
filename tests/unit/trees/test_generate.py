"""Generated trees: the same from the same seed, and holding what they are said to hold."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import time
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos.trees import (
    DEFAULT_FEATURES,
    PORTABLE_FEATURES,
    Entry,
    Feature,
    SourceSpec,
    TreeError,
    build,
    generate,
    scan,
    seeded,
)
from backupchaos.trees.generate import plan_sizes
from backupchaos.trees.seeded import rng

SPEC = SourceSpec(files=30, size=300_000)
MIB = 1024 * 1024
Read = Callable[[Path], list[Entry]]


def identity(root: Path) -> str:
    summary = scan(root, io.BytesIO())
    assert summary.complete
    return summary.identity


def test_same_seed_same_tree_and_another_seed_another(tmp_path: Path) -> None:
    made = {}
    for name, seed in (("a", 7), ("b", 7), ("c", 8), ("d", "7")):
        build(tmp_path / name, SPEC, seed)
        made[name] = identity(tmp_path / name)
    assert made["a"] == made["b"] == made["d"] != made["c"]


def test_the_tree_of_a_seed_is_the_same_in_another_process_and_under_any_umask(tmp_path: Path) -> None:
    code = """
import os, random, sys
os.umask(int(sys.argv[3], 8)); random.seed(); sys.path.insert(0, sys.argv[1])
from backupchaos.trees import SourceSpec, build
build(sys.argv[2], SourceSpec(files=30, size=300_000), 7)
"""
    harness = Path(__file__).parents[3] / "harness"
    build(tmp_path / "here", SPEC, 7)
    for umask in ("000", "777"):
        command: list[str | Path] = [sys.executable, "-ISB", "-c", code, harness, tmp_path / umask, umask]
        subprocess.run(command, check=True, env={"LC_ALL": "C", "PYTHONHASHSEED": umask})
        assert identity(tmp_path / umask) == identity(tmp_path / "here")


def test_every_default_feature_is_there(small_tree: Path, entries: Read) -> None:
    found = {e.path: e for e in entries(small_tree)}
    names = [path.rpartition(b"/")[2] for path in found]
    assert any(b"\n" in n for n in names) and any(n.startswith(b"-") for n in names)
    assert {"caf\u00e9".encode(), "cafe\u0301".encode()} <= set(names)
    assert not all(n.decode("utf-8", "replace").encode() == n for n in names)
    assert max(map(len, names)) == 255
    assert any(b"\\" in n for n in names)
    links = {e.target for e in found.values() if e.type == "symlink"}
    assert {b"file", b"no such file", b"loop", b"ring-a", b".."} <= links
    modes = {(e.type, e.mode) for e in found.values()}
    assert {("file", 0o400), ("file", 0o444), ("directory", 0o555), ("directory", 0o2775)} <= modes
    assert max(path.count(b"/") for path in found) >= 40
    assert found[b"odd/empty/nested/inner"].type == "directory"
    assert {e.mtime_ns // 10**9 > 2**31 for e in found.values()} == {True, False}
    assert any(e.mtime_ns < 4 * 10**17 for e in found.values())
    assert sum(1 for e in found.values() if e.hardlink) == 5
    assert any(e.xattrs for e in found.values() if e.type == "directory")
    assert not any(e.type == "fifo" for e in found.values())


@pytest.mark.parametrize("feature", sorted(Feature))
def test_each_feature_alone_and_deterministic(tmp_path: Path, feature: Feature) -> None:
    spec = SourceSpec(files=1, size=10, features=frozenset({feature}))
    summary = build(tmp_path / "a", spec, 1)
    assert summary.features == (feature.value,)
    assert summary.left_out == {}
    build(tmp_path / "b", spec, 1)
    same = identity(tmp_path / "a") == identity(tmp_path / "b")
    assert same is (feature is not Feature.ABSOLUTE_SYMLINKS)


def test_the_summary_counts_what_is_there(tmp_path: Path) -> None:
    made = build(tmp_path / "a", SourceSpec(files=40, size=123_456, features=frozenset(Feature)), 3)
    seen = scan(tmp_path / "a", io.BytesIO())
    assert (made.files, made.directories, made.symlinks) == (seen.files, seen.directories, seen.symlinks)
    assert made.specials == seen.others == 1
    assert made.hard_links == 3


def test_without_features_there_are_exactly_the_files_and_bytes_asked_for(
    tmp_path: Path, entries: Read
) -> None:
    build(tmp_path / "a", SourceSpec(files=57, size=99_999, depth=3, features=frozenset()), 3)
    found = entries(tmp_path / "a")
    files = [e for e in found if e.type == "file"]
    assert (len(files), sum(e.size for e in files)) == (57, 99_999)
    assert max(e.path.count(b"/") for e in found if e.type == "directory") == 3
    assert {e.mode for e in files} == {0o644}
    assert all(e.mtime_ns < time.time_ns() for e in found)


def test_portable_trees_hold_nothing_but_readable_files_and_directories(
    tmp_path: Path, entries: Read
) -> None:
    build(tmp_path / "a", SourceSpec(files=9, size=9000, features=PORTABLE_FEATURES), 3)
    for entry in entries(tmp_path / "a"):
        assert entry.type in ("file", "directory")
        assert not any(c in entry.path for c in (b"\\", b"\n")) and entry.path.decode()
        assert len(entry.path) < 1000


@given(st.integers(0, 300), st.integers(0, 200 * MIB), st.integers())
def test_sizes_add_up_and_have_a_long_tail(files: int, total: int, seed: int) -> None:
    sizes = plan_sizes(rng(seed), files, total)
    assert len(sizes) == files
    assert sum(sizes) == (total if files else 0)
    assert all(size >= 0 for size in sizes)
    if files >= 3:
        assert 0 in sizes
        assert total < 6 * MIB or max(sizes) > 4 * MIB
    if files >= 100 and total > 10**6:
        assert sorted(sizes)[files // 2] * 3 < total / files * 2


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.0, 0.45), (0.5, 0.5, 0.75), (1.0, 1.0, 1.1)])
def test_the_incompressible_share_is_real(tmp_path: Path, share: float, low: float, high: float) -> None:
    build(tmp_path / "a", SourceSpec(files=5, size=2_000_000, features=frozenset(), incompressible=share), 3)
    data = b"".join(p.read_bytes() for p in sorted((tmp_path / "a").rglob("*")) if p.is_file())
    assert low <= len(zlib.compress(data)) / len(data) <= high


def test_what_a_file_system_refuses_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = seeded.write_file

    def picky(path: bytes, *args: Any) -> int:
        if unicodedata.normalize("NFC", os.fsdecode(path)) != os.fsdecode(path):
            raise OSError(errno.EILSEQ, "no")
        return real(path, *args)

    def no_attributes(*args: Any) -> None:
        raise OSError(errno.ENOTSUP, "no")

    monkeypatch.setattr(generate, "write_file", picky)
    monkeypatch.setattr(os, "setxattr", no_attributes)
    summary = build(tmp_path / "a", SPEC, 7)
    assert summary.left_out == {
        r"unicode_names: cafe\u0301": "name refused: EILSEQ",
        "xattrs": f"not supported here: {errno.errorcode[errno.ENOTSUP]}",
    }
    assert "xattrs" not in summary.features


@pytest.mark.parametrize("feature", [Feature.XATTRS, Feature.LONG_NAMES])
def test_a_full_disk_is_an_error_and_no_missing_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: Feature
) -> None:
    real = seeded.write_file

    def full(path: bytes, *args: Any) -> int:
        if b"/odd/" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args)

    monkeypatch.setattr(generate, "write_file", full)
    with pytest.raises(TreeError, match="ENOSPC"):
        build(tmp_path / "a", SourceSpec(files=1, size=1, features=frozenset({feature})), 7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"files": -1}, "0 or more"),
        ({"files": 0}, "at least one file"),
        ({"depth": 65}, "depth"),
        ({"incompressible": 1.5}, "incompressible"),
        ({"features": frozenset({"hard_link"})}, "'hard_link'; known are awkward_names"),
    ],
)
def test_senseless_specs_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TreeError, match=message):
        SourceSpec(**wrong)


def test_features_may_be_given_by_name_and_exclude_the_special_ones_by_default() -> None:
    assert SourceSpec(features=frozenset({"sparse"})).features == {Feature.SPARSE}  # type: ignore[arg-type]
    assert frozenset(Feature) - DEFAULT_FEATURES == {Feature.SPECIAL, Feature.ABSOLUTE_SYMLINKS}


def test_a_root_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for place in (tmp_path, tmp_path / "link"):
        with pytest.raises(TreeError):
            build(place, SPEC, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "mine"]
