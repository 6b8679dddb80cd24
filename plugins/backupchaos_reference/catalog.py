"""The catalog: a database outside, that is told of every job, for those who ask there and not in the log.

The job tells it of its registration, its states and its progress. Commands go out at once and are kept until they
are acknowledged; `settle` waits for that, tries again as the repository's link does, and raises when the catalog stays
away. A command has a number, and the catalog takes only what is newer than what it knows: what a dead connection
delivers late changes nothing.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Protocol
from urllib.parse import unquote, urlsplit

from backupchaos_reference import misbehaviour
from backupchaos_reference.errors import AccessError, EngineError, NetworkError, UsageError
from backupchaos_reference.log import timestamp
from backupchaos_reference.resp import Connection, ReplyError, encode
from backupchaos_reference.retry import Listener, Retrier
from backupchaos_reference.settings import Settings
from backupchaos_reference.states import State

WINDOW = 32
"""Commands under way at most; then their acknowledgements are waited for."""
FAREWELL = 2.0
"""Seconds for the last word of a job that has failed anyway."""
_APPLY = """\
local key = 'backup:job:' .. ARGV[1]
local known = tonumber(redis.call('HGET', key, 'number'))
if not known then redis.call('RPUSH', 'backup:jobs', ARGV[1]) end
if known and known >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', key, 'number', unpack(ARGV, 2))
return 1
"""
"""ARGV: the job, the command's number, and then pairs of a field and its value."""


class Catalog(Protocol):
    """What a job needs of one."""

    link: str
    """Its address, as it stands in the log."""

    def note(self, **fields: str | int) -> None:
        """Send what is new of the job; whether it arrives shows at the next `settle`. Never raises."""

    def progress(self, entries: int) -> None:
        """As `note`; but where too much is under way, wait for it. Raises EngineError."""

    def settle(self) -> None:
        """Wait until the catalog has acknowledged everything. Raises EngineError when it stays away."""

    def farewell(self) -> None:
        """`settle` once more, without another try and with little patience. Raises EngineError."""

    def close(self) -> None:
        """Hang up."""


class NoCatalog:
    """Nobody wants to be told."""

    link = ""

    def note(self, **fields: str | int) -> None:
        """See Catalog."""

    def progress(self, entries: int) -> None:
        """See Catalog."""

    def settle(self) -> None:
        """See Catalog."""

    def farewell(self) -> None:
        """See Catalog."""

    def close(self) -> None:
        """See Catalog."""


class RedisCatalog:
    """One catalog behind ``redis://user@host:port/number``."""

    def __init__(self, url: str, settings: Settings, job_id: str, listener: Listener) -> None:
        try:
            parts = urlsplit(url)
            port, database = parts.port or 6379, parts.path.strip("/") or "0"
        except ValueError as error:
            raise UsageError(f"catalog {url}: {error}") from None
        if parts.password:
            raise UsageError(
                "a password does not belong into the URL; set BACKUPCHAOS_REFERENCE_CATALOG_PASSWORD"
            )
        if parts.scheme != "redis" or not parts.hostname or not database.isdigit():
            raise UsageError(f"catalog {url} is not redis://user@host:port/number")
        self._address = parts.hostname, port
        self._user, self._database = unquote(parts.username or "default"), database
        self._password = settings.catalog_password
        self.link = f"redis://{parts.hostname}:{port}"
        self._timeout = None if misbehaviour.on("hang_on_dead_link") else settings.timeout
        self._job_id = job_id
        self._number = 0
        self._under_way: deque[bytes] = deque()
        self._connection: Connection | None = None
        self._lost: OSError | None = None
        """How the last connection went, if nobody has heard of it yet."""
        self._retrier = Retrier(settings, listener, self._hang_up)

    def note(self, **fields: str | int) -> None:
        """Number it, keep it, send it if there is a connection."""
        pairs = [word for pair in fields.items() for word in pair]
        command = encode("EVAL", _APPLY, 0, self._job_id, self._number, *pairs)
        self._number += 1
        self._under_way.append(command)
        if self._connection is not None:
            try:
                self._connection.send(command)
            except OSError as error:
                self._hang_up()
                self._lost = error  # the next settle has words for it, and sends everything again

    def progress(self, entries: int) -> None:
        """Tell it of each entry, without waiting for the answer to each."""
        self.note(entries=entries)
        if len(self._under_way) >= WINDOW:
            self.settle()

    def settle(self) -> None:
        """Try as often as any operation on a link."""
        if misbehaviour.on("ignores_catalog"):
            with contextlib.suppress(EngineError):
                self._settle(self._timeout)
            return
        self._retrier.call(lambda: self._settle(self._timeout), NetworkError)

    def farewell(self) -> None:
        """One try."""
        self._settle(FAREWELL if self._timeout is None else min(FAREWELL, self._timeout))

    def _settle(self, timeout: float | None) -> None:
        try:
            connection = self._connected(timeout)
            while self._under_way:
                connection.reply()
                self._under_way.popleft()
        except TimeoutError as error:
            self._hang_up()
            raise NetworkError(
                f"catalog link {self.link} is silent: no answer within {timeout or 0:g} s", link=self.link
            ) from error
        except ReplyError as error:
            self._hang_up()
            raise self._refused(str(error)) from error
        except OSError as error:
            self._hang_up()
            raise NetworkError(f"catalog link {self.link} failed: {error}", link=self.link) from error

    def _refused(self, words: str) -> EngineError:
        if words.startswith(("LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN")):
            return NetworkError(f"catalog link {self.link} failed: it is not ready: {words}", link=self.link)
        denied = words.startswith(("NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password"))
        kind = AccessError if denied else EngineError
        return kind(f"the catalog {self.link} refuses what it is told: {words}", link=self.link)

    def _connected(self, timeout: float | None) -> Connection:
        """A connection over which everything that is under way has been sent."""
        lost, self._lost = self._lost, None
        if lost is not None:
            raise lost
        if self._connection is not None:
            self._connection.patience(timeout)
            return self._connection
        connection = Connection(*self._address, timeout)
        try:
            if self._password:
                connection.send(encode("AUTH", self._user, self._password))
                connection.reply()
            connection.send(encode("SELECT", self._database))
            connection.reply()
            connection.send(b"".join(self._under_way))
        except BaseException:  # a signal, too: half a greeting is no connection
            connection.close()
            raise
        self._connection = connection
        return connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Leave; what was not acknowledged is lost."""
        self._hang_up()


def open_catalog(url: str, settings: Settings, job_id: str, listener: Listener) -> Catalog:
    """The catalog behind a URL; none if it is empty. Raises UsageError for a URL of another kind."""
    return RedisCatalog(url, settings, job_id, listener) if url else NoCatalog()


def registration(repository: str, source: str, trace_id: str) -> dict[str, str]:
    """What a catalog is told first of a job."""
    fields = {"repository": repository, "source": source, "trace_id": trace_id, "created": timestamp()}
    return {**fields, "state": State.PENDING}
