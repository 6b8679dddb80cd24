"""Files that cannot be opened or read, or that somebody has locked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.faults.bench import Tried, bench, python, tried

from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.history import History
from backupchaos.model.faults.files import FileLocked
from backupchaos.trees.spelling import pattern, spellings

pytestmark = pytest.mark.needs("namespaces", "seccomp")

READ_ALL = """
import os
for folder, _, names in os.walk({source!r}):
    for name in names:
        path = os.path.join(folder, name)
        try:
            print('read', path, len(open(path, 'rb').read()))
        except OSError as error:
            print('error', path, error.errno)
""".replace("{source!r}", "'{source}'")
NOTHING = python("print('nothing')")
PICKED = "new-r1-0003-east"
"""What the seed of the bench picks; a test below says so."""
VICTIM = "{source}/" + PICKED


def on_victim(code: str) -> tuple[str, ...]:
    """A job that does something with the picked file, whose path is ``path``."""
    return python(f"import os, errno\npath = '{VICTIM}'\n{code}")


def said(result: Tried, word: str) -> list[str]:
    return [line.split()[-1] for line in result.lines if line.startswith(word)]


# -- file.locked ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "number"), [("EBUSY", "16"), ("EAGAIN", "11"), ("EACCES", "13")])
def test_a_locked_file_cannot_be_opened_and_all_others_can(tmp_path: Path, error: str, number: str) -> None:
    result = tried(tmp_path, {"file.locked": "source", "error": error}, python(READ_ALL))
    assert said(result, "error") == [number]
    assert len(said(result, "read")) > 10
    assert PICKED in next(line for line in result.lines if line.startswith("error"))
    assert len(result.proof) == 1
    assert f"1 openat calls answered with {error}" in result.proof[0]
    assert result.strays == []


def test_a_lock_with_refusals_is_over_after_them(tmp_path: Path) -> None:
    code = "for _ in range(4):\n try: open(path); print('open')\n except OSError: print('refused')"
    result = tried(tmp_path, {"file.locked": "source", "refusals": 2}, on_victim(code))
    assert result.lines == ["refused", "refused", "open", "open"]
    assert "2 openat calls" in result.proof[0]


def test_several_files_are_locked_and_counted_apart(tmp_path: Path) -> None:
    fault = {"file.locked": "source", "files": 3, "refusals": 1}
    result = tried(tmp_path, fault, python(READ_ALL))
    assert said(result, "error") == ["16"] * 3
    assert "3 openat calls" in result.proof[0]


@pytest.mark.parametrize(
    "fault",
    [
        {"file.locked": "source"},
        {"file.locked": "source", "mode": "advisory"},
        {"file.unreadable": "source"},
        {"file.vanishes": "source"},
        {"file.truncated": "source"},
        {"file.special": "source"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())) + next(iter(fault)),
)
def test_nothing_bites_a_job_that_does_not_come_by(tmp_path: Path, fault: dict[str, Any]) -> None:
    result = tried(tmp_path, fault, NOTHING)
    assert result.returncode == 0
    assert result.proof == []
    assert result.strays == []


def test_only_the_job_is_refused_and_only_while_the_fault_lasts(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.locked": "source"}, python(READ_ALL)) as made:
        result = made.go()
        assert result.proof
        assert made.run("cat", f"{made.ground.source}/{PICKED}").ok


def test_picks_follow_seed_size_and_name(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.locked": "source", "files": 2}, NOTHING) as made:
        made.phases.change()
        fault: Any = made.fault
        sizes = dict(made.ground.fresh)
        fault.prepare()
        assert fault.picked[0] == PICKED
        again = list(fault.picked)
        fault.prepare()
        assert fault.picked == again
        assert fault.choose("largest", 1) == [max(sizes, key=lambda path: sizes[path])]
        assert fault.choose("oldest", 1) == [min(sizes)]
        assert fault.choose("newest", 1) == [max(sizes)]
        with pytest.raises(MissingCapability, match=rf"is to hit 999, and {len(sizes)} files"):
            fault.choose("random", 999)


def test_a_file_that_is_none_is_noticed(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.locked": "source"}, NOTHING) as made:
        made.phases.change()
        made.fault.prepare()
        made.run("sh", "-c", f": > {made.ground.source}/{PICKED}")
        with pytest.raises(HarnessBroken, match="is no file that could be hit"):
            made.fault.verify()


def test_a_refusal_outside_of_the_fault_is_a_stray(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.locked": "source"}, python(READ_ALL)) as made:
        result = made.go()
        made.fault.windows = [(0.0, 0.001)]
        made.fault.went(0.002)
        assert made.fault.bite() == []
        assert "openat of" in made.fault.strays()[0]
        assert result.strays == []


# -- file.locked, mode: advisory ---------------------------------------------------------------------

ASK = """
import fcntl
file = open(path, 'r+b')
for lock in fcntl.flock, fcntl.lockf:
    try: lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB); print('free')
    except BlockingIOError: print('held')
print(len(file.read()))
"""


def test_an_advisory_lock_binds_those_who_ask_and_nobody_else(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.locked": "source", "mode": "advisory"}, on_victim(ASK)) as made:
        result = made.go()
        assert result.lines == ["held", "held", "38219"]
        assert result.returncode == 0
        assert "while process" in result.proof[0]
        state = made.world.sandbox.call("lock_state", path=f"{made.ground.source}/{PICKED}")
        assert state == {"flock": False, "fcntl": False}
        assert [p for p in made.world.sandbox.processes() if "python" in p.command] == []


def test_a_lock_that_is_not_held_is_noticed(tmp_path: Path) -> None:
    with bench(tmp_path, {"file.locked": "source", "mode": "advisory"}, NOTHING) as made:
        made.phases.change()
        made.fault.prepare()
        with pytest.raises(HarnessBroken, match="is not locked: flock and fcntl can be had"):
            made.fault.verify()


def test_an_advisory_lock_that_did_not_last_proves_nothing(tmp_path: Path) -> None:
    """The job that ends the holder leaves no proof, and an undo that says why."""
    kill = "import glob, signal\n" + (
        "for c in glob.glob('/proc/[0-9]*/cmdline'):\n"
        " if b'lockf' in open(c, 'rb').read() and b'lockf' not in b' '.join(__import__('sys').argv[1:2]):\n"
        "  pid = int(c.split('/')[2])\n"
        "  if pid != os.getpid(): os.kill(pid, signal.SIGKILL)\n"
        "open(path)"
    )
    with bench(tmp_path, {"file.locked": "source", "mode": "advisory"}, on_victim(kill)) as made:
        with pytest.raises(HarnessBroken, match="is not locked"):
            made.go()
        assert made.fault.bite() == []


@pytest.mark.parametrize("more", [{"refusals": 3}, {"error": "EAGAIN"}])
def test_what_means_nothing_for_an_advisory_lock_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="an advisory lock refuses no open"):
        FileLocked.model_validate({"file.locked": "source", "mode": "advisory", **more})
    assert FileLocked.model_validate({"file.locked": "source", **more})


# -- file.unreadable -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "number"), [("EIO", "5"), ("ESTALE", "116")])
def test_an_unreadable_file_opens_and_cannot_be_read(tmp_path: Path, error: str, number: str) -> None:
    result = tried(tmp_path, {"file.unreadable": "source", "error": error}, python(READ_ALL))
    assert said(result, "error") == [number]
    assert f"read calls answered with {error}" in result.proof[0]


def test_the_sector_may_lie_further_back_and_stays_bad(tmp_path: Path) -> None:
    code = (
        "fd = os.open(path, os.O_RDONLY)\n"
        "for call in (lambda: os.read(fd, 100), lambda: os.pread(fd, 100, 0), lambda: os.readv(fd, [bytearray(9)]),"
        " lambda: os.preadv(fd, [bytearray(9)], 0)):\n"
        " try: call(); print('ok')\n"
        " except OSError as error: print(error.errno)"
    )
    result = tried(tmp_path, {"file.unreadable": "source", "nth": 3}, on_victim(code))
    assert result.lines == ["ok", "ok", "5", "5"]
    assert "2 readv calls" in result.proof[0]


@pytest.mark.parametrize(
    "call", ["os.copy_file_range(fd, out, 99)", "os.sendfile(out, fd, 0, 99)", "os.splice(fd, pipe, 99)"]
)
def test_what_the_kernel_copies_is_read_too(tmp_path: Path, call: str) -> None:
    code = (
        "fd = os.open(path, os.O_RDONLY)\nout = os.open('{temp}/out', os.O_CREAT | os.O_RDWR)\npipe = os.pipe()[1]\n"
        f"try: {call}\nexcept OSError as error: print(error.errno)"
    )
    result = tried(tmp_path, {"file.unreadable": "source"}, on_victim(code))
    assert result.lines == ["5"]
    assert result.proof


def test_what_is_mapped_is_not_seen_and_so_not_proved(tmp_path: Path) -> None:
    code = (
        "import mmap\nf = open(path, 'rb')\nprint(len(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[:]))"
    )
    result = tried(tmp_path, {"file.unreadable": "source"}, on_victim(code))
    assert result.lines == ["38219"]
    assert result.proof == []


REAL = {
    "cp": "cp -r {source} {repository}/copy",
    "tar": "tar -cf {repository}/all.tar -C {source} .",
    "restic": "restic -q -r {repository}/r init && restic -r {repository}/r backup {source}",
    "borg": "borg init -e none {repository}/b && borg create {repository}/b::a {source}",
}


@pytest.mark.parametrize("tool", REAL)
def test_real_tools_meet_it_and_name_the_file(tmp_path: Path, tool: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool}")
    env = {"RESTIC_PASSWORD": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    result = tried(tmp_path, {"file.unreadable": "source"}, ("sh", "-c", REAL[tool]), env=env)
    assert result.proof
    assert result.returncode == {"cp": 1, "tar": 2, "restic": 3, "borg": 1}[tool]
    assert any(PICKED in line and "input/output error" in line.lower() for line in result.lines)


# -- what counts as telling -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "counts"),
    [
        ({"text": "cannot read /source/caf\u00e9.db: busy"}, True),
        ({"text": "cannot read /source/other.db"}, False),
        ({"text": "cannot read /source/d\u00e9caf\u00e9.db"}, False),
        ({"text": "cannot read /source/caf\u00e9.db.old"}, False),
        ({"text": "vanished: caf\u00e9.db."}, True),
        ({"text": "'caf\u00e9.db': cannot read"}, True),
        ({"text": "/source/caf\u00e9.db", "level": "info"}, False),
        ({"text": "retrying caf\u00e9.db", "retry": True}, False),
        ({"text": "caf\u00e9.db changed", "job": "recovery"}, False),
        ({"text": '{"path": "/x/caf\\u00e9.db"}'}, True),
    ],
)
def test_a_file_is_told_of_by_name_in_a_warning(record: dict[str, Any], counts: bool) -> None:
    from backupchaos.faults.files_told import told, told_of

    history = History()
    history.append("log", **{"job": "fault", "level": "warning", "retry": False, **record})
    assert told(history, "folder/caf\u00e9.db") is counts
    assert told(history, "folder/caf\u00e9.db", since=history.now() + 1) is False
    assert told_of(history, ["a", "folder/caf\u00e9.db"]) == (["folder/caf\u00e9.db"] if counts else [])
    history.close()


@pytest.mark.parametrize(
    ("record", "counts"),
    [
        ({"text": "folder/data.db: read: [Errno 5] Input/output error"}, True),
        ({"text": "cannot read '/source/folder/data.db'"}, True),
        ({"text": "cannot read folder/data.db", "level": "info"}, False),
        ({"text": "retrying folder/data.db", "retry": True}, False),
        ({"text": "cannot read data.db"}, False),
        ({"text": "cannot read folder/data.db.old"}, False),
        ({"text": "cannot read folder/data.db/more"}, False),
        ({"text": "cannot read other-folder/data.db"}, False),
        ({"text": "cannot read folder/data.db", "job": "recovery"}, False),
    ],
)
def test_among_all_files_only_a_whole_path_names_one(record: dict[str, Any], counts: bool) -> None:
    from backupchaos.faults.files_told import named_in_full

    history = History()
    history.append("log", **{"job": "fault", "level": "warning", "retry": False, **record})
    found = named_in_full(history, ["a", "data", "folder/data.db"])
    assert found == (["folder/data.db"] if counts else [])
    history.close()


@pytest.mark.parametrize(
    ("path", "text", "counts"),
    [
        ("a&b|c", '"item":"a\\u0026b|c"', True),
        ("odd/a&b|c", '"item":"/source/odd/a\\u0026b|c"', True),
        ("odd/latin1-\udce9", '\\"/source/odd/latin1-\\ufffd\\"', True),
        ("odd/cut-\udce2\udc82", "/source/odd/cut-\ufffd\ufffd: read error", True),
        ("odd/cut-\udce2\udc82", "/source/even/cut-xx: read error", False),
        ("odd/\U0001f525", "odd/\\360\\237\\224\\245 changed", True),
        ("odd/\U0001f525", "odd/other changed", False),
        ("odd/\udcff\udcfe", '"item":"/source/odd/\\ufffd\\ufffd"', True),
        ("odd/\udcff\udcfe", "odd/ab: read error", False),
        ("odd/new\nline", "cannot read odd/new\\nline", True),
        ("odd/new\nline", "cannot read odd/newline-2", False),
        ("odd/plain", "odd/plain2", False),
        ("odd/plain", "odd/plain.old", False),
        ("odd/plain", "Error reading odd/plain.", True),
    ],
)
def test_a_path_is_known_whatever_becomes_of_its_odd_letters(path: str, text: str, counts: bool) -> None:
    assert bool(pattern(path).search(text)) is counts


@pytest.mark.parametrize("name", ["\u00e9" * 127 + "x", "a?" * 60, "?" * 255])
def test_no_name_makes_the_search_endless(name: str) -> None:
    assert not pattern(f"odd/{name}").search("error in odd/" + "a" * 255 + "\n" * 2000)


@pytest.mark.parametrize(
    "shown", ["latin1-\\xe9", "latin1-\\udce9", "latin1-\\351", "latin1-\udce9", "latin1-\ufffd"]
)
def test_names_that_are_no_text_are_known_in_many_spellings(shown: str) -> None:
    assert shown in spellings("odd/latin1-\udce9")
