"""Faults of volumes: each bites who meets it, spares who does not, and is gone afterwards."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.bench import Bench, Probe, bench, python, tried
from tests.faults.remote_job import PUT, Remote

from backupchaos.environments.base import Place, Usage, VolumeState
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import HarnessBroken, MissingCapability, Unfit
from backupchaos.faults.base import Ground
from backupchaos.faults.on_volume import NO_SPACE
from backupchaos.faults.storage import Full
from backupchaos.faults.storage_calls import IoError, Slow
from backupchaos.faults.storage_mounts import Vanishes
from backupchaos.history import History
from backupchaos.model.faults.storage import DiskFull, DiskIoError, DiskSlow, DiskVanishes

needs = pytest.mark.needs("namespaces", "seccomp")
WRITE = "import os\nfor n in range(16):\n open('{repository}/f%d' % n, 'wb').write(os.urandom(65536))"
NOTHING = "print('nothing')"
READ = """
import os
for folder, _, names in os.walk('{source}'):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            open(path, 'rb').read()
"""


def remote(made: Mapping[str, Any], tmp_path: Path) -> Any:
    return tried(tmp_path, made, (), repository="sftp", target=Remote(python(PUT)))


def said(result: Any, words: str) -> bool:
    return any(words in line for line in result.lines)


def undone(result: Any) -> bool:
    return [e["status"] for e in result.events if e.kind == "fault"][-1] == "undone" and not result.strays


# -- space ------------------------------------------------------------------------------------------


@needs
@pytest.mark.parametrize("mechanism", ["root", "userns"])
def test_a_full_disk_has_not_one_byte_left_and_has_its_size_again_afterwards(
    tmp_path: Path, mechanism: str
) -> None:
    environment = LocalEnvironment(mechanism)
    if reason := environment.probe()["namespaces"]:
        pytest.skip(reason)
    code = (
        "import os; print(os.statvfs('{repository}').f_bavail); os.write(os.open('{repository}/x', 65), b'1')"
    )
    fault = {"disk.full": "repository", "headroom": 0}
    with bench(tmp_path, fault, python(code), environment=environment) as made:
        before = made.world.sandbox.usage(Place.REPOSITORY).total
        result = made.go()
        assert made.world.sandbox.usage(Place.REPOSITORY).total == before
        assert made.run("sh", "-c", f"echo 1 > {made.ground.repository}/after").ok
    assert "0" in result.lines
    assert said(result, "No space left")
    assert re.match(r"1 write needed more than was free, the first: write of /.*/x at", result.proof[0])
    assert undone(result)


@needs
def test_a_full_disk_does_not_bite_who_only_overwrites(tmp_path: Path) -> None:
    """Nor does having no space prove anything by itself."""
    code = """
import os
f = os.open('{repository}/f', os.O_RDWR | os.O_CREAT)
os.write(f, b'1' * 8192)
os.lseek(f, 0, 0)
print(os.write(f, b'2' * 8192), os.statvfs('/tmp').f_bavail > 0)
"""
    when = {"call": {"name": "write", "place": "repository", "nth": 2}}
    result = tried(tmp_path, {"disk.full": "repository", "headroom": 0, "when": when}, python(code))
    assert result.lines == ["8192 True"]
    assert result.proof == []


@needs
def test_who_asks_for_the_space_and_gives_up_has_met_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import shutil, sys; free = shutil.disk_usage('{repository}').free; sys.exit(1 if free < 9999 else 0)"
    )
    result = tried(tmp_path, {"disk.full": "repository", "headroom": 0}, python(code))
    assert result.proof
    assert "asked for" in result.proof[0]
    content = tried(
        tmp_path / "2",
        {"disk.full": "repository"},
        python("import shutil; shutil.disk_usage('{repository}')"),
    )
    assert content.proof == []


@needs
@pytest.mark.parametrize(
    "code",
    [
        "import os; f = os.open('{repository}/c', 65); os.sendfile(f, os.open('{big}', 0), 0, 1 << 20)",
        "import os; os.posix_fallocate(os.open('{repository}/c', 65), 0, 1 << 20)",
        "import os; os.pwrite(os.open('{repository}/c', 65), b'1' * 200000, 4096)",
        "import os; os.writev(os.open('{repository}/c', 65), [b'1' * 100000] * 3)",
        "import os\nfor n in range(2): os.write(os.open('{repository}/c', 65 | os.O_APPEND), b'1' * 8192)",
    ],
    ids=["sendfile", "fallocate", "pwrite", "writev", "append"],
)
def test_all_ways_to_write_meet_a_full_disk(tmp_path: Path, code: str) -> None:
    prepare = "open('{state}/big', 'wb').write(b'1' * (1 << 20))\n"
    code = code.replace("{big}", "{state}/big")
    result = tried(tmp_path, {"disk.full": "repository", "headroom": 8192}, python(prepare + code))
    assert result.proof, result.lines


@needs
@pytest.mark.parametrize(("size", "bites"), [(1000, False), (60000, True)])
def test_a_copy_is_measured_by_what_there_is_and_not_by_what_it_asks_for(
    tmp_path: Path, size: int, bites: bool
) -> None:
    """The call that is held until the disk is full meets the full disk itself."""
    code = f"""
import os
open('{{repository}}/a', 'wb').write(b'1' * {size})
print(os.copy_file_range(os.open('{{repository}}/a', 0), os.open('{{repository}}/b', 65), 1 << 30))
"""
    when = {"call": {"name": "write", "place": "repository", "nth": 2}}
    result = tried(tmp_path, {"disk.full": "repository", "headroom": 4096, "when": when}, python(code))
    assert bool(result.proof) is bites
    assert said(result, "1000") is not bites


RESERVES = """
import os, sys
fd = os.open('{repository}/pack', os.O_CREAT | os.O_WRONLY)
try: os.posix_fallocate(fd, 0, 1 << 20)
except OSError: print('no room', flush=True)
try:
    for _ in range(16): os.write(fd, bytes(1 << 16))
except OSError as e: sys.exit(f'error: {e}')
"""
"""As restic from 0.15 on: it reserves the room for a pack, does not mind if there is none, and writes."""


@needs
def test_who_reserves_its_room_meets_the_full_disk_before_it_has_it(tmp_path: Path) -> None:
    result = tried(tmp_path, {"disk.full": "repository", "when": {"bytes": "256KiB"}}, python(RESERVES))
    assert said(result, "no room")
    assert said(result, "No space left on device")
    assert "fallocate" in result.proof[0]


@needs
def test_what_is_written_into_reserved_room_needs_no_more(tmp_path: Path) -> None:
    when = {"call": {"name": "write", "place": "repository", "nth": 2}}
    result = tried(tmp_path, {"disk.full": "repository", "when": when}, python(RESERVES))
    assert not said(result, "No space left on device")
    assert result.proof == []


MAPS = """
import mmap, os, time
fd = os.open('{repository}/f', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
pages = mmap.mmap(fd, 1 << 20)
print('ready', flush=True)
for at in range(0, 1 << 20, 4096):
    pages[at:at + 4096] = bytes([7]) * 4096
    time.sleep(0.001)
"""
"""Writes without any call; the kernel can say that there is no room only by SIGBUS."""
NO_PAGE = "the job died of SIGBUS: a page that was mapped on the full volume could not be had"


@needs
@pytest.mark.parametrize(
    "fault",
    [
        {"disk.full": "repository", "headroom": 0},
        {"disk.full": "repository", "headroom": 128 * 1024},
        {"disk.full": "repository", "when": {"at": 0.5}},
        {"disk.nearly_full": "repository", "left": 256 * 1024},
    ],
    ids=["at once", "at the start", "in the middle", "nearly"],
)
def test_who_writes_through_mapped_memory_dies_of_a_full_disk(tmp_path: Path, fault: dict[str, Any]) -> None:
    result = tried(tmp_path, fault, python(MAPS))
    assert result.returncode == -signal.SIGBUS
    assert result.proof[0].startswith(NO_PAGE)
    struck = result.fault.blows()
    ended = next(e for e in result.events if e.kind == "job.end")
    assert struck is not None
    assert (struck.how, struck.spans) == ("refusal", ((ended.t, ended.t),))
    assert undone(result)


SIGBUS = "print('ready', flush=True)\nimport os, signal, time; time.sleep({wait}); os.kill(os.getpid(), signal.SIGBUS)"


@needs
@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        ({"disk.full": "repository"}, 0),
        ({"disk.nearly_full": "repository", "left": 256 * 1024}, 0),
        ({"disk.full": "repository", "headroom": 0, "for": 0.3}, 1),
    ],
    ids=["there was room", "there was more room", "it was over"],
)
def test_a_sigbus_that_no_full_volume_can_have_caused_is_no_proof(
    tmp_path: Path, fault: dict[str, Any], wait: int
) -> None:
    result = tried(tmp_path, fault, python(SIGBUS.replace("{wait}", str(wait))))
    assert result.returncode == -signal.SIGBUS
    assert result.proof == []


@needs
def test_our_own_sigbus_is_no_proof_of_a_full_volume(tmp_path: Path) -> None:
    code = "print('ready', flush=True)\nimport time; time.sleep(60)"
    fault = {"disk.full": "repository", "headroom": 0, "when": {"log": "ready"}}
    with bench(tmp_path, fault, python(code)) as made:
        verify = made.fault.verify

        def meddle() -> None:
            verify()
            assert made.ground.job_pid is not None
            assert made.world.sandbox.signal(made.ground.job_pid, signal.SIGBUS)

        made.fault.verify = meddle  # type: ignore[method-assign]
        result = made.go()
    assert result.returncode == -signal.SIGBUS
    assert result.proof == []


@pytest.mark.parametrize(("headroom", "others", "bites"), [(0, 0, True), (0, 1, False), (65536, 1, True)])
def test_a_sigbus_in_company_counts_for_a_volume_that_the_job_itself_has_filled(
    headroom: int, others: int, bites: bool
) -> None:
    """A mapped source file that another fault cut off ends its reader in the same way."""

    class Sandbox:
        capabilities = frozenset({"volumes"})
        sent = ()

    history = History(clock=lambda: 0.0)
    for n in range(others):
        history.append("fault", at=10.0, name=f"other{n}", status="applied")
    history.append("job.end", at=12.0, job="fault", returncode=-signal.SIGBUS, outcome="failure")
    ground = Ground(cast("Any", Sandbox()), history, seed=1, source="", repository="")
    ground.free_space.append((11.0, "repository", Usage(1 << 20, 0, 9, 9)))
    fault = Full("full", DiskFull(place="repository", headroom=headroom), ground)
    fault.windows = [(10.0, 15.0)]
    assert bool(fault.unfit()) is bites


def test_without_a_supervisor_only_the_kernels_words_in_time_count() -> None:
    class Sandbox:
        capabilities = frozenset({"volumes"})

    def proof(text: str, at: float) -> list[str]:
        history = History(clock=lambda: 0.0)
        history.append("log", at=at, job="fault", text=text)
        ground = Ground(cast("Any", Sandbox()), history, seed=1, source="", repository="")
        fault = Full("full", DiskFull(place="repository"), ground)
        fault.windows = [(10.0, 15.0)]
        fault._armed = [(10.0, 15.0)]
        return fault.bite()

    assert proof("write failed: No space left on device", 12.0)
    assert not proof("starting full backup", 12.0)
    assert not proof("write failed: No space left on device", 20.0)


@needs
def test_a_nearly_full_disk_bites_who_writes_and_still_fits(tmp_path: Path) -> None:
    fault = {"disk.nearly_full": "repository", "left": 2 << 20}
    result = tried(tmp_path, fault, python(WRITE))
    assert result.returncode == 0
    assert result.proof[0].startswith("written to with 2MiB left")
    assert result.proof[1] == "1MiB were left in the end"
    assert undone(result)
    assert tried(tmp_path / "2", fault, python(NOTHING)).proof == []


@needs
@pytest.mark.parametrize("mechanism", ["root", "userns"])
def test_inodes_run_out_at_the_number_asked_for(tmp_path: Path, mechanism: str) -> None:
    environment = LocalEnvironment(mechanism)
    if reason := environment.probe()["namespaces"]:
        pytest.skip(reason)
    fault = {"disk.inodes": "repository", "left": 3}
    with bench(tmp_path, fault, python(WRITE), environment=environment) as made:
        before = made.world.sandbox.usage(Place.REPOSITORY).files
        result = made.go()
        assert made.world.sandbox.usage(Place.REPOSITORY).files == before
    assert said(result, "No space left on device: '" + "/backupchaos/repository/repo/f3'")
    assert result.proof[0].startswith("1 call needed an inode when none was free")
    assert undone(result)


@needs
def test_inodes_do_not_matter_to_who_makes_no_names(tmp_path: Path) -> None:
    code = "f = open('{repository}/f', 'w'); f.write('x'); open('{repository}/f', 'a').write('y')"
    assert tried(tmp_path, {"disk.inodes": "repository", "left": 1}, python(code)).proof == []


@needs
@pytest.mark.parametrize(
    "call",
    [
        "os.mkdir('{repository}/d')",
        "os.symlink('a', '{repository}/l')",
        "os.mkfifo('{repository}/p')",
        "os.link('{repository}', '{repository}/l')",
    ],
)
def test_other_names_need_inodes_too(tmp_path: Path, call: str) -> None:
    link = "os.link" in call  # the only one that needs a file to begin with
    file = "open('{repository}/f', 'w'); os.link('{repository}/f', '{repository}/g')"
    code = f"import os; {file if link else call}"
    result = tried(tmp_path, {"disk.inodes": "repository", "left": int(link)}, python(code))
    assert result.returncode == 1
    assert result.proof


# -- quota ------------------------------------------------------------------------------------------


@needs
def test_no_file_grows_beyond_the_quota_wherever_it_is(tmp_path: Path) -> None:
    code = "import os; print(os.write(os.open('{state}/x', 65), b'1' * 5000)); open('{state}/y', 'w').truncate(5001)"
    result = tried(tmp_path, {"disk.quota": "target", "size": 4096}, python(code))
    assert "4096" in result.lines
    assert said(result, "File too large")
    assert result.proof[0].startswith("2 calls went beyond the limit")
    small = python("open('{state}/x', 'w').write('1' * 4096)")
    assert tried(tmp_path / "2", {"disk.quota": "target", "size": 4096}, small).proof == []


@needs
def test_the_quota_kills_who_does_not_expect_the_signal(tmp_path: Path) -> None:
    dd = ("dd", "if=/dev/zero", "of={repository}/x", "bs=1k", "count=100")
    result = tried(tmp_path, {"disk.quota": "target", "size": 10000}, dd)
    assert result.returncode == -signal.SIGXFSZ
    assert "the job was ended by SIGXFSZ" in result.proof


# -- mounts -----------------------------------------------------------------------------------------


@needs
@pytest.mark.parametrize("mechanism", ["root", "userns"])
def test_read_only_stops_open_files_and_names_and_ends(tmp_path: Path, mechanism: str) -> None:
    environment = LocalEnvironment(mechanism)
    if reason := environment.probe()["namespaces"]:
        pytest.skip(reason)
    code = """
import errno, os, sys, time
def attempt(what, *arguments):
    try: return what(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
file = os.open('{repository}/x', os.O_WRONLY | os.O_CREAT)
os.write(file, b'1' * 1000)
print(attempt(os.write, file, b'2'), attempt(os.mkdir, '{repository}/d'), attempt(os.unlink, '{repository}/x'))
print(open('{repository}/x').read(3), flush=True)
end = time.monotonic() + 20
while attempt(os.write, file, b'3') != 1 and time.monotonic() < end: time.sleep(0.02)
print(attempt(os.mkdir, '{repository}/d'))
"""
    when = {"call": {"name": "write", "place": "repository", "nth": 2}}
    fault = {"disk.readonly": "repository", "when": when, "for": 0.5}
    result = tried(tmp_path, fault, python(code), environment=environment)
    assert result.lines == ["EROFS EROFS EROFS", "111", "None"]
    assert len(result.proof) == 2
    assert undone(result)


@needs
def test_read_only_does_not_bite_who_only_reads(tmp_path: Path) -> None:
    code = "import os; print(os.listdir('{repository}'))"
    assert tried(tmp_path, {"disk.readonly": "repository"}, python(code)).proof == []


@needs
@pytest.mark.parametrize("mechanism", ["root", "userns"])
def test_a_vanished_volume_leaves_an_empty_writable_directory(tmp_path: Path, mechanism: str) -> None:
    environment = LocalEnvironment(mechanism)
    if reason := environment.probe()["namespaces"]:
        pytest.skip(reason)
    code = """
import os
top = os.path.dirname('{repository}')
file = open('{repository}/open', 'w', buffering=1)
file.write('before\\n')
file.write('after\\n')
print(os.listdir(top), os.path.ismount(top))
os.mkdir('{repository}')
open('{repository}/lost', 'w').write('x' * 300000)
"""
    when = {"call": {"name": "write", "place": "repository", "nth": 2}}
    with bench(
        tmp_path, {"disk.vanishes": "repository", "when": when}, python(code), environment=environment
    ) as made:
        result = made.go()
        assert made.run("cat", f"{made.ground.workspace.location.path}/open").stdout == "before\nafter\n"  # type: ignore[union-attr]
        assert not made.run("ls", f"{made.ground.workspace.location.path}/lost").ok  # type: ignore[union-attr]
        assert not made.run("touch", "/backupchaos/x").ok
    assert result.lines == ["[] False"]
    assert "calls met the empty directory" in result.proof[0]
    assert result.proof[1] == "2 files (292.97KiB) were written into it"
    assert undone(result)


@needs
def test_a_vanished_source_bites_who_looks_for_it(tmp_path: Path) -> None:
    result = tried(tmp_path, {"disk.vanishes": "source"}, python("import os; print(os.listdir('{source}'))"))
    assert result.lines == ["[]"]
    assert result.proof
    assert tried(tmp_path / "2", {"disk.vanishes": "source"}, python(NOTHING)).proof == []


@needs
def test_an_honest_job_notices_that_its_source_was_unmounted(tmp_path: Path) -> None:
    """The reference engine, whose source goes while it reads it."""
    engine = "python -m backupchaos_reference".replace("python", python("")[0])
    job = f"{engine} init --repo {{repository}}/r && {engine} backup --repo {{repository}}/r --source {{source}} --state {{state}}/db --json"
    when = {"call": {"name": "read", "place": "source", "nth": 1}}
    env = {"BACKUPCHAOS_REFERENCE_PASSWORD": "x", "PYTHONPATH": str(Path(__file__).parents[2] / "plugins")}
    result = tried(tmp_path, {"disk.vanishes": "source", "when": when}, ("sh", "-c", job), env=env)
    assert result.returncode == 1
    assert said(result, "was it unmounted?")
    assert any(re.search(result.fault.cause_pattern(), line, re.IGNORECASE) for line in result.lines)


# -- single calls -----------------------------------------------------------------------------------


@needs
def test_a_slow_disk_takes_longer_for_each_call(tmp_path: Path) -> None:
    code = f"import time; start = time.monotonic()\n{WRITE}\nprint(time.monotonic() - start > 16 * 0.02)"
    result = tried(tmp_path, {"disk.slow": "repository", "delay": 0.02}, python(code))
    assert result.lines == ["True"]
    assert result.proof[0].startswith("16 calls: 20ms later")
    assert undone(result)
    assert tried(tmp_path / "2", {"disk.slow": "repository", "delay": 0.02}, python(NOTHING)).proof == []


@needs
def test_an_error_comes_at_its_number_as_often_as_asked_on_the_files_asked_for(tmp_path: Path) -> None:
    code = """
import errno, os
def write(name):
    try: return os.write(os.open('{repository}/' + name, 65), b'1')
    except OSError as error: return errno.errorcode[error.errno]
print(*[write(name) for name in ('a.db', 'b', 'b.db', 'c.db', 'd.db', 'e.db')])
"""
    fault = {
        "disk.io_error": "repository",
        "call": "write",
        "path": "*.db",
        "nth": 2,
        "calls": 2,
        "error": "EDQUOT",
    }
    result = tried(tmp_path, fault, python(code))
    assert result.lines == ["1 1 EDQUOT EDQUOT 1 1"]
    assert result.proof[0].startswith("2 calls: write fails with EDQUOT, the first: write of /")
    assert undone(result)


@needs
@pytest.mark.parametrize(
    "how", ["open(path, 'rb').read()", "os.copy_file_range(os.open(path, 0), os.open('{state}/c', 65), 9)"]
)
def test_reading_the_source_fails_however_it_is_read(tmp_path: Path, how: str) -> None:
    code = READ.replace("open(path, 'rb').read()", how)
    result = tried(tmp_path, {"disk.io_error": "source"}, python(code))
    assert said(result, "Input/output error")
    assert result.proof
    [hit] = result.fault.paths()
    assert not hit.startswith("/")
    assert undone(result)


@needs
def test_an_error_that_nobody_meets_proves_nothing(tmp_path: Path) -> None:
    fault = {"disk.io_error": "repository", "call": "write", "nth": 17}
    assert tried(tmp_path, fault, python(WRITE)).proof == []


@needs
def test_what_a_partial_job_names_beside_the_cause_is_what_it_left_out(tmp_path: Path) -> None:
    code = """
import os, sys
names = sorted(os.listdir('{source}'))
print('error:', names[0] + ': read: [Errno 5] Input/output error', file=sys.stderr)
print('error:', names[1] + ': something else', file=sys.stderr)
print(names[2] + ' Input/output error was never seen')
"""

    class Partial(Probe):
        def parse_log(self, stream: str, line: str) -> Any:
            from backupchaos.targets.base import LogRecord

            return LogRecord("warning" if line.startswith("error") else "info", line)

    fault = {"disk.io_error": "repository", "call": "write"}
    with bench(tmp_path, fault, (), target=Partial(python(code))) as made:
        made.phases.oracle.scan("M1", made.world.path(Place.SOURCE))
        made.phases.change()
        top = made.world.sandbox.call("list_files", root=made.ground.source)["entries"]
        names = sorted(entry[0] for entry in top if "/" not in entry[0])[:3]
        made.ground.fresh = [(name, 1) for name in names]
        made.phases.fault()
        assert list(made.fault.paths()) == names[:1]


@needs
def test_short_writes_take_what_was_asked_and_are_real(tmp_path: Path) -> None:
    code = """
import os
f = os.open('{repository}/x', 65)
print(*[os.write(f, b'12345' * 100) for _ in range(4)], os.stat('{repository}/x').st_size)
"""
    fault = {"disk.short_write": "repository", "nth": 2, "calls": 2, "size": 7}
    result = tried(tmp_path, fault, python(code))
    assert result.lines == ["500 7 7 500 1014"]
    assert result.proof[0].startswith("2 calls: a write takes 7B")
    assert undone(result)
    assert tried(tmp_path / "2", fault, python(NOTHING)).proof == []


@needs
def test_lost_syncs_are_answered_on_their_volume_only(tmp_path: Path) -> None:
    code = """
import os
def sync(path):
    f = os.open(path, 65); os.write(f, b'1'); os.fsync(f); os.fdatasync(f)
sync('{repository}/x'); sync('{state}/x'); print('done')
"""
    result = tried(tmp_path, {"disk.lost_fsync": "repository"}, python(code))
    assert result.lines == ["done"]
    assert result.proof[0].startswith("2 calls: a sync is answered and not done, the first: fsync of /")
    assert not [e for e in result.events if e.kind == "retry"], "a second sync of a file is no retry"
    assert tried(tmp_path / "2", {"disk.lost_fsync": "repository"}, python(WRITE)).proof == []


# -- who makes the calls ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp", "python:asyncssh")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"disk.io_error": "repository", "call": "write", "nth": 3, "calls": 1}, "Input/output error"),
        ({"disk.full": "repository", "headroom": 65536}, "No space left"),
        (
            {
                "disk.readonly": "repository",
                "when": {"call": {"name": "write", "place": "repository", "nth": 3}},
            },
            "Read-only",
        ),
    ],
    ids=["io_error", "full", "read-only at a call"],
)
def test_on_a_remote_repository_it_is_the_servers_calls(
    tmp_path: Path, fault: Mapping[str, Any], words: str
) -> None:
    result = remote(fault, tmp_path)
    assert said(result, words), result.lines
    assert result.proof
    assert undone(result)
    hits = {e["pid"] for e in result.events if e.kind == "syscall" and str(e["rule"]).startswith("fault.")}
    assert result.fault.ground.job_pid not in hits


@needs
@pytest.mark.parametrize("place", ["cache", "temp"])
def test_a_volume_that_the_tool_does_not_use_is_not_covered(tmp_path: Path, place: str) -> None:
    code = f"open('{{{place}}}/x', 'w').write('1')"
    with (
        bench(tmp_path, {"disk.full": place, "headroom": 0}, python(code)) as made,
        pytest.raises(MissingCapability, match=f"into its {place} directory"),
    ):
        made.go()
    with bench(tmp_path / "2", {"disk.full": place, "headroom": 0}, python(code)) as made:
        made.run("touch", made.world.path(Place(place)) + "/used")
        assert made.go().proof


# -- what could go wrong with the harness -----------------------------------------------------------


class _Armed:
    """A sandbox that only arms; telling one rule off fails."""

    capabilities = frozenset({"syscalls"})

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []

    def path(self, place: Place) -> str:
        return f"/v/{place}"

    def arm(self, rule: str, armed: bool) -> None:
        self.told.append((rule, armed))
        if rule == "slow.read" and not armed:
            raise HarnessBroken("cannot be told")


def test_each_rule_is_told_off_even_if_another_cannot_be() -> None:
    sandbox = _Armed()
    ground = Ground(cast("Any", sandbox), History(), seed=1, source="/v/source", repository="/v/repository")
    fault = Slow("slow", DiskSlow(place="repository"), ground)
    fault.apply()
    with pytest.raises(HarnessBroken, match="cannot be told"):
        fault.undo()
    assert sandbox.told[-2:] == [("slow.read", False), ("slow.write", False)]


def test_what_was_seen_before_the_mount_changed_is_no_proof() -> None:
    """A job with many threads goes on while the rules are armed and the volume is unmounted."""
    now = 0.0

    class Sandbox(_Armed):
        def volume(self, place: Place) -> Any:
            return VolumeState(1, True, False, 0)

        def vanish(self, place: Place, gone: bool) -> dict[str, float]:
            return {"at": now + 2} if gone else {"files": 0, "bytes": 0}

    history = History(clock=lambda: now)
    ground = Ground(cast("Any", Sandbox()), history, seed=1, source="/v/source", repository="/v/repository")
    fault = Vanishes("gone", DiskVanishes(place="source"), ground)

    def met(at: float) -> None:
        history.append("syscall", at=at, rule="gone.met", call="open", path="/v/source/x", action="observe")

    now = 5.0
    fault.begin(now)
    fault.apply()
    met(6.0)
    assert fault.bite() == []
    met(8.0)
    now = 9.0
    fault.end(now)
    met(9.5)
    now = 10.0
    fault.undo()
    assert fault.bite()[0].startswith(
        "1 call met the empty directory, the first: open of /v/source/x at 8.00 s"
    )
    assert fault.strays() == []


def test_a_call_outside_of_the_window_is_a_stray() -> None:
    now = 0.0
    history = History(clock=lambda: now)
    ground = Ground(cast("Any", _Armed()), history, seed=1, source="/v/source", repository="/v/repository")
    fault = IoError("io", DiskIoError(place="repository", call="write"), ground)
    now = 5.0
    fault.apply()
    history.append("syscall", rule="io.write", call="write", path="/v/repository/x", action="errno")
    now = 6.0
    fault.undo()
    assert (len(fault.bite()), fault.strays()) == (1, [])
    now = 6.5
    history.append("syscall", rule="io.write", call="write", path="/v/repository/y", action="errno")
    assert fault.strays() == ["write of /v/repository/y at 6.500 s"]
    assert fault.bite()[0].startswith("1 call")


@pytest.mark.parametrize(
    ("spec", "line", "names"),
    [
        ({"disk.io_error": "source"}, "read /x: input/output error", True),
        ({"disk.io_error": "source"}, '{"error":{"Op":"read","Path":"/x","Err":5}}', True),
        ({"disk.io_error": "source"}, '{"error":{"Op":"read","Path":"/x","Err":53}}', False),
        ({"disk.io_error": "source"}, "an error", False),
        ({"disk.io_error": "source", "error": "ESTALE"}, "OSError: [Errno 116] Stale file handle", True),
        ({"disk.io_error": "source", "error": "ENXIO"}, "No such device or address", True),
    ],
)
def test_which_words_name_an_error(spec: Mapping[str, Any], line: str, names: bool) -> None:
    ground = Ground(cast("Any", _Armed()), History(), seed=1, source="", repository="")
    fault = IoError("io", DiskIoError.model_validate(dict(spec)), ground)
    assert bool(re.search(fault.cause_pattern(), line, re.IGNORECASE)) is names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("write: No space left on device", True),
        ("database or disk is full", True),
        ("full backup of 3 files", False),
        ("quota: none", False),
    ],
)
def test_which_words_name_a_full_disk(line: str, names: bool) -> None:
    assert bool(re.search(NO_SPACE, line, re.IGNORECASE)) is names


# -- real tools -------------------------------------------------------------------------------------


def tool(made: Bench, *argv: str) -> None:
    done = made.run(*argv)
    assert done.ok, done.output


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp", "restic")
def test_restic_meets_a_quota_and_says_so(tmp_path: Path) -> None:
    argv = ("restic", "-r", "{repository}/r", "--no-cache", "backup", "{source}")
    with bench(tmp_path, {"disk.quota": "target", "size": 4096}, argv, env={"RESTIC_PASSWORD": "x"}) as made:
        where = made.ground.workspace.location.path  # type: ignore[union-attr]
        tool(made, "env", "RESTIC_PASSWORD=x", "restic", "-r", f"{where}/r", "--no-cache", "init")
        result = made.go()
    assert result.returncode == 1
    assert result.proof
    assert any(re.search(result.fault.cause_pattern(), line, re.IGNORECASE) for line in result.lines)


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp", "borg")
def test_borg_copes_with_short_writes(tmp_path: Path) -> None:
    borg = {"BORG_BASE_DIR": "/backupchaos/state/borg"}
    argv = ("borg", "create", "{repository}/r::a", "{source}")
    with bench(
        tmp_path, {"disk.short_write": "repository", "size": 500, "calls": 20}, argv, env=borg
    ) as made:
        where = made.ground.workspace.location.path  # type: ignore[union-attr]
        tool(made, "env", "BORG_BASE_DIR=/backupchaos/state/borg", "borg", "init", "-e", "none", f"{where}/r")
        result = made.go()
        tool(
            made,
            "env",
            "BORG_BASE_DIR=/backupchaos/state/borg",
            "borg",
            "check",
            "--verify-data",
            f"{where}/r",
        )
    assert result.returncode == 0
    assert result.proof


def _rclone(names: Sequence[str]) -> tuple[str, ...]:
    from backupchaos.services.rclone_serve import find_rclone

    return (find_rclone(), *names)


@pytest.mark.slow
@pytest.mark.needs("namespaces", "seccomp", "rclone")
def test_rclone_writes_into_an_empty_mount_point_and_is_content(tmp_path: Path) -> None:
    """Why the fault is there: the job ends with 0, and its files are nowhere."""
    argv = _rclone(("copy", "{source}", "{repository}/mirror", "--config", "/dev/null", "--links"))
    with bench(tmp_path, {"disk.vanishes": "repository"}, argv) as made:
        result = made.go()
        assert not made.run("ls", f"{made.ground.workspace.location.path}/mirror").ok  # type: ignore[union-attr]
    assert result.returncode == 0
    assert "were written into it" in result.proof[1]


def test_to_leave_more_than_there_is_breaks_the_run(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="takes nothing away: leave"):
        tried(tmp_path, {"disk.nearly_full": "repository", "left": 2**40}, python("pass"))


@needs
def test_to_leave_more_files_than_can_be_made_breaks_the_run(tmp_path: Path) -> None:
    with bench(tmp_path, {"disk.inodes": "repository", "left": 1000}, python("pass")) as made:
        made.world.sandbox.limit_files(Place.REPOSITORY, total=500)
        with pytest.raises(Unfit, match="takes nothing away: leave fewer"):
            made.go()
