"""Copies of real trees keep everything, and say what they could not keep."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupchaos.trees import (
    STRICT,
    Comparison,
    CopyLimits,
    Feature,
    SourceSpec,
    TreeError,
    build,
    copier,
    copy_tree,
)
from backupchaos.trees import walk as walking

Same = Callable[..., Comparison]


def test_a_copy_is_equal_in_every_aspect(tmp_path: Path, same: Same) -> None:
    build(tmp_path / "a", SourceSpec(files=40, size=7_000_000, features=frozenset(Feature)), 1)
    (tmp_path / "a").chmod(0o700)
    summary = copy_tree(tmp_path / "a", tmp_path / "b")
    result = same(tmp_path / "a", tmp_path / "b", aspects=STRICT)
    assert result.equal, result
    assert summary.complete
    assert summary.hard_links == 3


def test_owners_are_kept_or_missed(tmp_path: Path, same: Same, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs this: the numbers asked for are those of the source, and a refusal is counted."""
    build(tmp_path / "a", SourceSpec(files=3, size=10, features=frozenset({Feature.SYMLINKS})), 1)
    asked: list[tuple[int, int]] = []

    def chown(*args: Any, **more: Any) -> None:
        asked.append(args[1:3])
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "fchown", chown)
    monkeypatch.setattr(os, "chown", chown)
    summary = copy_tree(tmp_path / "a", tmp_path / "b")
    entries = sum(1 for _ in (tmp_path / "a").rglob("*")) + 1
    own = (tmp_path / "a").stat()
    assert asked == [(own.st_uid, own.st_gid)] * entries
    assert summary.not_kept == {"owner": entries}
    assert not summary.complete


@pytest.mark.parametrize("error", [errno.EXDEV, errno.ENOSYS, None])
def test_the_slow_way_gives_the_same(
    tmp_path: Path, same: Same, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    real = os.copy_file_range

    def unwilling(src: int, dst: int, count: int, **where: int) -> int:
        if error is None:
            return real(src, dst, min(count, 1000), **where) if where["offset_src"] == 0 else 0
        raise OSError(error, "no")

    monkeypatch.setattr(os, "copy_file_range", unwilling)
    build(tmp_path / "a", SourceSpec(files=10, size=300_000), 1)
    assert copy_tree(tmp_path / "a", tmp_path / "b").complete
    assert same(tmp_path / "a", tmp_path / "b", aspects=STRICT).equal


def test_sockets_are_skipped_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s\n")
    summary = copy_tree(tmp_path / "a", tmp_path / "b")
    assert summary.skipped == ((r"s\n", "socket"),)
    assert not summary.complete
    assert list((tmp_path / "b").iterdir()) == []


WITHOUT_RIGHTS = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0
sys.path.insert(0, sys.argv[1])
from backupchaos.trees import copy_tree
print(json.dumps(copy_tree(sys.argv[2], sys.argv[3]).to_dict()))
"""


def test_what_cannot_be_read_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "a/closed").mkdir(parents=True)
    (tmp_path / "a/secret").write_text("x")
    (tmp_path / "a/plain").write_text("x")
    (tmp_path / "a/secret").chmod(0)
    (tmp_path / "a/closed").chmod(0)
    harness = Path(__file__).parents[3] / "harness"
    command: list[str | Path] = [
        sys.executable,
        "-ISB",
        "-c",
        WITHOUT_RIGHTS,
        harness,
        tmp_path / "a",
        tmp_path / "b",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (tmp_path / "a/closed").chmod(0o700)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["unreadable"] == [["closed", "open: EACCES"], ["secret", "open: EACCES"]]
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["closed", "plain"]


def test_a_file_that_changes_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/log").write_text("x" * 5000)
    real = copier._copy_range

    def racing(*args: int) -> None:
        real(*args)
        with (tmp_path / "a/log").open("a") as file:
            file.write("more")

    monkeypatch.setattr(copier, "_copy_range", racing)
    summary = copy_tree(tmp_path / "a", tmp_path / "b")
    assert summary.unreadable == (("log", "read: changed while it was copied"),)
    assert not (tmp_path / "b/log").exists()


def _failing(monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, name, fail)


def test_a_full_destination_raises(small_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, "copy_file_range", errno.ENOSPC)
    with pytest.raises(TreeError, match="ENOSPC"):
        copy_tree(small_tree, tmp_path / "b")


def test_a_poor_destination_is_said_to_be(
    small_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("setxattr", "link", "symlink"):
        _failing(monkeypatch, name, errno.EPERM)
    summary = copy_tree(small_tree, tmp_path / "b")
    assert summary.not_kept == {"xattrs": 5, "hard_links": 3}
    assert summary.skipped_count == 11
    assert (tmp_path / "b/odd/hard/z").read_bytes() == (small_tree / "odd/hard/z").read_bytes()


@pytest.mark.parametrize("limits", [CopyLimits(max_bytes=1000), CopyLimits(max_entries=5)])
def test_limits_raise(small_tree: Path, tmp_path: Path, limits: CopyLimits) -> None:
    with pytest.raises(TreeError, match="raise max_"):
        copy_tree(small_tree, tmp_path / "b", limits=limits)


def test_large_files_are_skipped_on_request(small_tree: Path, tmp_path: Path) -> None:
    summary = copy_tree(small_tree, tmp_path / "b", limits=CopyLimits(max_file_bytes=1_000_000))
    assert summary.skipped == (("odd/sparse", "larger than 1000000 bytes"),)


def test_a_copy_into_itself_or_over_something_is_refused(small_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(small_tree)
    for place in (small_tree / "new/copy", tmp_path / "alias/copy", small_tree):
        with pytest.raises(TreeError, match="inside"):
            copy_tree(small_tree, place)
    with pytest.raises(TreeError, match="empty"):
        copy_tree(small_tree / "odd", tmp_path)


def test_deep_trees(tmp_path: Path, same: Same) -> None:
    (tmp_path / "a").mkdir()
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(walking.KEEP_OPEN * 4):
        os.mkdir("x" * 20, 0o750, dir_fd=fd)
        below = os.open("x" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    copy_tree(tmp_path / "a", tmp_path / "b")
    result = same(tmp_path / "a", tmp_path / "b", aspects=STRICT)
    assert result.equal
    assert result.identical == walking.KEEP_OPEN * 4


@pytest.mark.slow
def test_a_real_tree(tmp_path: Path, same: Same) -> None:
    source = Path(sysconfig.get_path("stdlib"))
    packages = [p for p in (source / "asyncio", source / "encodings", source / "unittest") if p.is_dir()]
    for package in packages:
        assert copy_tree(package, tmp_path / package.name).unreadable_count == 0
        result = same(package, tmp_path / package.name)
        assert result.equal, result
        assert result.identical > 10
