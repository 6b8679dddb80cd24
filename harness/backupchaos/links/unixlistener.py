"""A UNIX socket to listen on, as ``listener`` has it for TCP.

Its file holds the place: while nobody listens, a connect to it is refused, and nobody else can bind there. It is
open to its owner only, as a TCP link is open to this host only; whoever wants more changes the file's mode or
owner, and the link keeps what it finds. A file that was there before is never touched.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat

from backupchaos.links.addresses import PATH_LIMIT, Address
from backupchaos.links.listener import BACKLOG, Listener

_MODE = 0o600


class UnixListener(Listener):
    """A UNIX socket of one link. Raises OSError from the constructor when the path cannot be had."""

    def _hold(self, where: Address) -> Address:
        self._path = where.path
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(self._path)
        os.chmod(self._path, _MODE)
        self._remember()
        return where

    def _found(self) -> os.stat_result | None:
        try:
            return os.lstat(self._path)
        except FileNotFoundError:
            return None

    def _remember(self) -> None:
        found = os.lstat(self._path)
        self._known = found.st_dev, found.st_ino

    def _listening(self) -> socket.socket:
        """A new socket in place of the one that nobody listens on, in one step where the path leaves room."""
        found = self._found()
        if found is not None and self._known != (found.st_dev, found.st_ino):
            raise FileExistsError(errno.EEXIST, "somebody has put another file there", self._path)
        fresh = os.path.join(os.path.dirname(self._path), f".{secrets.token_hex(4)}")
        if len(os.fsencode(fresh)) > PATH_LIMIT:
            fresh = self._path
            if found is not None:
                os.unlink(fresh)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.bind(fresh)
            os.chmod(fresh, _MODE if found is None else stat.S_IMODE(found.st_mode))
            if found is not None and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(fresh, found.st_uid, found.st_gid)
            sock.listen(BACKLOG)
            if fresh != self._path:
                os.rename(fresh, self._path)
        except OSError:
            sock.close()
            raise
        self._remember()
        return sock

    def _fill(self) -> socket.socket:
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        filler.bind("")  # the kernel gives it a name of its own, by which accept knows it
        filler.connect_ex(self._path)
        return filler

    def close(self) -> None:
        """Stop to listen, and remove the file if it is still ours."""
        self.shut()
        found = self._found()
        if found is not None and self._known == (found.st_dev, found.st_ino):
            os.unlink(self._path)
