"""Databases in images of their own: they are killed, come back with what they had, whatever is installed here."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.docker.daemon import Environment
from tests.faults.bench import Probe, bench
from tests.faults.service_jobs import WHEN_READY

from backupchaos.commands import Command
from backupchaos.engine.choosing import make_databases
from backupchaos.environments.docker.sandbox import DockerSandbox
from backupchaos.errors import MissingCapability
from backupchaos.services.databases.base import Database
from backupchaos.services.databases.registry import KINDS, make_database
from backupchaos.targets.base import DatabaseKind, Profile

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

STATEMENTS = {
    "redis": ("set kept yes", "get kept"),
    "postgres": ("create table kept as select 'yes'", "select * from kept"),
    "mariadb": ("create table kept as select 'yes'", "select * from kept"),
}
JOB = """
import os, socket, time
place = os.environ['BACKUPCHAOS_CATALOG_HOST'], int(os.environ['BACKUPCHAOS_CATALOG_PORT'])
def knock():
    try: socket.create_connection(place, 5).close()
    except ConnectionRefusedError: return 'refused'
    return 'open'
def until(wanted):
    end = time.monotonic() + 20
    while (seen := knock()) != wanted and time.monotonic() < end: time.sleep(0.05)
    print(seen, flush=True)
until('open')
print('ready', flush=True)
until('refused')
until('open')
"""


class Cataloguing(Probe):
    """A job that needs a catalog of any kind."""

    profile = Profile(
        speaks=("local",),
        aspects=frozenset({"content"}),
        features=frozenset(),
        history=False,
        uses={"catalog": ()},
    )


def asking(database: Database, port: int, statement: str) -> Command:
    """The question of the health check, in other words."""
    command = database.ask(port)
    words = {"ping": statement.split(), "select 6 * 7": [statement]}
    argv = [part for word in command.argv for part in words.get(word, [word])]
    return replace(command, argv=tuple(argv))


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_runs_in_its_own_image(
    tmp_path: Path, containers: Environment, monkeypatch: pytest.MonkeyPatch, kind: DatabaseKind
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    target = Cataloguing((sys.executable, "-c", JOB))
    fault = {"service.kill": "catalog", "when": WHEN_READY, "for": 0.5}
    services = {"catalog": kind}
    with bench(tmp_path, fault, (), target=target, services=services, environment=containers) as made:
        world, server = made.world, made.world.tiers["catalog"]
        assert isinstance(world.sandbox, DockerSandbox)
        assert world.sandbox.member("service-catalog").plan.image == server.database.image

        def said(port: int, statement: str) -> str:
            command = asking(server.database, port, statement)
            return world.run(command, what="ask", role="service", beside="catalog").stdout.strip()

        write, read = STATEMENTS[kind]
        said(server.tier.port, write)
        result = made.go()
        assert said(server.tier.port, read) == said(server.direct.port, read) == "yes"
    assert result.lines == ["open", "ready", "refused", "open"]
    assert result.proof
    assert result.strays == []


def test_an_image_that_is_missing_is_told(containers: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(make_database("redis"))
    monkeypatch.setattr(kind, "image", "example.org/nobody/has:this")
    with pytest.raises(MissingCapability, match=r"the image example\.org/nobody/has:this is not here"):
        make_databases({"catalog": "redis"}, containers)
