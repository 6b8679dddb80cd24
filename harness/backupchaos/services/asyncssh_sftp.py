"""The default SFTP service: our own server program on asyncssh, which comes with pip alone."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from backupchaos.commands import Command
from backupchaos.environments.docker.names import PYTHON_IMAGE
from backupchaos.errors import MissingCapability
from backupchaos.services.base import LOOPBACK
from backupchaos.services.misdeeds import What
from backupchaos.services.sftp_files import CLIENT_KEY, USER, Credentials
from backupchaos.targets.base import Location, RepositoryType
from backupchaos.targets.interpreter import python_command

SERVER = "backupchaos.services.sftpd"
_IN_IMAGE = {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
REPOSITORY = "/repository"
"""Where targets keep their repository, below the served directory."""


def _arguments(directory: str, state: str, port: int, listen: str) -> tuple[str, ...]:
    return ("--directory", directory, "--state", state, "--listen", listen, "--port", str(port))


class AsyncsshService:
    """SFTP with POSIX rename, fsync, statvfs and hard links; no shell behind it."""

    kind: RepositoryType = "sftp"
    name = "asyncssh"
    image = PYTHON_IMAGE
    can: frozenset[What] = frozenset({"errors", "slow", "credentials"})
    """Not ``throttle``: in SFTP nothing can be said that means "come back later"."""

    def __init__(self) -> None:
        self._credentials = Credentials()
        self._key_file = ""

    def available(self) -> None:
        """Raise ``MissingCapability`` without asyncssh."""
        if find_spec("asyncssh") is None:
            raise MissingCapability(
                "sftp", "the Python package asyncssh is not installed", "pip install asyncssh"
            )

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """Host key, client key and password of this run."""
        self._key_file = posixpath.join(state, CLIENT_KEY)
        return self._credentials.files(state)

    def command(self, directory: str, state: str, port: int) -> Command:
        """The server program; its password is in a file below ``state``."""
        arguments = _arguments(directory, state, port, LOOPBACK)
        return python_command(SERVER, arguments, secrets=(self._credentials.password,))

    def command_in_image(self, directory: str, state: str, port: int, listen: str) -> Command:
        """The image's own Python finds the package by itself."""
        argv = ("python3", "-m", SERVER, *_arguments(directory, state, port, listen))
        return Command(argv, _IN_IMAGE, secrets=(self._credentials.password,))

    def obeying(self, command: Command, seed: int) -> Command:
        """The same server with a control descriptor."""
        return replace(command, argv=(*command.argv, "--obey", str(seed)))

    def greeting(self) -> bytes | None:
        """SSH servers speak first."""
        return b"SSH-"

    def location(self, port: int) -> Location:
        """Password and key both work; the key file is known once ``files`` was asked for."""
        return Location(
            "sftp",
            REPOSITORY,
            host=LOOPBACK,
            port=port,
            user=USER,
            password=self._credentials.password,
            host_key=self._credentials.host_key,
            key_file=self._key_file,
        )
