"""What is made of a claim when files changed under the job: a mirror in a few lines, honest and otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import SMALL, Probe, bench, python

from backupchaos.checks.case import Case
from backupchaos.checks.laws import honest, no_collateral
from backupchaos.commands import Command
from backupchaos.results import RestoreResult, Verdict
from backupchaos.targets.base import Workspace

pytestmark = pytest.mark.needs("namespaces", "seccomp")

PICKED = "new-r1-0003-east"
COPY = """
import os, shutil, stat, sys
source, target = '{source}', '{repository}/current'
def read(path):
    with open(path, 'rb') as file:
        return file.read(), os.fstat(file.fileno())
def broken(path, error): raise error
def odd(path, status, to): pass
code = 0
#PLANT
for folder, folders, names in os.walk(source):
    there = target + folder[len(source):]
    os.makedirs(there, exist_ok=True)
    for name in sorted(names + [f for f in folders if os.path.islink(os.path.join(folder, f))]):
        path, to = os.path.join(folder, name), os.path.join(there, name)
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode): os.symlink(os.readlink(path), to)
        elif not stat.S_ISREG(status.st_mode): odd(path, status, to)
        else:
            try: content, status = read(path)
            except OSError as error:
                broken(path, error)
                continue
            with open(to, 'wb') as file: file.write(content)
            os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))
sys.exit(code)
"""
TORN = """
def read(path):
    with open(path, 'rb') as file: status = os.fstat(file.fileno()); half = file.read(status.st_size // 2)
    with open(path, 'rb') as file: file.seek(len(half)); return half + file.read(), status
"""
LATE = (
    "def read(path):\n with open(path, 'rb') as file: content = file.read()\n return content, os.stat(path)"
)
EARLY = """
def read(path):
    with open(path, 'rb') as file: status = os.fstat(file.fileno()); return file.read(), status
"""
OLD_LENGTH = EARLY.replace("file.read()", "file.read(status.st_size)")
PADDED = EARLY.replace("file.read()", "file.read().ljust(status.st_size, b'\\0')")
BETWEEN = EARLY.replace("file.read()", "file.read(status.st_size + 999)")
LESS = EARLY.replace("file.read()", "file.read(status.st_size - 1)")
SKIPS = "def broken(path, error): pass"
STOPS = "def broken(path, error): os._exit(0)"
EMPTY = "def broken(path, error): open(target + path[len(source):], 'wb').close()"
TELLS = "def broken(path, error): print('warning: cannot read', path)"
PARTIAL = "def broken(path, error): globals().update(code=3); print('error: some files could not be read')"
NAMED = PARTIAL.replace("some files could not be read'", "cannot read', path")


class Mirror(Probe):
    """Copies the source into the repository, and back."""

    def restore(self, work: Workspace, snapshot: str) -> Command:
        return Command(("cp", "-a", f"{work.location.path}/current/.", work.restore))


def mirror(plant: str = "", *, features: str = "", aspects: str = "content type mtime links") -> Mirror:
    target = Mirror(python(COPY.replace("#PLANT", plant)))
    target.profile = replace(
        target.profile,
        aspects=frozenset(aspects.split()),
        features=frozenset(features.split()),
        exit_codes={0: "success", 3: "partial"},
    )
    return target


def claim(tmp_path: Path, fault: dict[str, Any], target: Mirror) -> RestoreResult:
    """Run the job, have its claim verified, and return the restore."""
    with bench(tmp_path, fault, target.argv, target=target, source=SMALL) as made:
        result = made.go()
        assert result.proof
        made.phases.verify_claim(result.job, result.job.outcome == "success")
        case = Case(made.phases.scenario, made.world.profile, made.world.history.events)
        restore = case.restore("newest") or case.restore("mirror")
        assert restore is not None and restore.performed
        rows = honest(case) if restore.which == "newest" else no_collateral(case)
        assert (rows[0].verdict is Verdict.PASS) is restore.equal, "the laws and the restore agree"
        return restore


def wrong(restore: RestoreResult) -> str:
    return restore.differences[0] if restore.differences else ""


GROWS = {"file.grows": "source"}
TRUNCATED = {"file.truncated": "source"}
REPLACED = {"file.replaced": "source"}
VANISHES = {"file.vanishes": "source"}
UNREADABLE = {"file.unreadable": "source"}


@pytest.mark.parametrize(
    ("fault", "plant", "words"),
    [
        (REPLACED, "", ""),
        (REPLACED, TORN, "torn: expected the file of 38219 bytes before the change or the file of 28664 bytes"),
        (REPLACED, LATE, "the content of before under the time of after"),
        (GROWS, EARLY, ""),
        (GROWS, OLD_LENGTH, ""),
        (GROWS, BETWEEN, ""),
        (GROWS, LESS, "torn"),
        (TRUNCATED, EARLY, ""),
        (TRUNCATED, PADDED, "file of 38219 bytes that is neither of them"),
        (VANISHES, SKIPS, ""),
        (VANISHES, EMPTY, "file of 0 bytes that is neither"),
        (VANISHES, STOPS, "missing"),
        (UNREADABLE, SKIPS, "missing"),
        (UNREADABLE, TELLS, "missing"),
        (UNREADABLE, PARTIAL, "missing"),
        (UNREADABLE, NAMED, ""),
    ],
    ids=[
        "replaced-whole", "replaced-torn", "replaced-late", "grows-all", "grows-old", "grows-between", "grows-less",
        "truncated-half", "truncated-padded", "vanishes-skipped", "vanishes-empty", "vanishes-stops",
        "unreadable-silent", "unreadable-exit-0", "unreadable-not-named", "unreadable-named",
    ],
)  # fmt: skip
def test_a_claim_is_held_to_what_is_fair(
    tmp_path: Path, fault: dict[str, Any], plant: str, words: str
) -> None:
    restore = claim(tmp_path, fault, mirror(plant))
    assert words in wrong(restore)
    assert restore.equal is (words == "")


def test_a_torn_file_that_was_told_of_is_no_lie(tmp_path: Path) -> None:
    plant = (
        TORN
        + "_read = read\ndef read(path):\n found = _read(path)\n print('warning:', path, 'changed')\n return found"
    )
    assert claim(tmp_path, REPLACED, mirror(plant)).equal


def test_a_mirror_that_failed_may_hold_the_file_as_it_became(tmp_path: Path) -> None:
    plant = EARLY + "code = 1"
    restore = claim(tmp_path, TRUNCATED, mirror(plant))
    assert restore.which == "mirror"
    assert restore.equal


def test_a_mirror_that_failed_may_not_hold_a_mix(tmp_path: Path) -> None:
    restore = claim(tmp_path, REPLACED, mirror(TORN + "code = 1"))
    assert restore.which == "mirror"
    assert "torn" in wrong(restore)


# -- file.special: what is owed, by profile ------------------------------------------------------------------

SPECIAL = {"file.special": "source"}
ALL_OF_THEM = "special long_names non_utf8_names symlinks"
MAKES = "def odd(path, status, to):\n if stat.S_ISFIFO(status.st_mode): os.mkfifo(to); os.utime(to, ns=(0, status.st_mtime_ns))"
ONLY_TEXT = """
def read(path):
    if any(0xdc80 <= ord(letter) <= 0xdcff for letter in path): raise OSError
    with open(path, 'rb') as file: return file.read(), os.fstat(file.fileno())
"""


@pytest.mark.parametrize(
    ("plant", "features", "words"),
    [
        (MAKES, ALL_OF_THEM, ""),
        ("", "", ""),
        ("", "special", "fifo/pipe-without-writer: missing"),
        ("", "long_names non_utf8_names symlinks", ""),
        (ONLY_TEXT + SKIPS, "non_utf8_names", "non_utf8/latin1-\\xe9: missing"),
        (ONLY_TEXT + SKIPS, "long_names", ""),
        ("os.symlink = lambda text, to: None", "symlinks", "link_loop/"),
        ("os.symlink = lambda text, to: None", "long_names", ""),
        ("read = lambda path: (b'x', os.stat(path))", "", "size"),
    ],
)
def test_what_is_owed_of_special_files_is_what_was_promised(
    tmp_path: Path, plant: str, features: str, words: str
) -> None:
    restore = claim(tmp_path, SPECIAL, mirror(plant, features=features))
    assert words in " ".join(restore.differences)
    assert restore.equal is (words == ""), restore.differences
