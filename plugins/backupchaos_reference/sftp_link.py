"""The SSH connection: asyncssh on a private event loop, every single request under a time-out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncssh

from backupchaos_reference import misbehaviour, signals
from backupchaos_reference.errors import (
    AccessError,
    DiskFullError,
    EngineError,
    MissingError,
    NetworkError,
    UsageError,
)
from backupchaos_reference.settings import Settings

T = TypeVar("T")
Operation = Callable[[asyncssh.SFTPClient], Coroutine[Any, Any, T]]

# In Python the cipher is what a request costs: this order takes 0.7 ms for a round trip where asyncssh's own takes
# 1.1 ms. What is stored has been sealed before, so none of them has to keep a secret.
_CIPHERS = ("aes128-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")

_KNOWN: dict[type[asyncssh.SFTPError], type[EngineError]] = {
    asyncssh.SFTPNoConnection: NetworkError,
    asyncssh.SFTPConnectionLost: NetworkError,
    asyncssh.SFTPPermissionDenied: AccessError,
    asyncssh.SFTPWriteProtect: AccessError,
    asyncssh.SFTPNoSuchFile: MissingError,
    asyncssh.SFTPNoSuchPath: MissingError,
    asyncssh.SFTPNoSpaceOnFilesystem: DiskFullError,
    asyncssh.SFTPQuotaExceeded: DiskFullError,
}


class SftpLink:
    """One server; connects when an operation needs it, and again after `disconnect`."""

    def __init__(self, url: str, settings: Settings) -> None:
        try:
            parts = urlsplit(url)
            self._port = parts.port or 22
        except ValueError as error:
            raise UsageError(f"repository {url}: {error}") from None
        self.root = unquote(parts.path)
        self._user = unquote(parts.username or "")
        self._host = parts.hostname or ""
        if parts.password:
            raise UsageError(
                "a password does not belong into the URL; set BACKUPCHAOS_REFERENCE_SFTP_PASSWORD"
            )
        if not self._host or not self._user or len(self.root) < 2:
            raise UsageError(f"repository {url} is not sftp://user@host:port/absolute/path")
        self.name = f"sftp://{self._host}:{self._port}"
        self._password = settings.sftp_password
        self._keys = _keys(settings)
        self._known_hosts = _known_hosts(settings)
        self._timeout = None if misbehaviour.on("hang_on_dead_link") else settings.timeout
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        # Records of these loggers would tear our log apart; every error reaches us as an exception.
        for logger in ("asyncssh", "asyncio"):
            logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
        self._unanswered: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        # Names are resolved in threads. A signal that the kernel gives to one of them would wake nobody.
        self._loop.set_default_executor(ThreadPoolExecutor(2, "resolver", signals.leave_to_main_thread))
        self._loop.set_exception_handler(lambda loop, context: None)

    def run(self, what: str, path: str, operation: Operation[T], *, writes: int = 0) -> T:
        """Run `operation`, connected.  `writes` is the space in bytes that it needs.  Raises EngineErrors only."""

        async def connected() -> T:
            return await operation(await self._connected())

        try:
            return self._loop.run_until_complete(connected())
        except TimeoutError as error:
            raise NetworkError(
                f"link {self.name} is silent: no answer to {what} {path} within {self._timeout or 0:g} s",
                path=path,
                link=self.name,
            ) from error
        except asyncssh.PermissionDenied as error:
            raise AccessError(
                f"{self.name} refuses the login of {self._user}: {error}", link=self.name
            ) from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise AccessError(
                f"{self.name} has not the expected host key: {error}", link=self.name
            ) from error
        except asyncssh.SFTPError as error:
            raise self._engine_error(error, what, path, writes) from error
        except (OSError, asyncssh.Error) as error:
            text = str(error) or type(error).__name__
            raise NetworkError(
                f"link {self.name} failed at {what} {path}: {text}", path=path, link=self.name
            ) from error

    def _engine_error(self, error: asyncssh.SFTPError, what: str, path: str, writes: int) -> EngineError:
        text = error.reason or type(error).__name__
        kind = _KNOWN.get(type(error), EngineError)
        if kind is EngineError and writes:
            if "space" in text.lower() or "quota" in text.lower() or self._is_full(writes):
                kind = DiskFullError
            else:
                text = f"repository refused the write (perhaps full): {text}"
        if kind is DiskFullError:
            text = f"disk full: {text}"
        return kind(f"{self.name} at {what} {path}: {text}", path=path, link=self.name)

    def _is_full(self, needed: int) -> bool:
        """Ask the server (statvfs@openssh.com); most servers report a full disk as a mere failure."""
        client = self._client
        if client is None:
            return False

        async def ask() -> bool:
            answer = await self.timed(client.statvfs(self.root))
            return answer.bavail * answer.frsize < needed or (answer.files > 0 and answer.favail == 0)

        try:
            return self._loop.run_until_complete(ask())
        except (OSError, asyncssh.Error):
            return False

    async def timed(self, awaitable: Awaitable[T]) -> T:
        """One request and its answer; TimeoutError when that takes too long."""
        return await asyncio.wait_for(awaitable, self._timeout)

    def later(self, request: Coroutine[Any, Any, object]) -> None:
        """Send a request whose answer changes nothing; the next operation goes on without waiting for it."""
        task = self._loop.create_task(request)
        self._unanswered.add(task)
        task.add_done_callback(self._unanswered.discard)

    async def timed_all(self, requests: list[Coroutine[Any, Any, T]]) -> list[T]:
        """Send all requests at once; the time-out starts anew with every answer, so slow is not silent."""
        tasks = [asyncio.ensure_future(request) for request in requests]
        waiting: set[asyncio.Task[T]] = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise TimeoutError
                for task in done:
                    task.result()
        finally:
            for task in waiting:
                task.cancel()
        return [task.result() for task in tasks]

    async def _connected(self) -> asyncssh.SFTPClient:
        if self._client is not None:
            return self._client
        self._connection = await self.timed(
            asyncssh.connect(
                self._host,
                self._port,
                config=None,
                username=self._user,
                password=self._password,
                known_hosts=self._known_hosts,
                client_keys=self._keys,
                encryption_algs=_CIPHERS,
                agent_path=None,
                connect_timeout=self._timeout,
                login_timeout=self._timeout or 0,
            )
        )
        self._client = await self.timed(self._connection.start_sftp_client())
        return self._client

    def disconnect(self) -> None:
        """Cut the connection without waiting for the other side, and let its tasks end."""
        connection, self._client, self._connection = self._connection, None, None
        if connection is not None:
            connection.abort()
        # Gathered here and not in a coroutine: a signal may have stopped an earlier disconnect half way, and two
        # coroutines that each end all the others end one another.
        others = asyncio.all_tasks(self._loop)
        for task in others:
            task.cancel()
        if others:
            self._loop.run_until_complete(asyncio.wait(others, timeout=1))

    def close(self) -> None:
        """Take leave of the server (for a second at most) and give the loop back."""
        if self._loop.is_closed():
            return
        connection = self._connection
        if connection is not None and self._client is not None:

            async def leave() -> None:
                connection.close()
                await asyncio.wait_for(connection.wait_closed(), 1)

            with contextlib.suppress(OSError, asyncssh.Error):
                self._loop.run_until_complete(leave())
        self.disconnect()
        self._loop.close()


def _keys(settings: Settings) -> list[asyncssh.SSHKey] | None:
    """The key to log in with; None for none, not even those of the user's own."""
    if settings.sftp_key is None:
        return None
    try:
        return [asyncssh.read_private_key(settings.sftp_key)]
    except (OSError, asyncssh.KeyImportError) as error:
        raise UsageError(
            f"BACKUPCHAOS_REFERENCE_SFTP_KEY={settings.sftp_key} cannot be used: {error}"
        ) from None


def _known_hosts(settings: Settings) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[Any]] | None:
    """The one key that is trusted; None trusts any."""
    if settings.sftp_host_key:
        try:
            return [asyncssh.import_public_key(settings.sftp_host_key)], [], []
        except asyncssh.KeyImportError as error:
            raise UsageError(f"BACKUPCHAOS_REFERENCE_SFTP_HOST_KEY is no public key: {error}") from None
    if settings.insecure_host_key:
        return None
    raise UsageError(
        "the server's host key is unknown: set BACKUPCHAOS_REFERENCE_SFTP_HOST_KEY to its public key line,"
        " or accept any with --insecure-host-key"
    )
