"""What a restore may hold of files that changed under the job, on real trees and manifests, without a sandbox."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backupchaos.engine.moved import Moved
from backupchaos.faults.base import Leniency
from backupchaos.trees import ALL, STRICT, Aspect, Comparison, scan

OLD, NEW = 1_600_000_000, 1_700_000_000
"""The times of the two versions."""
BEFORE, AFTER = b"before" * 100, b"AFTER!" * 80
Change = Callable[[Path], object]


def write(path: Path, content: bytes, when: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when, when))


class Trees:
    """Three trees that are alike but for one file; the restored one is a copy of before until it is changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.leniency: Leniency = "either"
        write(self.path("before", "folder/x"), BEFORE, OLD)
        write(self.path("before", "folder/other"), b"other", OLD)
        write(self.path("before", "top"), b"top", OLD)
        self._settle("before")
        for name in ("after", "actual", "old"):
            shutil.copytree(root / "before", root / name, symlinks=True)

    def path(self, tree: str, name: str = "folder/x") -> Path:
        return self.root / tree / name

    def _settle(self, tree: str) -> None:
        for folder in (self.root / tree / "folder", self.root / tree):
            os.utime(folder, (OLD, OLD))

    def compare(
        self, aspects: frozenset[Aspect] = ALL, *, old: bool = False, excused: tuple[str, ...] = ()
    ) -> Comparison:
        manifests = {}
        for name in ("before", "after", "actual", "old"):
            manifests[name] = str(self.root / f"{name}.manifest")
            scan(self.root / name, manifests[name])

        def begins(path: str, of_after: bool, length: int) -> str:
            content = self.path("after" if of_after else "before", path).read_bytes()
            return hashlib.sha256(content[:length]).hexdigest()

        moved = Moved({"folder/x": self.leniency}, manifests["before"], manifests["after"], begins)
        return moved.compare(
            manifests["actual"],
            aspects,
            20,
            granularity=1,
            old=manifests["old"] if old else None,
            excused=frozenset(map(os.fsencode, excused)),
        )

    def wrong(self, **how: object) -> str:
        """What is wrong with the file, or nothing."""
        found = self.compare(**how)  # type: ignore[arg-type]
        assert found.expected == found.identical + found.different + found.missing + found.waived
        assert found.equal is not bool(found.first)
        return found.first[0].what if found.first else ""


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def versions(trees: Trees, after: bytes | None, actual: bytes | None, when: int) -> None:
    """The file became ``after``; what came back is ``actual`` with this time."""
    if after is None:
        trees.path("after").unlink()
    else:
        write(trees.path("after"), after, NEW)
    if actual is None:
        trees.path("actual").unlink()
    else:
        write(trees.path("actual"), actual, when)


@pytest.mark.parametrize(
    ("actual", "when", "wrong"),
    [
        (BEFORE, OLD, ""),
        (AFTER, NEW, ""),
        (AFTER, OLD, ""),
        (BEFORE, NEW, "mtime"),
        (BEFORE[:300] + AFTER[300:], OLD, "torn"),
        (BEFORE[:300] + AFTER[300:], NEW, "torn"),
        (BEFORE[:300], OLD, "torn"),
        (b"", NEW, "torn"),
        (BEFORE, OLD + 5, "mtime"),
        (None, 0, "missing"),
    ],
)
def test_replaced(trees: Trees, actual: bytes | None, when: int, wrong: str) -> None:
    versions(trees, AFTER, actual, when)
    assert trees.wrong() == wrong


@pytest.mark.parametrize(
    ("actual", "when", "wrong"),
    [
        (BEFORE, OLD, ""),
        (BEFORE + b"more" * 50, NEW, ""),
        (BEFORE + b"more" * 50, OLD, ""),
        (BEFORE + b"more" * 20, OLD, ""),
        (BEFORE + b"more" * 20, NEW, "mtime"),
        (BEFORE, NEW, "mtime"),
        (BEFORE[:-1], OLD, "torn"),
        (BEFORE + bytes(200), NEW, "torn"),
        (BEFORE + b"more" * 51, NEW, "torn"),
        (b"", OLD, "torn"),
        (None, 0, "missing"),
    ],
)
def test_grown(trees: Trees, actual: bytes | None, when: int, wrong: str) -> None:
    trees.leniency = "prefix"
    versions(trees, BEFORE + b"more" * 50, actual, when)
    assert trees.wrong() == wrong


@pytest.mark.parametrize(
    ("actual", "when", "wrong"),
    [
        (BEFORE, OLD, ""),
        (BEFORE[:300], NEW, ""),
        (BEFORE[:300], OLD, ""),
        (BEFORE[:450], OLD, ""),
        (BEFORE[:450], NEW, "mtime"),
        (BEFORE[:299], OLD, "torn"),
        (BEFORE[:300] + bytes(300), OLD, "torn"),
    ],
)
def test_truncated(trees: Trees, actual: bytes, when: int, wrong: str) -> None:
    trees.leniency = "prefix"
    versions(trees, BEFORE[:300], actual, when)
    assert trees.wrong() == wrong


@pytest.mark.parametrize(
    ("actual", "when", "wrong"),
    [(None, 0, ""), (BEFORE, OLD, ""), (b"", OLD, "torn"), (BEFORE[:9], OLD, "torn"), (BEFORE, NEW, "torn")],
)
def test_vanished(trees: Trees, actual: bytes | None, when: int, wrong: str) -> None:
    versions(trees, None, actual, when)
    assert trees.wrong() == wrong


def test_another_kind_of_thing_under_the_name_is_neither(trees: Trees) -> None:
    versions(trees, AFTER, None, 0)
    trees.path("actual").symlink_to("other")
    assert trees.wrong() == "torn"


def test_what_is_not_promised_is_not_asked_for(trees: Trees) -> None:
    versions(trees, AFTER, BEFORE, NEW)
    assert trees.wrong(aspects=ALL - {Aspect.MTIME}) == ""
    write(trees.path("actual"), b"mix", NEW)
    assert trees.wrong(aspects=ALL - {Aspect.MTIME}) == "torn"


def test_another_mode_is_a_difference(trees: Trees) -> None:
    versions(trees, AFTER, AFTER, NEW)
    trees.path("actual").chmod(0o600)
    assert trees.wrong() == "mode"


@pytest.mark.parametrize("leniency", ["either", "prefix", "any", "after"])
def test_all_other_paths_are_as_before(trees: Trees, leniency: Leniency) -> None:
    trees.leniency = leniency
    versions(trees, AFTER, AFTER, NEW)
    write(trees.path("actual", "folder/other"), b"OTHER", OLD)
    write(trees.path("actual", "extra"), b"", OLD)
    trees.path("actual", "top").unlink()
    whats = {difference.display: difference.what for difference in trees.compare().first}
    assert whats["folder/other"] == "content"
    assert whats["extra"] == "extra"
    assert whats["top"] == "missing"


def test_only_the_times_of_directories_above_are_excused(trees: Trees) -> None:
    versions(trees, AFTER, AFTER, NEW)
    os.utime(trees.root / "actual" / "folder", (NEW, NEW))
    assert trees.wrong(aspects=STRICT - {Aspect.SPARSE}) == ""
    os.utime(trees.root / "actual", (NEW, NEW))
    assert trees.wrong(aspects=STRICT - {Aspect.SPARSE}) == "mtime"
    os.utime(trees.root / "actual", (OLD, OLD))
    (trees.root / "actual" / "folder").chmod(0o700)
    assert trees.wrong() == "mode"


def test_the_time_of_the_root_is_excused_for_what_lies_in_it(trees: Trees) -> None:
    moved = Moved({"top": "either"}, "", "", lambda path, after, length: "")
    versions(trees, AFTER, BEFORE, OLD)
    os.utime(trees.root / "actual", (NEW, NEW))
    for name in ("before", "actual"):
        scan(trees.root / name, trees.root / f"{name}.manifest")
    before, actual = (str(trees.root / f"{name}.manifest") for name in ("before", "actual"))
    moved = Moved(moved.leniency, before, before, moved.begins)
    assert moved.compare(actual, STRICT, 5, granularity=1).equal


def test_anything_goes_there_and_below(trees: Trees) -> None:
    trees.leniency = "any"
    versions(trees, AFTER, None, 0)
    assert trees.wrong() == ""
    write(trees.path("actual", "folder/x/below/deep"), b"whatever", NEW)
    assert trees.wrong() == ""
    write(trees.path("actual", "folder/x2"), b"whatever", NEW)
    assert trees.wrong() == "extra"


@pytest.mark.parametrize(
    ("actual", "when", "wrong"),
    [(AFTER, NEW, ""), (BEFORE, OLD, "size"), (AFTER, OLD, "mtime"), (None, 0, "missing")],
)
def test_only_the_version_after_will_do(trees: Trees, actual: bytes | None, when: int, wrong: str) -> None:
    trees.leniency = "after"
    versions(trees, AFTER, actual, when)
    assert trees.wrong() == wrong


def test_what_was_new_before_the_job_is_owed(trees: Trees) -> None:
    trees.leniency = "after"
    trees.path("before").unlink()
    os.utime(trees.root / "before" / "folder", (OLD, OLD))
    versions(trees, AFTER, AFTER, NEW)
    assert trees.wrong() == ""
    trees.path("actual").unlink()
    assert trees.wrong() == "missing"


def test_excused_paths_are_left_out(trees: Trees) -> None:
    versions(trees, AFTER, b"torn", NEW)
    assert trees.wrong() == "torn"
    assert trees.wrong(excused=("folder/x",)) == ""


def test_a_mirror_that_stopped_may_hold_the_oldest_version_too(trees: Trees) -> None:
    write(trees.path("old"), b"oldest", 1_500_000_000)
    write(trees.path("old", "folder/other"), b"older", 1_500_000_000)
    versions(trees, AFTER, b"oldest", 1_500_000_000)
    assert trees.wrong() == "torn"
    assert trees.wrong(old=True) == ""
    write(trees.path("actual", "folder/other"), b"older", 1_500_000_000)
    assert trees.wrong(old=True) == ""
    write(trees.path("actual"), AFTER, NEW)
    assert trees.wrong(old=True) == ""
    write(trees.path("actual"), b"torn", NEW)
    assert trees.wrong(old=True) == "torn"
    trees.path("actual").unlink()
    assert trees.wrong(old=True) == "missing"
    trees.path("old").unlink()
    assert trees.wrong(old=True) == ""
