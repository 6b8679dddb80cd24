"""A repository that is older or another one, a wrong password, a damaged or lost cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Probe, bench, python, tried
from tests.faults.remote_job import Remote

from backupchaos.commands import Command
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.targets.base import Workspace

pytestmark = pytest.mark.needs("namespaces", "seccomp")

KEEPING = """
import os
jobs = sorted(os.listdir('{repository}'))
remembered = open('{cache}/jobs').read() if os.path.exists('{cache}/jobs') else ''
print('the repository has', jobs, 'and the cache remembers', remembered.split())
open(f'{repository}/job{len(jobs)}', 'w').write('data')
open('{cache}/jobs', 'a').write(f'job{len(jobs)} ')
"""
"""A job that keeps a file for each job in the repository, and its name in the cache."""


class Keeper(Probe):
    """``init`` makes the file job0."""

    broken_init = False

    def init(self, work: Workspace) -> Sequence[Command]:
        command = (
            "false" if self.broken_init else f"echo made >{work.location.path}/job0; echo >{work.state}/key"
        )
        return (Command(("sh", "-c", command)),)


def keeper(code: str = KEEPING) -> Probe:
    return Keeper(python(code))


# -- rollback ----------------------------------------------------------------------------------------


def test_the_repository_is_older_than_the_cache(tmp_path: Path) -> None:
    with bench(tmp_path, {"repository.rollback": "repository"}, (), target=keeper()) as made:
        made.phases.init_repository()
        result = made.go()
        names = made.run("ls", made.world.workspace.location.path).stdout.split()
    assert result.lines == ["the repository has ['job0'] and the cache remembers ['job1']"]
    assert result.proof == [
        "the job opened repo, repo/job1 there",
        "1 of the 1 missing files were stored again",
    ]
    assert names == ["job0", "job1"]
    assert result.strays == []


def test_a_job_that_does_not_look_at_the_older_copy_proves_nothing(tmp_path: Path) -> None:
    once = "import os, sys\nif not os.path.exists('{cache}/jobs'):\n" + KEEPING.replace("\n", "\n ")
    with bench(tmp_path, {"repository.rollback": "repository"}, (), target=keeper(once)) as made:
        made.phases.init_repository()
        assert made.go().proof == []


def test_a_job_that_fails_before_the_rollback_breaks_the_run(tmp_path: Path) -> None:
    with pytest.raises(HarnessBroken, match=r"failed \(exit 7\)"):
        tried(tmp_path, {"repository.rollback": "repository"}, python("import sys; sys.exit(7)"))


def test_a_job_that_changes_nothing_cannot_be_rolled_back(tmp_path: Path) -> None:
    with pytest.raises(HarnessBroken, match="changed nothing"):
        tried(tmp_path, {"repository.rollback": "repository"}, python("pass"))


def test_no_room_for_a_copy_is_a_missing_capability(tmp_path: Path) -> None:
    with bench(tmp_path, {"repository.rollback": "repository"}, (), target=keeper()) as made:
        made.phases.init_repository()
        free = made.world.sandbox.usage(Place.STATE).free
        made.run("sh", "-c", f"head -c {free - 400_000} /dev/zero >{made.world.workspace.state}/big")
        made.run("sh", "-c", f"head -c 500000 /dev/zero >{made.world.workspace.location.path}/more")
        with pytest.raises(MissingCapability, match=r"space: repository\.rollback needs \d+ bytes"):
            made.go()


# -- another repository --------------------------------------------------------------------------------


def test_another_repository_is_there_until_it_is_taken_away(tmp_path: Path) -> None:
    with bench(tmp_path, {"repository.swapped": "repository"}, (), target=keeper()) as made:
        made.phases.init_repository()
        path = made.world.workspace.location.path
        made.run("sh", "-c", f"echo real >{path}/job0; echo >{path}/job1; chmod 600 {path}/job1")
        key = made.run("stat", "-c", "%y", f"{made.world.workspace.state}/key").stdout
        before = made.run("ls", "-l", "--full-time", path).stdout
        result = made.go()
        during = made.run("sh", "-c", f"cat {path}/job*").stdout
        made.phases.end_lasting()
        assert made.run("ls", "-l", "--full-time", path).stdout == before
        assert made.run("stat", "-c", "%y", f"{made.world.workspace.state}/key").stdout == key
        assert made.fault.windows[0][1] is not None
    assert result.lines == ["the repository has ['job0'] and the cache remembers []"]
    assert during == "made\ndata"
    assert result.proof == ["the job opened repo, repo/job1 there"]


def test_a_job_that_stays_away_from_it_proves_nothing(tmp_path: Path) -> None:
    assert tried(tmp_path, {"repository.swapped": "repository"}, python("pass")).proof == []


def test_an_init_that_fails_breaks_the_run(tmp_path: Path) -> None:
    target = Keeper(python(KEEPING))
    with bench(tmp_path, {"repository.swapped": "repository"}, (), target=target) as made:
        made.phases.init_repository()
        target.broken_init = True
        with pytest.raises(HarnessBroken, match=r"could not be made \(exit 1\)"):
            made.go()


def test_a_repository_that_does_not_come_back_breaks_the_run(tmp_path: Path) -> None:
    with bench(tmp_path, {"repository.swapped": "repository"}, (), target=keeper()) as made:
        made.phases.init_repository()
        made.go()
        own = made.fault.folder("own")  # type: ignore[attr-defined]
        made.run("sh", "-c", f"echo >{own}/repo/stranger")
        with pytest.raises(HarnessBroken, match="not the real repository"):
            made.phases.end_lasting()


# -- wrong password ------------------------------------------------------------------------------------

OPENING = "import sys\nkey = open('{repository}/key').read()\nsys.exit(key != '{password}')"


def test_the_job_has_another_password(tmp_path: Path) -> None:
    with bench(tmp_path, {"repository.wrong_password": "repository"}, python(OPENING)) as made:
        work = made.world.workspace
        made.world.sandbox.call("write_file", path=f"{work.location.path}/key", text=work.password)
        assert made.world.run(made.phases.target.backup(work), what="with the right one").ok
        result = made.go()
    assert result.returncode == 1
    assert result.proof == ["the job was started with the wrong password", "the job opened repo/key there"]


SERVED = """
import asyncio, asyncssh, sys
async def main():
    account = dict(username='backup', password='{login}', known_hosts=None, client_keys=None, config=None)
    async with asyncssh.connect('{host}', {port}, **account) as connection:
        async with connection.start_sftp_client() as sftp:
            if '{password}' and sys.argv[1] == 'read':
                async with sftp.open('/key', 'rb') as file:
                    await file.read()
            if sys.argv[1] == 'write':
                async with sftp.open('/key', 'r+b') as file:
                    await file.write(b'else')
try: asyncio.run(main())
except OSError as error: sys.exit(str(error))
"""


@pytest.mark.parametrize(("does", "proves"), [("nothing", False), ("read", True), ("write", True)])
def test_a_server_that_greets_the_job_does_not_show_that_the_password_was_tried(
    tmp_path: Path, does: str, proves: bool
) -> None:
    target = Remote((*python(SERVED), does))
    fault = {"repository.wrong_password": "repository"}
    with bench(tmp_path, fault, (), repository="sftp", target=target) as made:
        made.world.sandbox.call("write_file", path=f"{made.ground.repository}/key", text="the key")
        result = made.go()
    answers = [
        e for e in result.events if e.kind == "link" and e["ev"] == "first_byte" and e["dir"] == "down"
    ]
    assert answers, "it was greeted"
    words = [
        "the job was started with the wrong password",
        "the repository's server read or wrote key for the job",
    ]
    assert result.proof == (words if proves else [])


def test_where_reading_leaves_no_trace_a_servers_reading_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"repository.wrong_password": "repository"}
    with bench(tmp_path, fault, (), repository="sftp", target=Remote(python(SERVED))) as made:
        call = made.world.sandbox.call

        def blind(name: str, **arguments: Any) -> Any:
            return False if name == "keeps_access_times" else call(name, **arguments)

        monkeypatch.setattr(made.world.sandbox, "call", blind)
        with pytest.raises(MissingCapability, match="access times"):
            made.fault.available()


def test_a_tool_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="target probe uses no password"):
        tried(tmp_path, {"repository.wrong_password": "repository"}, python("pass"))


def test_a_password_that_is_only_hidden_in_the_log_is_none(tmp_path: Path) -> None:
    class Careful(Probe):
        def backup(self, work: Workspace) -> Command:
            return Command(self.argv, secrets=(work.password,))

    with pytest.raises(MissingCapability, match="target probe uses no password"):
        tried(tmp_path, {"repository.wrong_password": "repository"}, (), target=Careful(python("pass")))


def test_a_password_that_is_never_tried_proves_nothing(tmp_path: Path) -> None:
    result = tried(tmp_path, {"repository.wrong_password": "repository"}, python("print(len('{password}'))"))
    assert result.proof == []


def test_a_job_that_knows_the_right_password_all_the_same_breaks_the_run(tmp_path: Path) -> None:
    class Stubborn(Probe):
        def backup(self, work: Workspace) -> Command:
            return Command((*self.argv, work.password, "correct horse battery staple"))

    with pytest.raises(HarnessBroken, match="still carries the right password"):
        tried(tmp_path, {"repository.wrong_password": "repository"}, (), target=Stubborn(python("pass")))


# -- cache ---------------------------------------------------------------------------------------------

READING = (
    "import os\nprint([len(set(open(f'{cache}/{n}', 'rb').read())) for n in sorted(os.listdir('{cache}'))])"
)


def with_cache(tmp_path: Path, fault: dict[str, Any], code: str) -> Any:
    with bench(tmp_path, fault, python(code)) as made:
        cache = made.world.workspace.cache
        made.run(
            "sh",
            "-c",
            f"for n in a b; do seq 1 999 >{cache}/$n; done; mkdir {cache}/empty; rmdir {cache}/empty",
        )
        return made.go()


@pytest.mark.parametrize(
    ("how", "seen"),
    [("bit", "11|12"), ("zeros", "1"), ("half", "11|10"), ("empty", "0")],
    ids=lambda value: value,
)
def test_every_file_of_the_cache_is_damaged(how: str, seen: str, tmp_path: Path) -> None:
    result = with_cache(tmp_path, {"cache.corrupt": "cache", "how": how}, READING)
    assert result.lines[0].strip("[]").split(", ")[0] in seen.split("|")
    assert result.proof == ["the job opened 2 damaged files, first /backupchaos/cache/a"]
    assert len(result.fault.after) == 2


def test_a_damaged_cache_that_is_thrown_away(tmp_path: Path) -> None:
    result = with_cache(tmp_path, {"cache.corrupt": "cache"}, "import os; os.unlink('{cache}/a')")
    assert result.proof == ["the job replaced or removed 1 of them, first /backupchaos/cache/a"]


@pytest.mark.parametrize("kind", ["cache.corrupt", "cache.lost"])
def test_a_cache_that_nobody_opens_proves_nothing(kind: str, tmp_path: Path) -> None:
    assert with_cache(tmp_path, {kind: "cache"}, "print('nothing')").proof == []


@pytest.mark.parametrize("kind", ["cache.corrupt", "cache.lost"])
def test_a_tool_without_a_cache(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="target probe keeps no cache"):
        tried(tmp_path, {kind: "cache"}, python("pass"))


def test_a_lost_cache_is_missed(tmp_path: Path) -> None:
    code = "import os\nprint(os.path.exists('{cache}/a'), os.listdir('{cache}'))"
    result = with_cache(tmp_path, {"cache.lost": "cache"}, code)
    assert result.lines == ["False []"]
    assert result.proof == ["the job looked for /backupchaos/cache/a, which is gone"]


def test_a_lost_cache_is_made_anew(tmp_path: Path) -> None:
    result = with_cache(tmp_path, {"cache.lost": "cache"}, "open('{cache}/other', 'w').write('x')")
    assert result.proof == ["the job made 1 files of its cache anew, first /backupchaos/cache/other"]


def test_only_what_the_target_calls_its_cache_is_hit(tmp_path: Path) -> None:
    class Other(Probe):
        def cache_files(self, work: Workspace) -> Sequence[str]:
            return (f"{work.cache}/mine", f"{work.cache}/not there")

    target = Other(python("open('{cache}/mine/x').read()"))
    with bench(tmp_path, {"cache.corrupt": "cache"}, (), target=target) as made:
        cache = made.world.workspace.cache
        made.run("sh", "-c", f"mkdir {cache}/mine; echo x >{cache}/mine/x; echo y >{cache}/theirs")
        result = made.go()
        assert made.run("cat", f"{cache}/theirs").stdout == "y\n"
    assert result.proof == ["the job opened 1 damaged files, first /backupchaos/cache/mine/x"]
