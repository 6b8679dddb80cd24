"""Files that change while the job reads them: the change, its proof, and that nothing of it stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import bench, python, tried

from backupchaos.environments.operations import moving
from backupchaos.errors import HarnessBroken

pytestmark = pytest.mark.needs("namespaces", "seccomp")

PICKED = "new-r1-0003-east"
SIZE = 38219


def on_victim(code: str) -> tuple[str, ...]:
    return python(f"import os, mmap, time\npath = '{{source}}/{PICKED}'\n{code}")


READ = "print(len(open(path, 'rb').read()))"


@pytest.mark.parametrize(
    ("kind", "code", "lines"),
    [
        ("vanishes", "print(os.path.exists(path))\ntry: open(path)\nexcept FileNotFoundError: print('gone')", ["True", "gone"]),
        ("vanishes", "fd = os.open('{source}', 0)\ntry: os.open(os.path.basename(path), 0, dir_fd=fd)\nexcept FileNotFoundError: print('gone')", ["gone"]),
        ("truncated", READ, [str(SIZE // 2)]),
        ("truncated", "file = open(path, 'rb')\nprint(os.fstat(file.fileno()).st_size)\nprint(len(file.read()))", [str(SIZE), str(SIZE // 2)]),
        ("truncated", "file = open(path, 'rb')\nprint(mmap.mmap(file.fileno(), 100, access=mmap.ACCESS_READ).size())", [str(SIZE // 2)]),
        ("grows", READ, [str(SIZE + 65536)]),
        ("grows", "out = os.open('{temp}/out', os.O_CREAT | os.O_WRONLY)\nfd = os.open(path, 0)\nprint(os.sendfile(out, fd, 0, 10**6))", [str(SIZE + 65536)]),
        ("replaced", f"{READ}\n{READ}", [str(SIZE), str(SIZE * 3 // 4)]),
        ("replaced", "fd = os.open(path, 0)\na = os.fstat(fd)\nos.read(fd, 1)\nb = os.stat(path)\nprint(a.st_ino == b.st_ino, a.st_mode == b.st_mode, a.st_uid == b.st_uid, a.st_mtime < b.st_mtime)", ["False True True True"]),
    ],
)  # fmt: skip
def test_the_change_comes_exactly_at_the_call(tmp_path: Path, kind: str, code: str, lines: list[str]) -> None:
    with bench(tmp_path, {f"file.{kind}": "source"}, on_victim(code)) as made:
        result = made.go()
        assert result.lines == lines
        assert len(result.proof) == 1
        assert PICKED in result.proof[0]
        assert "was stopped at" in result.proof[0]
        assert result.strays == []
        identities = {which: made.phases.oracle[which].identity for which in ("M2", "M3", "M2.again")}
        assert identities["M2"] == identities["M2.again"], "the source must be what it was"
        assert identities["M2"] != identities["M3"], "and must have been something else"
        assert not [e for e in result.events if e.kind == "source.moved"]


def test_each_file_changes_once_whoever_comes_again(tmp_path: Path) -> None:
    result = tried(tmp_path, {"file.grows": "source", "by": 100}, on_victim(f"{READ}\n{READ}\n{READ}"))
    assert result.lines == [str(SIZE + 100)] * 3
    assert len([e for e in result.events if e.kind == "source.changed"]) == 1


def test_several_files_change_each_at_its_own_call(tmp_path: Path) -> None:
    code = "\n".join(
        [
            "import os",
            "for name in sorted(n for n in os.listdir('{source}') if n.startswith('new')):",
            " try: print(name, len(open('{source}/' + name, 'rb').read()))",
            " except FileNotFoundError: print('gone')",
        ]
    )
    source = {"files": 12, "size": 262144, "new": 131072, "change": 0.0, "names": "portable"}
    # Without changes only new files are picked from, and they lie anywhere.
    with bench(tmp_path, {"file.vanishes": "source", "files": 3}, python(code), source=source) as made:
        made.phases.oracle.scan("M1", made.ground.source)
        result = made.go()
        fault: Any = result.fault
        met = [path for path in fault.picked if "/" not in path]
        assert result.lines.count("gone") == len(met) == len(result.proof)
        assert set(fault.changed()) == set(met), "what the job did not come to has not changed"
        assert made.phases.oracle["M2"].identity == made.phases.oracle["M2.again"].identity


@pytest.mark.parametrize("kind", ["vanishes", "replaced"])
def test_everything_about_the_file_comes_back(tmp_path: Path, kind: str) -> None:
    """Attributes, mode, holes, times of the directory: of the file, and of those beside it."""
    code = "try: open(path).read(1)\nexcept (OSError, ValueError): pass"
    with bench(tmp_path, {f"file.{kind}": "source"}, on_victim(code)) as made:
        phases, path = made.phases, f"{made.ground.source}/{PICKED}"
        phases.change()
        attribute = f"import os; os.setxattr({path!r}, 'user.a', b'1'); os.chmod({path!r}, 0o640)"
        holes = f"f = open({path!r}, 'r+b'); f.truncate(5_000_000); f.seek(4_000_000); f.write(b'x')"
        made.run(*python(f"{attribute}; {holes}; f.close(); os.utime({path!r}, ns=(1, 123456789987654321))"))
        phases.oracle.scan("M1", made.ground.source)
        before = phases.oracle.scan("M2", made.ground.source)
        blocks = made.run("stat", "-c", "%b", path).stdout
        job = phases.fault()
        assert job.returncode == 0
        assert phases.oracle["M2.again"].identity == before.identity != phases.oracle["M3"].identity
        assert made.run("stat", "-c", "%b", path).stdout == blocks


@pytest.mark.parametrize("kind", ["vanishes", "truncated", "grows", "replaced"])
def test_a_fault_that_could_not_be_taken_back_is_noticed(tmp_path: Path, kind: str) -> None:
    with bench(
        tmp_path, {f"file.{kind}": "source"}, on_victim("try: open(path).read(1)\nexcept OSError: pass")
    ) as made:
        fault: Any = made.fault
        fault._put_back = lambda path: None
        with pytest.raises(HarnessBroken, match=r"could not be undone: .*(is not what it was|No such file)"):
            made.go()


def test_another_content_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.grows": "source"}, on_victim("")) as made:
        made.phases.change()
        made.fault.prepare()
        made.fault.verify()
        path = f"{made.ground.source}/{PICKED}"
        flip = f"import os; s = os.stat({path!r}); f = open({path!r}, 'r+b'); f.write(b'zz'); f.close()"
        made.run(*python(f"{flip}; os.utime({path!r}, ns=(s.st_atime_ns, s.st_mtime_ns))"))
        with pytest.raises(HarnessBroken, match="has another content than before"):
            made.fault.verify()


def test_a_job_that_is_killed_in_the_middle_leaves_the_source_whole(tmp_path: Path) -> None:
    code = f"{READ}\nos.kill(os.getpid(), 9)"
    with bench(tmp_path, {"file.truncated": "source"}, on_victim(code)) as made:
        assert made.go().returncode == -9
        assert made.phases.oracle["M2"].identity == made.phases.oracle["M2.again"].identity


def test_a_call_held_outside_of_the_fault_is_a_stray(tmp_path: Path) -> None:
    with bench(
        tmp_path, {"file.vanishes": "source"}, on_victim("try: open(path)\nexcept OSError: pass")
    ) as made:
        made.go()
        made.fault.windows = [(0.0, 0.001)]
        made.fault.went(0.002)
        assert "openat of" in made.fault.strays()[0]
        assert made.fault.bite() == []


@pytest.mark.parametrize(
    ("code", "leniency"),
    [
        (READ, "prefix"),
        (f"{READ}\nprint('warning: {PICKED} changed while it was read')", "any"),
        (f"{READ}\nprint('{PICKED} is stored')", "prefix"),
        # Said of the first attempt: what counts is what became of the second.
        (f"print('warning: {PICKED} changed', flush=True)\ntime.sleep(0.3)\n{READ}", "prefix"),
    ],
)
def test_what_the_job_says_of_the_file_excuses_it(tmp_path: Path, code: str, leniency: str) -> None:
    result = tried(tmp_path, {"file.truncated": "source"}, on_victim(code))
    assert result.proof
    assert [e["paths"] for e in result.events if e.kind == "source.leniency"] == [[f"{PICKED} ({leniency})"]]


@pytest.mark.parametrize("kind", ["vanishes", "grows"])
@pytest.mark.parametrize("name", ["latin1-\udce9", "\U0001f525" * 60, "a[b]*?"])
def test_files_with_odd_names_change_too(tmp_path: Path, kind: str, name: str) -> None:
    code = "import os\nfor n in os.listdir('{source}/odd'):\n try: open('{source}/odd/' + n, 'rb').read()\n except OSError: pass"
    with bench(tmp_path, {f"file.{kind}": "source"}, python(code)) as made:
        make = f"import os; os.mkdir('{made.ground.source}/odd'); open('{made.ground.source}/odd/' + {name!a}, 'w').write('ab')"
        assert made.run(*python(make)).ok
        made.phases.oracle.scan("M1", made.ground.source)
        made.phases.change()
        made.ground.fresh = [(f"odd/{name}", 2)]
        before = made.phases.oracle.scan("M2", made.ground.source)
        made.phases.fault()
        assert made.fault.bite()
        assert made.phases.oracle["M2.again"].identity == before.identity != made.phases.oracle["M3"].identity


REAL = {
    "tar": "tar -cf {repository}/all.tar -C {source} .",
    "restic": "restic -q -r {repository}/r init && restic -r {repository}/r backup {source}",
    "borg": "borg init -e none {repository}/b && borg create {repository}/b::a {source}",
}


@pytest.mark.parametrize(
    ("tool", "kind", "returncode"),
    [
        ("tar", "vanishes", 1),
        ("tar", "truncated", 1),
        ("restic", "vanishes", 3),
        ("restic", "grows", 0),
        ("borg", "truncated", 1),
    ],
)
def test_real_tools_meet_it(tmp_path: Path, tool: str, kind: str, returncode: int) -> None:
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool}")
    env = {"RESTIC_PASSWORD": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    result = tried(tmp_path, {f"file.{kind}": "source"}, ("sh", "-c", REAL[tool]), env=env)
    assert result.proof
    assert result.returncode == returncode


# -- the operations beneath, without a sandbox -------------------------------------------------------------


def made_file(path: Path, content: bytes = b"abcdefgh") -> Path:
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_000_000_000_000_000_001))
    os.utime(path.parent, ns=(1, 999_000_000_000_000_001))
    return path


@pytest.mark.parametrize("name", ["file", "latin1-\udce9", "\U0001f525" * 60])
@pytest.mark.parametrize("how", moving.HOW)
def test_what_is_altered_can_be_put_back(tmp_path: Path, how: str, name: str) -> None:
    path = made_file(tmp_path / name)
    fd = os.memfd_create("kept")
    was = moving.set_aside(str(path), fd)
    done = moving.alter(str(path), how, seed=1, size=3)
    assert done == {"before": 8, "after": {"vanish": None, "truncate": 4, "grow": 11, "replace": 6}[how]}
    assert sorted(os.listdir(tmp_path)) == ([] if how == "vanish" else [name])
    if how == "grow":
        assert path.read_bytes()[:8] == b"abcdefgh"
    if how == "replace":
        assert path.stat().st_mode & 0o777 == 0o640
    moving.put_back(str(path), was, fd)
    os.close(fd)
    assert path.read_bytes() == b"abcdefgh"
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime_ns) == (0o640, 1_000_000_000_000_000_001)
    assert tmp_path.stat().st_mtime_ns == 999_000_000_000_000_001


def test_without_nameless_files_it_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_file(tmp_path / "file")
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    moving.alter(str(path), "replace")
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() != b"abcdefgh"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_what_replaces_has_another_size(tmp_path: Path, size: int) -> None:
    path = made_file(tmp_path / "file", b"x" * size)
    assert moving.alter(str(path), "replace")["after"] not in (0, size)


@pytest.mark.parametrize(("how", "name"), [("explode", "file"), ("grow", "folder"), ("grow", "link")])
def test_what_cannot_be_altered_is_refused(tmp_path: Path, how: str, name: str) -> None:
    made_file(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(ValueError, match="cannot"):
        moving.alter(str(tmp_path / name), how)
    with pytest.raises((ValueError, OSError)):
        moving.set_aside(str(tmp_path / ("folder" if name == "file" else name)), 2)


def test_a_digest_needs_something_to_read() -> None:
    with pytest.raises(ValueError, match="needs a path or a descriptor"):
        moving.prefix_digest(1)
