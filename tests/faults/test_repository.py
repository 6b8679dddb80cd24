"""Damage to stored files: what is hit, how often, and what proves that it mattered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.faults.bench import Bench, Tried, bench, python

from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.model.faults.repository import RepositoryRollback, RepositoryTruncate

pytestmark = pytest.mark.needs("namespaces", "seccomp")

STORED = """
import hashlib, os
for n in range(5):
    data = hashlib.sha512(str(n).encode()).digest() * (100 + 50 * n)
    with open(f'ROOT/f{n}', 'wb') as file: file.write(data)
    os.utime(f'ROOT/f{n}', (1000 + n, 1000 + n))
"""
CHECKING = """
import hashlib, sys
for n in range(5):
    data = hashlib.sha512(str(n).encode()).digest() * (100 + 50 * n)
    if open(f'{repository}/f{n}', 'rb').read() != data: sys.exit(f'f{n} is corrupt')
"""
IGNORING = "import os; print(len(os.listdir('{repository}')))"


@contextmanager
def stored(tmp_path: Path, fault: Mapping[str, Any], argv: Sequence[str], **more: Any) -> Iterator[Bench]:
    """A repository of five files, f4 the largest and the newest."""
    with bench(tmp_path, fault, argv, **more) as made:
        root = made.world.workspace.location.path
        assert made.run(*python(STORED.replace("ROOT", root))).ok
        yield made


def records(tried: Tried) -> list[dict[str, Any]]:
    fault: Any = tried.fault
    return list(fault.damaged)


def damaged(tried: Tried) -> list[str]:
    return [record["path"].rsplit("/", 1)[-1] for record in records(tried)]


@pytest.mark.parametrize(
    "fault",
    [
        {"repository.bitflip": "repository"},
        {"repository.bitflip": "repository", "how": "zeros"},
        {"repository.bitflip": "repository", "how": "swapped"},
        {"repository.truncate": "repository"},
        {"repository.delete": "repository"},
    ],
    ids=lambda fault: "-".join(
        str(value) for pair in fault.items() for value in pair if value != "repository"
    ),
)
def test_damage_bites_who_looks(fault: dict[str, Any], tmp_path: Path) -> None:
    with stored(tmp_path, fault, python(CHECKING)) as made:
        tried = made.go()
        assert damaged(tried) == ["f4"]
        assert tried.returncode == 1
        assert tried.proof == ["the job ended with failure"]
        assert tried.strays == []


def test_damage_that_nobody_looks_at_proves_nothing(tmp_path: Path) -> None:
    with stored(tmp_path, {"repository.bitflip": "repository"}, python(IGNORING)) as made:
        tried = made.go()
    assert tried.returncode == 0
    assert tried.proof == []


def test_a_repair_is_proof(tmp_path: Path) -> None:
    with stored(
        tmp_path, {"repository.delete": "repository"}, python(STORED.replace("ROOT", "{repository}"))
    ) as made:
        tried = made.go()
        (path,) = (record["path"] for record in records(tried))
        assert tried.proof == [f"{path} was rewritten"]


@pytest.mark.parametrize(("keep", "left"), [(0.0, 0), (0.25, 4800), (0.5, 9600)])
def test_as_much_is_kept_as_asked_for(keep: float, left: int, tmp_path: Path) -> None:
    with stored(tmp_path, {"repository.truncate": "repository", "keep": keep}, python(IGNORING)) as made:
        tried = made.go()
        (record,) = records(tried)
        now = made.world.sandbox.call("stat", path=record["path"])
        assert now["size"] == left
        assert now["mtime_ns"] == 1004 * 10**9


@pytest.mark.parametrize(("pick", "hit"), [("largest", ["f4", "f3"]), ("oldest", ["f0", "f1"])])
def test_as_many_files_as_asked_for(pick: str, hit: list[str], tmp_path: Path) -> None:
    fault = {"repository.delete": "repository", "pick": pick, "files": 2}
    with stored(tmp_path, fault, python(IGNORING)) as made:
        tried = made.go()
        left = made.run("ls", made.world.workspace.location.path).stdout.split()
    assert damaged(tried) == hit
    assert sorted([*left, *hit]) == [f"f{n}" for n in range(5)]


def test_fewer_files_than_asked_for_are_told(tmp_path: Path) -> None:
    with stored(tmp_path, {"repository.bitflip": "repository", "files": 9}, python(IGNORING)) as made:
        tried = made.go()
        detail = next(e["detail"] for e in tried.events if e.kind == "fault" and e["status"] == "applied")
    assert len(records(tried)) == 5
    assert detail.endswith("4 files less than asked for, there are no more")


UNTIL_CHANGED = """
import time
def contents(): return [open('{repository}/' + name, 'rb').read() for name in NAMES]
before, changes, end = contents(), 0, time.monotonic() + 20
while changes < WANTED and time.monotonic() < end:
    now = contents()
    changes += sum(a != b for a, b in zip(now, before))
    before = now
    time.sleep(0.02)
"""
"""A job that lasts until so many changes have come."""


def until(wanted: int, names: Sequence[str]) -> Sequence[str]:
    return python(UNTIL_CHANGED.replace("NAMES", repr(list(names))).replace("WANTED", str(wanted)))


def test_each_stroke_hits_another_file(tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "every": 0.2, "times": 3}
    job = until(2, ["f3", "f2"])
    with stored(tmp_path, fault, job) as made:
        tried = made.go()
        assert damaged(tried) == ["f4", "f3", "f2"]
        digests = [made.world.sandbox.call("digest", path=r["path"]) for r in records(tried)]
        assert digests == [r["after"] for r in records(tried)]


def test_the_same_file_is_never_made_whole_again(tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "every": 0.2, "times": 4}
    with bench(tmp_path, fault, until(3, ["only"])) as made:
        root = made.world.workspace.location.path
        assert made.run("sh", "-c", f"printf abcdefgh >{root}/only").ok
        whole = made.world.sandbox.call("digest", path=f"{root}/only")
        tried = made.go()
        assert len(records(tried)) == 4
        assert whole not in [record["after"] for record in records(tried)]


def test_what_the_job_is_writing_is_no_stored_file(tmp_path: Path) -> None:
    job = (
        "import sys, time\nopen('{repository}/part', 'wb').write(bytes(range(256)) * 1000)\n"
        "print('written', flush=True)\nend = time.monotonic() + 20\n"
        "while time.monotonic() < end and open('{repository}/f4', 'rb').read() == OLD: time.sleep(0.02)"
    )
    job = job.replace("OLD", "__import__('hashlib').sha512(b'4').digest() * 300")
    fault = {"repository.bitflip": "repository", "pick": "largest", "when": {"log": "written"}}
    with stored(tmp_path, fault, python(job)) as made:
        assert damaged(made.go()) == ["f4"]


def test_after_the_job_what_it_wrote_is_stored(tmp_path: Path) -> None:
    job = python("open('{repository}/part', 'wb').write(bytes(range(256)) * 1000)")
    fault = {"repository.bitflip": "repository", "pick": "largest", "when": {"exit": True}}
    with stored(tmp_path, fault, job) as made:
        assert damaged(made.go()) == ["part"]


def test_nothing_to_damage_breaks_the_run(tmp_path: Path) -> None:
    with (
        bench(tmp_path, {"repository.bitflip": "repository"}, python("pass")) as made,
        pytest.raises(HarnessBroken, match="holds no file to damage"),
    ):
        made.go()


def test_zeros_in_a_hole_are_no_damage(tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "how": "zeros"}
    with bench(tmp_path, fault, python("pass")) as made:
        root = made.world.workspace.location.path
        assert made.run("sh", "-c", f"truncate -s 1M {root}/hole; seq 1 900 >{root}/full").ok
        assert damaged(made.go()) == ["full"]


def test_nothing_but_holes_breaks_the_run(tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "how": "zeros"}
    with bench(tmp_path, fault, python("pass")) as made:
        assert made.run("truncate", "-s", "1M", f"{made.world.workspace.location.path}/hole").ok
        with pytest.raises(HarnessBroken, match="same as before"):
            made.go()


@pytest.mark.parametrize(
    ("extra", "other"), [("true", "a/3"), ("seq 2 901 >b/5; truncate -s $(stat -c %s a/1) b/5", "b/5")]
)
def test_files_that_are_alike_are_exchanged(extra: str, other: str, tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "how": "swapped"}
    with bench(tmp_path, fault, python("pass")) as made:
        root = made.world.workspace.location.path
        script = f"cd {root}; mkdir a b; seq 1 900 >a/1; seq 1 800 >b/2; seq 1 700 >a/3; seq 9 >a/4; {extra}"
        assert made.run("sh", "-c", script).ok
        first = made.run("head", "-qn1", f"{root}/{other}").stdout
        (record,) = records(made.go())
        assert (record["path"], record["other"]) == (f"{root}/a/1", f"{root}/{other}")
        assert made.run("head", "-qn1", f"{root}/a/1", f"{root}/{other}").stdout == first + "1\n"


def test_one_file_cannot_be_exchanged(tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "how": "swapped"}
    with bench(tmp_path, fault, python("pass")) as made:
        assert made.run("sh", "-c", f"echo a >{made.world.workspace.location.path}/only").ok
        with pytest.raises(MissingCapability, match="none to exchange with"):
            made.go()


def test_damage_that_does_not_stay_breaks_the_run(tmp_path: Path) -> None:
    with stored(tmp_path, {"repository.bitflip": "repository"}, python("pass")) as made:
        fault = made.fault
        fault.prepare()
        fault.begin(0.0)
        fault.apply()
        fault.verify()
        (record,) = fault.damaged  # type: ignore[attr-defined]
        made.run("sh", "-c", f"echo other >{record['path']}")
        with pytest.raises(HarnessBroken, match="not damaged as it should be"):
            fault.verify()


def test_senseless_models_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing is cut off"):
        RepositoryTruncate.model_validate({"repository.truncate": "repository", "keep": 1.0}, strict=False)
    with pytest.raises(ValidationError, match="before the job starts"):
        RepositoryRollback.model_validate(
            {"repository.rollback": "repository", "when": {"after": 1.0}}, strict=False
        )
