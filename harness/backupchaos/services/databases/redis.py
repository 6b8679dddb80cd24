"""Redis: the server and the client of the distribution."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from backupchaos.commands import Command, Completed
from backupchaos.errors import MissingCapability
from backupchaos.services.databases.base import LOOPBACK, below, secret
from backupchaos.targets.base import DatabaseKind, Tier

USER = "default"
"""The account that ``requirepass`` protects."""


class Redis:
    """Every write is in the append-only file, and on the disk, before it is acknowledged."""

    kind: DatabaseKind = "redis"
    name = "redis-server"
    image = "redis:7.4"
    user: int | None = None

    def __init__(self) -> None:
        self._password = secret()

    def available(self) -> None:
        """Both programs are on PATH."""
        for program in ("redis-server", "redis-cli"):
            if shutil.which(program) is None:
                raise MissingCapability("redis", f"{program} is not on PATH", "apt install redis-server")

    def expose(self) -> Sequence[str]:
        """They are the system's."""
        return ()

    def files(self, home: str) -> Sequence[tuple[str, bytes, int]]:
        """The configuration; a password on the command line could be read by the job."""
        lines = (
            f"requirepass {self._password}",
            f'dir "{home}"',
            f"bind {LOOPBACK}",
            "daemonize no",
            'logfile ""',
            "appendonly yes",
            "appendfsync always",
            'save ""',
        )
        return ((below(home, "redis.conf"), ("\n".join(lines) + "\n").encode(), 0o600),)

    def preparations(self, home: str) -> Sequence[Command]:
        """It makes what it needs itself."""
        return ()

    def command(self, home: str, port: int) -> Command:
        """The server."""
        return Command(
            ("redis-server", below(home, "redis.conf"), "--port", str(port)), secrets=(self._password,)
        )

    def ask(self, port: int) -> Command:
        """PING; without the password the answer is an error, and the client's exit code 0 all the same."""
        env = {"REDISCLI_AUTH": self._password}
        return Command(("redis-cli", "-h", LOOPBACK, "-p", str(port), "ping"), env, secrets=(self._password,))

    def answered(self, done: Completed) -> bool:
        """PONG."""
        return done.ok and done.stdout.strip() == "PONG"

    def tier(self, host: str, port: int) -> Tier:
        """Database 0."""
        return Tier(self.kind, host, port, USER, self._password, "0")
