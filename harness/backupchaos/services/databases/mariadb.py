"""MariaDB: the server and the client of the distribution; its configuration files are not read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from backupchaos.commands import Command, Completed
from backupchaos.errors import MissingCapability
from backupchaos.services.databases.base import LOOPBACK, below, secret
from backupchaos.targets.base import DatabaseKind, Tier

USER = "backup"
DATABASE = "backup"
PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb")
_SBIN = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"
"""An ordinary user's PATH has no folder of servers."""
_INIT = """\
CREATE DATABASE IF NOT EXISTS {database};
CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';
GRANT ALL ON {database}.* TO '{user}'@'%';
ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';
DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');
FLUSH PRIVILEGES;
"""
_LEAN = (
    "--skip-name-resolve",
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=8M",
    "--innodb-flush-log-at-trx-commit=1",
    "--performance-schema=OFF",
    "--loose-innodb-doublewrite=1",
)


def _program(name: str) -> str:
    """Where it is on this machine; only its name where it is not, which is enough in a container."""
    return shutil.which(name) or shutil.which(name, path=_SBIN) or name


def _find(program: str) -> None:
    if _program(program) == program:
        hint = "apt install mariadb-server-core mariadb-client-core"
        raise MissingCapability("mariadb", f"{program} is not on PATH", hint)


class MariaDb:
    """Accounts by password over TCP; each commit is on the disk before it is acknowledged."""

    kind: DatabaseKind = "mariadb"
    name = "mariadbd"
    image = "mariadb:11.4"
    user: int | None = None

    def __init__(self) -> None:
        self._password = secret()

    def available(self) -> None:
        """All programs are there."""
        for program in PROGRAMS:
            _find(program)

    def expose(self) -> Sequence[str]:
        """They are the system's."""
        return ()

    def files(self, home: str) -> Sequence[tuple[str, bytes, int]]:
        """Statements that are carried out at every start, before anybody is let in."""
        text = _INIT.format(user=USER, database=DATABASE, password=self._password)
        return ((below(home, "init.sql"), text.encode(), 0o600),)

    def preparations(self, home: str) -> Sequence[Command]:
        """An empty system database."""
        words = ("--auth-root-authentication-method=normal", "--skip-test-db", "--user=root")
        argv = (_program("mariadb-install-db"), "--no-defaults", f"--datadir={below(home, 'data')}", *words)
        return (Command((*argv, "--innodb-log-file-size=4M", "--cross-bootstrap")),)

    def command(self, home: str, port: int) -> Command:
        """The server; root may be root here, where it is alone."""
        places = (
            f"--datadir={below(home, 'data')}",
            f"--socket={below(home, 'socket')}",
            f"--pid-file={below(home, 'pid')}",
            f"--init-file={below(home, 'init.sql')}",
        )
        reach = (f"--port={port}", f"--bind-address={LOOPBACK}", "--user=root")
        return Command(
            (_program("mariadbd"), "--no-defaults", *places, *reach, *_LEAN), secrets=(self._password,)
        )

    def ask(self, port: int) -> Command:
        """One query."""
        account = ("-h", LOOPBACK, "-P", str(port), "-u", USER, "--protocol=tcp", "--connect-timeout=5")
        argv = (_program("mariadb"), "--no-defaults", *account, "-N", "-B", "-e", "select 6 * 7", DATABASE)
        return Command(argv, {"MYSQL_PWD": self._password}, secrets=(self._password,))

    def answered(self, done: Completed) -> bool:
        """Its result."""
        return done.ok and done.stdout.strip() == "42"

    def tier(self, host: str, port: int) -> Tier:
        """A database of its own."""
        return Tier(self.kind, host, port, USER, self._password, DATABASE)
