"""An SFTP server that does wrong when told to: fails requests, answers late, lets nobody in any more.

What a request does is decided by ``misdeeds``. A request that fails is not carried out; one that is
late is, and its answer waits. asyncssh serves the requests of a session one after the other, so
late answers add up, as they do with a server whose disk is slow. Closing a file never fails: its
handle would be lost, and nobody could say whether what was written is there.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncssh

from backupchaos.links.eventlog import EventLog
from backupchaos.services.lateness import Lateness
from backupchaos.services.misdeeds import Misdeed, Misdeeds, What
from backupchaos.services.orders import CONTROL_FD, EVENTS_FD, Orders

WORDS = "internal server error"
"""What the failure says; OpenSSH says ``Failure`` to everything."""
EXPIRED = "the credentials have expired"
_REQUESTS = (
    *(
        "open",
        "open56",
        "read",
        "write",
        "fsync",
        "lstat",
        "stat",
        "fstat",
        "setstat",
        "lsetstat",
        "fsetstat",
    ),
    *("remove", "mkdir", "rmdir", "realpath", "rename", "posix_rename", "readlink", "symlink", "link"),
    *("statvfs", "fstatvfs"),
)
_AT_THE_REQUEST: tuple[What, ...] = ("errors", "slow")


class Doorman:
    """Who is here, and who may come in; ends all sessions when credentials expire."""

    def __init__(self, misdeeds: Misdeeds) -> None:
        self._misdeeds = misdeeds
        self._here: set[asyncssh.SSHServerConnection] = set()
        misdeeds.changed.append(self._changed)

    @property
    def expired(self) -> bool:
        """Nobody may come in now."""
        return self._misdeeds.find("credentials") is not None

    def came(self, connection: asyncssh.SSHServerConnection) -> None:
        """Somebody has connected."""
        self._here = {other for other in self._here if not other.is_closed()}
        self._here.add(connection)

    def refuses(self, method: str) -> bool:
        """Whether this login is refused because of the expiry; a strike if so."""
        decision = self._misdeeds.decide("login", method, ("credentials",))
        self._misdeeds.carried_out(decision)
        return decision.refused_by is not None

    def _changed(self, misdeed: Misdeed, in_force: bool) -> None:
        if misdeed.what != "credentials" or not in_force:
            return
        for connection in self._here:
            if not connection.is_closed():
                user = connection.get_extra_info("username") or "nobody"
                self._misdeeds.tell("cut", misdeed, user=str(user))
                connection.disconnect(asyncssh.DISC_BY_APPLICATION, EXPIRED)
        self._here.clear()


class _Requests:
    """The decisions for one session."""

    def __init__(self, misdeeds: Misdeeds, lateness: Lateness) -> None:
        self._misdeeds = misdeeds
        self._lateness = lateness
        self.inside = False
        """One request of the client calls other methods of the server; they are no requests."""

    async def serve(self, name: str, subject: object, call: Callable[[], Any]) -> Any:
        """Carry out one request, or not."""
        if self.inside:
            return await _result(call())
        decision = self._misdeeds.decide(name, _name(subject), _AT_THE_REQUEST)
        try:
            if decision.refused_by is not None:
                raise asyncssh.SFTPFailure(WORDS)
            self.inside = True
            return await _result(call())
        finally:
            self.inside = False
            await self._lateness.wait(decision)
            self._misdeeds.carried_out(decision)


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _name(subject: object) -> str:
    """The path of a request; of an open file its own."""
    path = subject if isinstance(subject, bytes) else getattr(subject, "name", b"")
    return os.fsdecode(path) if isinstance(path, bytes | str) else ""


def misbehaving(base: type[asyncssh.SFTPServer], misdeeds: Misdeeds) -> type[asyncssh.SFTPServer]:
    """A server class like ``base`` whose every request is decided by ``misdeeds``."""
    lateness = Lateness(misdeeds)

    class Misbehaving(base):  # type: ignore[valid-type,misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.requests = _Requests(misdeeds, lateness)

        async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
            async def listed() -> list[asyncssh.SFTPName]:
                return [name async for name in super(Misbehaving, self).scandir(path)]

            for name in await self.requests.serve("scandir", path, listed):
                yield name

    for name in _REQUESTS:
        setattr(Misbehaving, name, _decided(name, getattr(base, name)))
    return Misbehaving


def _decided(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def request(self: Any, subject: object, *arguments: Any) -> Any:
        return self.requests.serve(name, subject, lambda: original(self, subject, *arguments))

    return request


def obeying(seed: int) -> tuple[Misdeeds, Callable[[int], None]]:
    """Take orders from now on; returns what they are, and how to say on which port one serves."""
    loop = asyncio.get_running_loop()
    log = EventLog(loop, EVENTS_FD)
    misdeeds = Misdeeds(seed, log.emit, ("errors", "slow", "credentials"))
    Orders(loop, CONTROL_FD, log, misdeeds)
    return misdeeds, lambda port: log.emit("ready", port=port, pid=os.getpid())
