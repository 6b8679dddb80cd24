"""The seam to repository servers: what to start, how to know it is up, where clients find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from backupchaos.commands import Command
from backupchaos.services.misdeeds import What
from backupchaos.targets.base import Location, RepositoryType

LOOPBACK = "127.0.0.1"


class Service(Protocol):
    """A server for one kind of repository. ``port`` is chosen by the engine, on 127.0.0.1."""

    kind: RepositoryType
    name: str
    """The program in words, for the report: ``rclone serve sftp``, ``asyncssh``."""

    def available(self) -> None:
        """Raise ``MissingCapability`` if the server cannot be run on this machine."""

    def files(self, state: str) -> Sequence[tuple[str, bytes, int]]:
        """(path, content, mode) of configuration and keys to write below ``state`` before the start."""

    def command(self, directory: str, state: str, port: int) -> Command:
        """Serve ``directory`` on 127.0.0.1:``port``; runs until it is killed. ``files`` was asked for before."""

    def greeting(self) -> bytes | None:
        """The first bytes a healthy server sends by itself (``b"SSH-"``), or None if clients speak first."""

    def location(self, port: int) -> Location:
        """How a client reaches it through ``127.0.0.1:port`` (the link's port); ``command`` was asked for before."""


@runtime_checkable
class Imaged(Protocol):
    """A service that can also be started in a container; whether it is available on this machine is no matter then."""

    image: str
    """The image that has the program, pinned; without a registry ``docker/build`` makes one of that name."""

    def command_in_image(self, directory: str, state: str, port: int, listen: str) -> Command:
        """The same as ``command`` inside the image, as its root, without the image's own entry point.

        The program has its name there, the paths are those of the container. ``listen`` is 0.0.0.0 where
        clients come from other containers.
        """


@runtime_checkable
class Asked(Protocol):
    """A service that listens before it can serve, and says so when it is asked."""

    def question(self) -> tuple[bytes, bytes]:
        """(What to send, how the answer begins as soon as it serves.)"""


@runtime_checkable
class Furnished(Protocol):
    """A service that serves directories of its directory, which must be there for clients to find."""

    def folders(self, directory: str) -> Sequence[str]:
        """What to make below the served directory before every start."""


@runtime_checkable
class Storing(Protocol):
    """A service whose files are not named as its clients named them, or that has some of its own among them."""

    def client_name(self, stored: str) -> str | None:
        """The name by which clients know a file, from its path below the served directory; None for its own ones."""


@runtime_checkable
class Obedient(Protocol):
    """A service that can be told to answer wrongly; HTTP servers need not be, a gate does it for them."""

    can: frozenset[What]
    """What it can do."""

    def obeying(self, command: Command, seed: int) -> Command:
        """``command`` so that the server takes orders on descriptor 3 and tells events on 4 (``orders``)."""


@runtime_checkable
class Forgetful(Protocol):
    """A service that may lose what it has acknowledged, or leave its own rubbish, when it is killed."""

    forgets: str
    """What it loses, in words; empty for nothing. A tool must not be blamed for that."""


@runtime_checkable
class Retracting(Protocol):
    """A service that may take back what it has acknowledged, when an older upload of the same name ends."""

    retracts: str
    """What it takes back, in words; empty for nothing. A tool must not be blamed for that."""


@runtime_checkable
class Terse(Protocol):
    """A service that tells its clients less than what happened to it."""

    terse: Mapping[str, str]
    """Kind of fault on its disk -> a pattern of what clients are told in the place of the cause, as they repeat it.

    A tool that says this much has named the cause as far as it could know it.
    """
