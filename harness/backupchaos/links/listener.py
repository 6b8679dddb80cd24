"""A listening port that stays ours while nobody listens on it.

Two sockets share the port: the *holder* is bound and never listens, the *listener* comes and
goes. While the listener is away a connect gets ECONNREFUSED, as from a dead server, and no
other program can take the port, because the holder then refuses to share it.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from backupchaos.links.sockets import resolve

BACKLOG = 1024


class Accepted(NamedTuple):
    """A connection taken from the queue, with the client's port."""

    sock: socket.socket
    port: int


class Listener:
    """The port of one link. Raises OSError from the constructor when the address cannot be had."""

    def __init__(self, host: str, port: int) -> None:
        family, address = resolve(host)
        self.family = family
        self._holder = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.bind((address, port))
            self.host, self.port = self._holder.getsockname()[:2]
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        except OSError:
            self._holder.close()
            raise
        self._filler: socket.socket | None = None
        self.sock: socket.socket | None = None

    def open(self) -> socket.socket:
        """Start to listen; the port was ours all along."""
        if self.sock is None:
            sock = socket.socket(self.family, socket.SOCK_STREAM)
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((self.host, self.port))
                sock.listen(BACKLOG)
            except OSError:
                sock.close()
                raise
            finally:
                self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            self.sock = sock
        return self.sock

    def accept(self) -> Accepted | None:
        """The next waiting connection, or None; our own filler is skipped."""
        while self.sock is not None:
            try:
                sock, address = self.sock.accept()
            except OSError:
                return None
            if self._filler is not None and address[1] == self._filler.getsockname()[1]:
                sock.close()
                continue
            return Accepted(sock, address[1])
        return None

    def shut(self) -> None:
        """Stop to listen; connects are refused, the port stays held."""
        self._drop_filler()
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def block(self) -> None:
        """Fill the accept queue, so that the kernel drops every further SYN: nobody answers."""
        sock = self.open()
        sock.listen(0)
        if self._filler is None:
            self._filler = socket.socket(self.family, socket.SOCK_STREAM)
            self._filler.setblocking(False)
            self._filler.connect_ex((self.host, self.port))

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
        """Give the port back."""
        self.shut()
        self._holder.close()
