"""Every kind of single damage to a real tree is reported as exactly that, and nothing else is."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupchaos.trees import ALL, STRICT, Aspect, Comparison, SourceSpec, build, compare, rules, scan

Mutation = Callable[[Path, int], bytes]  # damages one of several paths, and says which


def _files(root: Path) -> list[Path]:
    found = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.is_symlink()]
    return [p for p in found if p.stat().st_nlink == 1 and 0 < p.stat().st_size < 500_000]


def _relative(root: Path, path: Path) -> bytes:
    return os.fsencode(path.relative_to(root))


def _restamp(path: Path, st: os.stat_result) -> None:
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)


def _flip(root: Path, pick: int) -> bytes:
    path = _files(root)[pick % len(_files(root))]
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[pick % len(data)] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    _restamp(path, before)  # neither size nor time give it away
    return _relative(root, path)


def _cut(root: Path, pick: int) -> bytes:
    path = _files(root)[pick % len(_files(root))]
    before = path.stat()
    os.truncate(path, pick % before.st_size)
    _restamp(path, before)
    return _relative(root, path)


def _mode(root: Path, pick: int) -> bytes:
    paths = [p for p in sorted(root.rglob("*")) if not p.is_symlink() and not _linked(p)]
    path = paths[pick % len(paths)]
    path.chmod((path.stat().st_mode & 0o7777) ^ (0o004 if pick % 2 else 0o1000))
    return _relative(root, path)


def _linked(path: Path) -> bool:
    return path.is_file() and path.stat().st_nlink > 1


def _file_time(root: Path, pick: int) -> bytes:
    path = _files(root)[pick % len(_files(root))]
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    return _relative(root, path)


def _folder_time(root: Path, pick: int) -> bytes:
    paths = [p for p in sorted(root.rglob("*")) if p.is_dir() and not p.is_symlink()]
    path = paths[pick % len(paths)]
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 1))
    return _relative(root, path)


def _link_time(root: Path, pick: int) -> bytes:
    paths = [p for p in sorted(root.rglob("*")) if p.is_symlink()]
    path = paths[pick % len(paths)]
    os.utime(path, ns=(0, path.lstat().st_mtime_ns + 1), follow_symlinks=False)
    return _relative(root, path)


def _attribute(root: Path, pick: int) -> bytes:
    path = root / "odd/xattrs/file"
    if pick % 3 == 0:
        os.removexattr(path, "user.empty")
    else:
        os.setxattr(path, "user.long" if pick % 3 == 1 else "user.more", b"long " * 59 + b"lonk ")
    return _relative(root, path)


def _retarget(root: Path, pick: int) -> bytes:
    path = root / "odd/symlinks/relative"
    before = path.lstat()
    path.unlink()
    path.symlink_to("filE" if pick % 2 else "folder/inside")
    _restamp(path, before)
    return _relative(root, path)


def _unlink_copy(root: Path, pick: int) -> bytes:
    path = root / "odd/hard/z"
    before = path.stat()
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    path.chmod(before.st_mode & 0o7777)
    _restamp(path, before)
    return _relative(root, path)


def _regroup(root: Path, pick: int) -> bytes:
    """One of a group of three becomes a name of its own; the other two stay together."""
    path = root / "odd/hard/other/c-three"
    before = path.stat()
    shutil.copyfile(path, path.with_name("t"))
    path.with_name("t").rename(path)
    path.chmod(before.st_mode & 0o7777)
    _restamp(path, before)
    return _relative(root, path)


def _remove(root: Path, pick: int) -> bytes:
    path = _files(root)[pick % len(_files(root))]
    path.unlink()
    return _relative(root, path)


def _remove_first_link(root: Path, pick: int) -> bytes:
    (root / "odd/hard/a-three").unlink()
    return b"odd/hard/a-three"


def _remove_folder(root: Path, pick: int) -> bytes:
    (root / "odd/empty/nested/inner").rmdir()
    return b"odd/empty/nested/inner"


def _remove_link(root: Path, pick: int) -> bytes:
    (root / "odd/symlinks/dangling").unlink()
    return b"odd/symlinks/dangling"


def _add(root: Path, pick: int) -> bytes:
    folders = [p for p in sorted(root.rglob("*")) if p.is_dir() and not p.is_symlink()]
    path = folders[pick % len(folders)] / "~extra"
    path.write_bytes(b"x" * (pick % 9))
    return _relative(root, path)


def _as_link(root: Path, pick: int) -> bytes:
    """The content is there when the link is followed; the file is not."""
    path = _files(root)[pick % len(_files(root))]
    before = path.stat()
    kept = root.parent / "elsewhere"
    shutil.move(path, kept)
    path.symlink_to(kept)
    _restamp(path, before)
    return _relative(root, path)


def _as_socket(root: Path, pick: int) -> bytes:
    path = root / "odd/hard/z"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)
    return _relative(root, path)


def _fill_hole(root: Path, pick: int) -> bytes:
    path = root / "odd/sparse"
    before = path.stat()
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data)
    _restamp(path, before)
    return _relative(root, path)


def _owner(root: Path, pick: int) -> bytes:
    path = _files(root)[pick % len(_files(root))]
    mode, before = path.stat().st_mode & 0o7777, path.stat()
    os.chown(path, before.st_uid, _other_groups()[0])
    path.chmod(mode)
    return _relative(root, path)


def _other_groups() -> list[int]:
    """Return groups that this user may give files to; being root is not enough in a container."""
    with tempfile.NamedTemporaryFile() as file:
        for group in (12345, *os.getgroups()):
            try:
                os.chown(file.name, -1, group)
            except OSError:
                continue
            if group != os.getgid():
                return [group]
    return []


DAMAGE: dict[str, tuple[Mutation, Aspect, str]] = {
    "flipped bit": (_flip, Aspect.CONTENT, "content"),
    "cut short": (_cut, Aspect.CONTENT, "size"),
    "mode": (_mode, Aspect.MODE, "mode"),
    "time of a file": (_file_time, Aspect.MTIME, "mtime"),
    "time of a directory": (_folder_time, Aspect.DIR_MTIME, "mtime"),
    "time of a symlink": (_link_time, Aspect.LINK_MTIME, "mtime"),
    "attribute": (_attribute, Aspect.XATTRS, "xattrs"),
    "target": (_retarget, Aspect.LINKS, "target"),
    "hard link of two": (_unlink_copy, Aspect.HARDLINKS, "hardlink"),
    "hard link of three": (_regroup, Aspect.HARDLINKS, "hardlink"),
    "missing file": (_remove, Aspect.CONTENT, "missing"),
    "missing first link": (_remove_first_link, Aspect.CONTENT, "missing"),
    "missing directory": (_remove_folder, Aspect.EMPTY_DIRS, "missing"),
    "missing symlink": (_remove_link, Aspect.LINKS, "missing"),
    "extra file": (_add, Aspect.CONTENT, "extra"),
    "file as symlink": (_as_link, Aspect.TYPE, "type"),
    "file as socket": (_as_socket, Aspect.TYPE, "type"),
    "filled hole": (_fill_hole, Aspect.SPARSE, "sparse"),
}
if _other_groups():
    DAMAGE["owner"] = (_owner, Aspect.OWNER, "owner")

SPEC = SourceSpec(files=8, size=20_000, depth=1)


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        summary = build(Path(folder) / "tree", SPEC, 1)
        assert summary.left_out == {}, "these tests need a file system with attributes and holes"
        scan(Path(folder) / "tree", Path(folder) / "manifest")
        yield Path(folder) / "manifest"


def damaged(
    kind: str, pick: int, original: Path, aspects: frozenset[Aspect] = STRICT
) -> tuple[bytes, Comparison]:
    """Build the tree again, damage it, keep the times of directories, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        build(root, SPEC, 1)
        times = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_dir() and not p.is_symlink()}
        at = root.stat().st_mtime_ns
        path = DAMAGE[kind][0](root, pick)
        if kind != "time of a directory":
            for folder_path, when in times.items():
                if folder_path.exists():
                    os.utime(folder_path, ns=(when, when))
        os.utime(root, ns=(at, at))
        scan(root, Path(folder) / "manifest")
        return path, compare(original, Path(folder) / "manifest", aspects)


@given(kind=st.sampled_from(sorted(DAMAGE)), pick=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_exactly_the_damage_is_reported(original: Path, kind: str, pick: int) -> None:
    path, result = damaged(kind, pick, original)
    _, aspect, what = DAMAGE[kind]
    assert not result.equal
    assert [(item.path, item.what) for item in result.first] == [(path, what)]
    assert {name: count for name, count in result.per_aspect.items() if count} == {aspect.value: 1}
    assert result.expected == result.identical + result.different + result.missing
    assert (result.different, result.missing, result.extra) == {
        "missing": (0, 1, 0),
        "extra": (0, 0, 1),
    }.get(what, (1, 0, 0))


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_each_kind_is_found_and_is_its_own_aspect(original: Path, kind: str) -> None:
    _, aspect, what = DAMAGE[kind]
    path, result = damaged(kind, 3, original)
    assert [(item.path, item.what) for item in result.first] == [(path, what)]
    if aspect not in (
        Aspect.CONTENT,
        Aspect.TYPE,
    ):  # missing, extra and other files are owed under any aspects
        assert damaged(kind, 3, original, STRICT - {aspect})[1].equal


def test_an_untouched_copy_is_equal(original: Path, tmp_path: Path) -> None:
    build(tmp_path / "tree", SPEC, 1)
    scan(tmp_path / "tree", tmp_path / "manifest")
    result = compare(original, tmp_path / "manifest", STRICT)
    assert result.equal
    assert not result.vacuous
    assert result.identical == result.expected > 80
    assert set(result.per_aspect) == {aspect.value for aspect in STRICT}


BLIND = {
    "mode": "mode",
    "owner": "owner",
    "time of a file": "mtime",
    "attribute": "xattrs",
    "flipped bit": "content",
    "cut short": "size",
    "target": "target",
    "filled hole": "sparse",
}


@pytest.mark.parametrize("kind", sorted(set(BLIND) & set(DAMAGE)))
def test_a_blind_oracle_would_be_caught_here(
    original: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The damage above really stands for its rule: without the rule it goes unseen."""
    for name in ("_data", "_metadata"):
        real = getattr(rules, name)
        monkeypatch.setattr(rules, name, lambda *a, real=real: (f for f in real(*a) if f.what != BLIND[kind]))
    assert damaged(kind, 3, original)[1].equal


def test_sparse_and_root_are_asked_for_by_name(original: Path) -> None:
    assert frozenset({Aspect.SPARSE, Aspect.ROOT}) == STRICT - ALL
    assert damaged("filled hole", 0, original, ALL)[1].equal


def test_the_root_itself_is_compared_on_request(small_tree: Path, tmp_path: Path) -> None:
    scan(small_tree, tmp_path / "before")
    small_tree.chmod(0o700)
    scan(small_tree, tmp_path / "after")
    assert compare(tmp_path / "before", tmp_path / "after").equal
    result = compare(tmp_path / "before", tmp_path / "after", STRICT)
    assert [(item.display, item.what) for item in result.first] == [(".", "mode")]
    assert not result.equal
