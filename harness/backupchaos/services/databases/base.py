"""The seam to databases: what to start, how to know that it works, what clients must know.

A database is real or it is not there: its own server, its own authentication, its own client for the health
check. It keeps what it has acknowledged also when it is killed, or a job would be blamed for what it lost.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Sequence
from typing import Protocol

from backupchaos.commands import Command, Completed
from backupchaos.targets.base import DatabaseKind, Tier

LOOPBACK = "127.0.0.1"
NOBODY = 65534
"""The uid of ``nobody``: it has a name on every machine, which initdb asks for."""


class Database(Protocol):
    """One database server of one run. ``home`` is a directory of its own, ``port`` one of 127.0.0.1.

    In a container of its image its programs are those on the image's PATH: a command that names one by its path
    on this machine is looked up there by its name.
    """

    kind: DatabaseKind
    name: str
    """The program in words, for the report."""
    image: str
    """The official image with this server, pinned to a release line."""
    user: int | None
    """Whom it is run as where it would else be root; None if it does not mind."""

    def available(self) -> None:
        """Find its programs; raises ``MissingCapability`` with what to install."""

    def expose(self) -> Sequence[str]:
        """Host paths of its programs that a sandbox must show."""

    def files(self, home: str) -> Sequence[tuple[str, bytes, int]]:
        """(path, content, mode) of what is written below ``home`` before anything is run."""

    def preparations(self, home: str) -> Sequence[Command]:
        """Commands that make an empty database, once."""

    def command(self, home: str, port: int) -> Command:
        """Serve; runs until it is killed, and can be started again over the same ``home``."""

    def ask(self, port: int) -> Command:
        """Log in with the password and ask something that only a working server answers."""

    def answered(self, done: Completed) -> bool:
        """Whether that was the answer."""

    def tier(self, host: str, port: int) -> Tier:
        """What a client must know that reaches it at this address."""


def secret() -> str:
    """A password of this run, of letters and digits only: it stands in URLs and configuration files as it is."""
    return secrets.token_hex(16)


def below(home: str, name: str) -> str:
    """A path in the database's own directory."""
    return posixpath.join(home, name)
