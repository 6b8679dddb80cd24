"""One side of a connection through the gate: a socket, and what h11 knows about it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11

CHUNK = 1 << 17
HEADERS_LIMIT = 1 << 18


class Gone(Exception):
    """The peer has hung up (in mid-message), or was cut off."""


class Side:
    """One socket and what h11 knows about it."""

    def __init__(self, sock: socket.socket, role: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.sock = sock
        self.http = h11.Connection(role, max_incomplete_event_size=HEADERS_LIMIT)
        self.was_reset = False

    async def event(self) -> Any:
        """The next event; raises ``Gone`` when the peer broke off or speaks no HTTP."""
        while True:
            try:
                event = self.http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self.http.receive_data(await self._receive())
            except OSError as error:
                self.was_reset = True
                raise Gone(str(error)) from error
            except h11.RemoteProtocolError as error:
                raise Gone(str(error)) from error

    async def _receive(self) -> bytes:
        while True:
            try:
                return self.sock.recv(CHUNK)
            except BlockingIOError:
                await self.readable()

    async def readable(self) -> None:
        """Wait for data or an end. Nothing is read here, so nothing is lost when the waiting is broken off."""
        arrived: asyncio.Future[None] = self.loop.create_future()
        self.loop.add_reader(self.sock, _settle, arrived)
        try:
            await arrived
        finally:
            self.loop.remove_reader(self.sock)

    async def send(self, event: Any) -> None:
        """Send one event; raises ``Gone`` when the peer takes no more."""
        data = self.http.send(event)
        try:
            if data:
                await self.loop.sock_sendall(self.sock, data)
        except OSError as error:
            self.was_reset = True
            raise Gone(str(error)) from error

    @property
    def done(self) -> bool:
        """This request is over, and another may follow."""
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
