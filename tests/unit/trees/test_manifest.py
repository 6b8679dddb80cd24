"""Scanning: what is seen, what is survived, what is refused, and at which cost in memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backupchaos.trees import (
    Aspect,
    Comparison,
    Entry,
    ManifestError,
    ManifestReader,
    TreeError,
    compare,
    display_path,
    order_key,
    read_summary,
    scan,
)
from backupchaos.trees import walk as walking
from backupchaos.trees.content import FileReader
from backupchaos.trees.scanner import Scanner

Read = Callable[[Path], list[Entry]]


def test_entries_say_what_the_file_system_says(small_tree: Path, entries: Read) -> None:
    found = {e.path: e for e in entries(small_tree)}
    on_disk = {os.fsencode(p.relative_to(small_tree)) for p in small_tree.rglob("*")}
    assert set(found) == on_disk
    assert list(found) == sorted(found, key=order_key)
    for path, entry in found.items():
        real = small_tree / os.fsdecode(path)
        seen = real.lstat()
        assert (entry.mode, entry.uid, entry.gid) == (seen.st_mode & 0o7777, seen.st_uid, seen.st_gid)
        assert entry.mtime_ns == seen.st_mtime_ns
        if entry.type == "file":
            assert entry.sha256 == hashlib.sha256(real.read_bytes()).hexdigest()
            assert entry.size == seen.st_size
        if entry.type == "symlink":
            assert entry.target == os.readlink(os.fsencode(real))
    assert found[b"odd/xattrs/file"].xattrs["user.text"] == "hex:" + b"value".hex()
    assert found[b"odd/hard/other/c-three"].hardlink == b"odd/hard/a-three"
    assert found[b"odd/sparse"].allocated < found[b"odd/sparse"].size
    assert found[b"odd/sparse"].holes


def test_a_scan_is_reproducible_and_changes_nothing(small_tree: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    assert scan(small_tree, first) == scan(small_tree, second)
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_content_around_the_buffer_size(tmp_path: Path, entries: Read, size: int) -> None:
    (tmp_path / "tree").mkdir()
    data = os.urandom(size)
    (tmp_path / "tree/file").write_bytes(data)
    (entry,) = entries(tmp_path / "tree")
    assert (entry.size, entry.sha256) == (size, hashlib.sha256(data).hexdigest())


def test_links_are_not_followed_and_the_root_is_not_left(tmp_path: Path, entries: Read) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/way-out").symlink_to("../outside")
    assert [e.path for e in entries(tmp_path / "tree")] == [b"way-out"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_root_that_is_a_link_is_refused(small_tree: Path, tmp_path: Path, slash: str) -> None:
    (tmp_path / "restored").symlink_to(small_tree)
    with pytest.raises(TreeError, match="symbolic link"):
        scan(f"{tmp_path}/restored{slash}", tmp_path / "manifest")


def test_missing_roots_and_manifests_inside_are_refused(small_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="ENOENT"):
        scan(tmp_path / "none", io.BytesIO())
    with pytest.raises(TreeError, match="inside"):
        scan(small_tree, small_tree / "manifest")
    assert not (small_tree / "manifest").exists()


WITHOUT_RIGHTS = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capset(header, none) == 0  # root reads everything otherwise
sys.path.insert(0, sys.argv[1])
from backupchaos.trees import scan
print(json.dumps(scan(sys.argv[2], sys.argv[3]).to_dict()))
"""


def test_unreadable_entries_are_survived_and_show(tmp_path: Path) -> None:
    """Runs without privileges, and without site packages as in a sandbox."""
    root = tmp_path / "tree"
    (root / "closed").mkdir(parents=True)
    (root / "closed/in").write_text("x")
    (root / "open").write_text("x")
    (root / "secret").write_text("x")
    (root / "secret").chmod(0)
    (root / "closed").chmod(0)
    (root / "stuck").mkdir()
    (root / "stuck/in").write_text("x")
    (root / "stuck").chmod(0o400)  # its names can be listed, and nothing else
    harness = Path(__file__).parents[3] / "harness"
    command: list[str | Path] = [
        sys.executable,
        "-ISB",
        "-c",
        WITHOUT_RIGHTS,
        harness,
        root,
        tmp_path / "manifest",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name in ("closed", "stuck"):
        (root / name).chmod(0o700)
    assert done.returncode == 0, done.stderr
    summary = read_summary(tmp_path / "manifest")
    assert summary.to_dict() | {"first_errors": []} == json.loads(done.stdout) | {"first_errors": []}
    assert dict(summary.first_errors) == {
        "closed": "open: EACCES",
        "secret": "open: EACCES",
        "stuck/in": "stat: EACCES",
    }
    assert (summary.errors, summary.complete, summary.entries) == (3, False, 5)
    result = compare(tmp_path / "manifest", tmp_path / "manifest")
    assert not result.equal
    assert result.expected_errors == result.actual_errors == 3


def _race(monkeypatch: pytest.MonkeyPatch, actions: dict[bytes, Callable[[], object]]) -> None:
    """Do something at the moment just before a file is opened."""
    real = FileReader.read

    def read(self: FileReader, name: bytes, dir_fd: int, st: os.stat_result) -> Any:
        if name in actions:
            actions.pop(name)()
        return real(self, name, dir_fd, st)

    monkeypatch.setattr(FileReader, "read", read)


def _replace(path: Path, make: Callable[[Path], object]) -> Callable[[], object]:
    def act() -> object:
        path.unlink()
        return make(path)

    return act


def test_what_vanishes_or_is_replaced_meanwhile_is_an_error(
    tmp_path: Path, entries: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("a", "b", "c", "d", "e", "f"):
        (root / name).write_text("x")
    actions: dict[bytes, Callable[[], object]] = {
        b"a": (root / "b").unlink,
        b"c": (root / "c").unlink,
        b"d": _replace(root / "d", os.mkfifo),
        b"e": _replace(root / "e", lambda p: p.symlink_to("a")),
        b"f": _replace(root / "f", lambda p: p.write_text("another")),
    }
    (root / "keep").hardlink_to(root / "f")  # so that the number of the inode is not given away again
    (root / "keep2").hardlink_to(root / "d")
    _race(monkeypatch, actions)
    found = {e.path: e for e in entries(root)}
    assert found[b"a"].error == ""
    assert (found[b"b"].type, found[b"b"].error) == ("unknown", "stat: ENOENT")
    assert found[b"c"].error == "open: ENOENT"
    assert found[b"d"].error == "open: replaced by another file meanwhile"
    assert found[b"e"].error == "open: ELOOP"
    assert found[b"f"].error == "open: replaced by another file meanwhile"


def test_a_file_written_while_it_is_read_is_an_error(
    tmp_path: Path, entries: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grows", "shrinks", "same"):
        (tmp_path / name).write_bytes(b"x" * 9)
    real = FileReader._hash

    def read(self: FileReader, fd: int, size: int) -> tuple[str, int]:
        result = real(self, fd, size)
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        os.truncate(path, {"grows": 10, "shrinks": 8, "same": 9}[path.name])
        os.utime(path, ns=(0, 77))
        return result

    monkeypatch.setattr(FileReader, "_hash", read)
    assert [e.error for e in entries(tmp_path)] == [
        "read: changed meanwhile (9 bytes read, size 9)"] * 3  # fmt: skip


def test_a_directory_that_changes_meanwhile_shows_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a").write_text("x")
    os.utime(root, ns=(0, 0))
    _race(monkeypatch, {b"a": lambda: (root / "new").write_text("x")})
    summary = scan(root, tmp_path / "manifest")
    assert summary.first_errors == ((".", walking.CHANGED),)
    assert not compare(tmp_path / "manifest", tmp_path / "manifest").equal


def test_trees_deeper_than_the_limit_on_files_and_on_paths(tmp_path: Path) -> None:
    depth = walking.KEEP_OPEN * 6
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("x" * 20, dir_fd=fd)
        below = os.open("x" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("z", os.O_CREAT | os.O_WRONLY, dir_fd=fd))  # read after coming up again
        os.close(fd)
        fd = below
    os.close(fd)
    before = set(os.listdir("/proc/self/fd"))
    most = 0
    for step in walking.walk(tmp_path / "tree"):
        most = max(most, len(os.listdir("/proc/self/fd")))
        assert not step.error
    assert most <= len(before) + walking.KEEP_OPEN + 3
    assert set(os.listdir("/proc/self/fd")) == before
    summary = scan(tmp_path / "tree", tmp_path / "manifest")
    assert (summary.entries, summary.errors) == (2 * depth, 0)


class TestReading:
    @pytest.fixture
    def manifest(self, small_tree: Path, tmp_path: Path) -> Path:
        scan(small_tree, tmp_path / "manifest")
        return tmp_path / "manifest"

    def test_it_reads_back(self, manifest: Path) -> None:
        reader = ManifestReader(manifest)
        count = len(list(reader))
        assert reader.summary == read_summary(manifest)
        assert reader.summary is not None and reader.summary.entries == count
        assert reader.root is not None and reader.root.type == "directory"

    @pytest.mark.parametrize("keep", [0, 1, 2, -2, -1])
    def test_cut_short_is_refused(self, manifest: Path, keep: int) -> None:
        manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:keep]))
        with pytest.raises(ManifestError, match="cut short"):
            compare(manifest, manifest)
        with pytest.raises(ManifestError, match="cut short"):
            read_summary(manifest)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (b'"version":1', b'"version":2', ":1: version 2"),
            (b"backupchaos-manifest", b"something", ":1: not a manifest"),
            (b'"mode":420', b'"mode":421', "not the ones that were written"),
            (b'{"path":"odd"', b'{"path":"zzz"', "out of order"),
            (b'{"path":"odd"', b'"path":"odd"', "not a manifest line"),
            (b'{"path":"odd"', b'{"paths":"odd"', "not a manifest line"),
            (b'"type":"symlink"', b'"type":"seamlink"', "not a manifest line"),
        ],
    )
    def test_damage_is_located(self, manifest: Path, old: bytes, new: bytes, message: str) -> None:
        data = manifest.read_bytes()
        assert old in data
        manifest.write_bytes(data.replace(old, new, 1))
        with pytest.raises(ManifestError, match=message) as caught:
            list(ManifestReader(manifest))
        assert str(caught.value).startswith(display_path(os.fsencode(manifest)))

    def test_lines_lost_in_the_middle(self, manifest: Path) -> None:
        lines = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join(lines[:5] + lines[6:]))
        with pytest.raises(ManifestError, match="not the ones"):
            list(ManifestReader(manifest))

    def test_no_manifest_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="ENOENT"):
            list(ManifestReader(tmp_path / "none"))
        with pytest.raises(ManifestError, match="ENOENT"):
            read_summary(tmp_path / "none")


def _many(root: Path, folders: int) -> Path:
    for number in range(folders):
        folder = root / f"{number:03}"
        folder.mkdir(parents=True)
        fd = os.open(folder, os.O_RDONLY)
        for name in range(199):
            os.close(os.open(f"file-{name:03}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
    return root


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    peaks: dict[str, list[int]] = {"scan": [], "compare": []}
    for folders in (10, 100):  # 2,000 and 20,000 entries
        root, out = _many(tmp_path / str(folders), folders), tmp_path / f"{folders}.manifest"
        if folders == 10:
            scan(root, out)  # what is imported or cached once is not counted
        peaks["scan"].append(_peak(partial(scan, root, out)))
        peaks["compare"].append(_peak(partial(compare, out, out)))
        assert read_summary(out).entries == folders * 200
    for few, many in peaks.values():
        assert many < few + 64 * 1024, peaks
        assert many < 2 * 1024 * 1024, peaks


@pytest.mark.slow
def test_a_real_tree(same: Callable[..., Comparison]) -> None:
    """The standard library as it is installed here."""
    root = Path(sysconfig.get_path("stdlib")) / "json"
    result = same(root, root)
    assert result.equal
    assert result.identical >= 5


def test_host_attributes_do_not_count(small_tree: Path, tmp_path: Path, entries: Read) -> None:
    path = small_tree / "odd/xattrs/file"
    before = scan(small_tree, io.BytesIO()).identity
    os.setxattr(path, "user.overlay.opaque", b"y")
    assert scan(small_tree, io.BytesIO()).identity == before
    os.setxattr(path, "user.overlays", b"y")
    assert scan(small_tree, io.BytesIO()).identity != before


def _odd() -> Iterator[bytes]:
    yield from (
        b"plain",
        b"new\nline",
        b"back\\slash",
        b"\\n",
        b"\xff",
        b"\\xff",
        b"\xc2\x85",
        b"\x85",
        b"\x1b[31m",
    )
    yield from (
        s.encode() for s in ("caf\u00e9", "cafe\u0301", "\u202egnp", "\u2028", "a\u00a0b", "\U000e0001", "é")
    )


def test_displayed_paths_are_safe_and_tell_names_apart() -> None:
    shown = [display_path(name) for name in {*_odd()}]
    assert len(set(shown)) == len(shown)
    assert all(text.isprintable() for text in shown)
    assert display_path(b"a\n\x1b\xff\\") == r"a\n\x1b\xff\\"
    assert display_path("cafe\u0301") == r"cafe\u0301"
    assert display_path("café".encode()) == "café"
    assert display_path("\u202egnp.exe") == r"\u202egnp.exe"
    assert display_path(b"") == "."


def test_aspects_have_distinct_words() -> None:
    assert len({a.value for a in Aspect}) == len(Aspect) == 13


def test_inodes_are_forgotten_once_all_of_their_names_were_met(small_tree: Path) -> None:
    scanner = Scanner()
    most = 0
    for step in walking.walk(small_tree):
        if not step.leaving:
            scanner.entry(step)
            most = max(most, len(scanner._inodes))
    assert most >= 1
    assert not scanner._inodes
