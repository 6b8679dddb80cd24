"""A place to listen on that stays ours while nobody listens there.

TCP: two sockets share the port. The *holder* is bound and never listens, the *listener* comes and goes. While
it is away a connect gets ECONNREFUSED, as from a dead server, and no other program can take the port,
because the holder then refuses to share it. For UNIX sockets see ``unixlistener``.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from backupchaos.links import sockets
from backupchaos.links.addresses import Address

BACKLOG = 1024


class Accepted(NamedTuple):
    """A connection taken from the queue, with the client's port (0 of a UNIX socket)."""

    sock: socket.socket
    port: int


class Listener:
    """A TCP port of one link. Raises OSError from the constructor when the address cannot be had."""

    def __init__(self, where: Address) -> None:
        self.sock: socket.socket | None = None
        self._filler: socket.socket | None = None
        self.address = self._hold(where)

    def _hold(self, where: Address) -> Address:
        self._holder = socket.socket(where.family, socket.SOCK_STREAM)
        try:
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.bind(where.target)
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            return Address(*self._holder.getsockname()[:2])
        except OSError:
            self._holder.close()
            raise

    def open(self) -> socket.socket:
        """Start to listen; the port was ours all along."""
        if self.sock is None:
            self.sock = self._listening()
        return self.sock

    def _listening(self) -> socket.socket:
        sock = socket.socket(self.address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(self.address.target)
            sockets.hurry(sock)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        finally:
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return sock

    def accept(self) -> Accepted | None:
        """The next waiting connection, or None; our own filler is skipped. Raises OSError if no more can be had."""
        while self.sock is not None:
            try:
                sock, address = self.sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return None
            if self._filler is not None and address == self._filler.getsockname():
                sock.close()
                continue
            return Accepted(sock, address[1] if self.address.port else 0)
        return None

    def shut(self) -> None:
        """Stop to listen; connects are refused, the place stays held."""
        self._drop_filler()
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def block(self) -> None:
        """Fill the accept queue: nobody answers. The kernel drops every further SYN then."""
        self.open().listen(0)
        if self._filler is None:
            self._filler = self._fill()

    def _fill(self) -> socket.socket:
        filler = socket.socket(self.address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        filler.connect_ex(self.address.target)
        return filler

    def unblock(self) -> list[Accepted]:
        """Undo ``block``; returns the connections that were in the queue meanwhile."""
        waiting = []
        while (accepted := self.accept()) is not None:
            waiting.append(accepted)
        self._drop_filler()
        if self.sock is not None:
            self.sock.listen(BACKLOG)
        return waiting

    def _drop_filler(self) -> None:
        if self._filler is not None:
            self._filler.close()
            self._filler = None

    def close(self) -> None:
        """Give the place back."""
        self.shut()
        self._holder.close()
