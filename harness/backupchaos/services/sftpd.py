"""A small SFTP server: one user, one directory, one address. Run as ``python -m backupchaos.services.sftpd``.

It must never be the culprit: what it acknowledges is written, what fails is answered with the
operating system's own words, and names, links and times are stored as they were sent. It has
no keep-alive of its own, since cutting silent clients would be a fault that nobody asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import io
import logging
import os
import posixpath
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import asyncssh

from backupchaos.services.base import LOOPBACK
from backupchaos.services.misdeeds import Misdeeds
from backupchaos.services.sftp_files import AUTHORIZED_KEYS, HOST_KEY, PASSWORD, USER
from backupchaos.services.sftp_misbehaving import Doorman, misbehaving, obeying

PASSWORD_VARIABLE = "BACKUPCHAOS_SFTPD_PASSWORD"  # noqa: S105 - the name of a variable
_GREETING_VERSION = "backupchaos"


class RootedSFTPServer(asyncssh.SFTPServer):
    """Serves one directory as ``/``; links cannot lead out of it."""

    def map_path(self, path: bytes) -> bytes:
        """The local path; raises ``SFTPPermissionDenied`` where a link in the middle leads out."""
        mapped = super().map_path(path)
        self._inside(os.path.dirname(mapped) if mapped != self._root else mapped)
        return mapped

    @property
    def _root(self) -> bytes:
        assert self._chroot is not None
        return self._chroot

    def _inside(self, local: bytes) -> None:
        real = os.path.realpath(local)
        if real != self._root and not real.startswith(self._root + b"/"):
            raise asyncssh.SFTPPermissionDenied("the path leads out of the served directory")

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """As in the base class, for files inside the root."""
        self._inside(self.map_path(path))
        return super().open(path, pflags, attrs)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write all of ``data`` or raise OSError.

        The base class acknowledges a short write as if it were whole, which is what a nearly full
        disk gives: the client would lose data through the server's fault.
        """
        file = cast(io.FileIO, file_obj)
        file.seek(offset)
        rest = memoryview(data)
        while rest:
            written = file.write(rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]
        return len(data)

    def readlink(self, path: bytes) -> bytes:
        """The text of the link, as it was stored."""
        return os.readlink(self.map_path(path))

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """Store the link's text as it was sent; following it stays confined by ``map_path``."""
        os.symlink(oldpath, self.map_path(newpath))

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        """A hard link (the base class would follow a symlink here)."""
        os.link(self.map_path(oldpath), self.map_path(newpath), follow_symlinks=False)

    def exit(self) -> None:
        """End the session with an exit status; without one ssh reports the failure 255 to its caller."""
        with contextlib.suppress(OSError):  # the client may be gone already
            self.channel.exit(0)


class _OneUser(asyncssh.SSHServer):
    """Lets in the one user, by password or by the key of ``authorized_keys``."""

    def __init__(self, password: str, doorman: Doorman | None) -> None:
        self._password = password.encode()
        self._doorman = doorman

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember who is here, where it may matter."""
        self._connection = conn
        if self._doorman is not None:
            self._doorman.came(conn)

    def begin_auth(self, username: str) -> bool:
        """Everybody must authenticate; once credentials have expired no key is a known one."""
        if self._expired:
            self._connection.set_authorized_keys(None)
        return True

    @property
    def _expired(self) -> bool:
        return self._doorman is not None and self._doorman.expired

    def public_key_auth_supported(self) -> bool:
        """Keys are asked for also when none is accepted any more: servers do not change their methods then."""
        return self._expired

    def password_auth_supported(self) -> bool:
        """Passwords are accepted."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Compare in constant time."""
        if self._doorman is not None and self._doorman.refuses("password"):
            return False
        same = secrets.compare_digest(password.encode(), self._password)
        return same and username == USER

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """No key but those of ``authorized_keys``, which asyncssh checks by itself."""
        if self._doorman is not None:
            self._doorman.refuses("publickey")
        return False


async def serve(
    directory: str,
    state: str,
    port: int,
    password: str,
    misdeeds: Misdeeds | None = None,
    *,
    listen: str = LOOPBACK,
) -> asyncssh.SSHAcceptor:
    """Listen on ``listen``:``port`` (0: any). Raises OSError if the port is taken or a key unreadable.

    With ``misdeeds`` it does what they say with each login and each request.
    """
    root = os.fsencode(os.path.realpath(directory))
    keys = posixpath.join(state, AUTHORIZED_KEYS)
    doorman = Doorman(misdeeds) if misdeeds is not None else None
    server = misbehaving(RootedSFTPServer, misdeeds) if misdeeds is not None else RootedSFTPServer
    return await asyncssh.listen(
        listen,
        port,
        config=None,
        server_factory=lambda: _OneUser(password, doorman),
        server_host_keys=[posixpath.join(state, HOST_KEY)],
        authorized_client_keys=keys if os.path.exists(keys) else None,
        sftp_factory=lambda channel: server(channel, chroot=root),
        server_version=_GREETING_VERSION,
        compression_algs=None,
        agent_forwarding=False,
        x11_forwarding=False,
        allow_scp=False,
        gss_host=None,
        login_timeout=60,
    )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="backupchaos.services.sftpd", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--directory", required=True, help="what clients see as /")
    parser.add_argument("--state", required=True, help="where the keys and the password are")
    parser.add_argument("--port", required=True, type=int, help="0 takes any free one")
    parser.add_argument(
        "--listen",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="default: %(default)s, which only this machine reaches",
    )
    parser.add_argument("--obey", type=int, metavar="SEED", help="take orders on descriptor 3, tell on 4")
    arguments = parser.parse_args(argv)
    for name in ("directory", "state"):
        if not os.path.isdir(getattr(arguments, name)):
            parser.error(f"--{name} {getattr(arguments, name)}: there is no such directory")
    return arguments


async def _forever(arguments: argparse.Namespace, password: str) -> None:
    misdeeds, ready = obeying(arguments.obey) if arguments.obey is not None else (None, None)
    acceptor = await serve(
        arguments.directory, arguments.state, arguments.port, password, misdeeds, listen=arguments.listen
    )
    if ready is not None:
        ready(acceptor.get_port())
    print(f"sftpd: listening on {arguments.listen}:{acceptor.get_port()}", file=sys.stderr, flush=True)  # noqa: T201
    await acceptor.wait_closed()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until killed; 1 with one line on standard error if that cannot be."""
    arguments = _arguments(argv)
    logging.basicConfig(format="sftpd: %(message)s", level=logging.WARNING)
    try:
        password = os.environ.get(PASSWORD_VARIABLE) or Path(arguments.state, PASSWORD).read_text("utf-8")
        asyncio.run(_forever(arguments, password.strip()))
    except (OSError, asyncssh.Error, ValueError) as error:
        print(f"sftpd: cannot serve: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
