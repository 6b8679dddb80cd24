"""One connection through the gate: requests and answers between a client and the server, one to one.

Each client connection has a server connection of its own, made when the client connects and ended
in the way the other side ended: a server that hangs up on an idle client does so through the gate
too. Bodies pass in both directions at once and piece by piece; h11 does all reading and writing
of HTTP, so what it refuses (a request with two lengths) is refused here as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import h11

from backupchaos.links import sockets
from backupchaos.services.gate_answers import Dialect, phrase, refusal
from backupchaos.services.gate_side import CHUNK, Gone, Side
from backupchaos.services.lateness import Lateness
from backupchaos.services.misdeeds import Decision, Misdeed, Misdeeds

LINGER = 5.0
"""Seconds for a client to read an answer that came before it had sent everything."""


class Exchange:
    """All requests of one client connection."""

    def __init__(
        self, client: Side, server: Side, misdeeds: Misdeeds, lateness: Lateness, dialect: Dialect
    ) -> None:
        self.client = client
        self.server = server
        self.misdeeds = misdeeds
        self.dialect = dialect
        self._lateness = lateness
        self._waits_for_100 = False

    async def run(self) -> None:
        """Until one of the two hangs up; both sockets are closed then."""
        reset = False
        try:
            while (request := await self._next_request()) is not None and await self._one(request):
                self.client.http.start_next_cycle()
                if self.server.http.our_state is h11.DONE:
                    self.server.http.start_next_cycle()
        except Gone:
            reset = self.client.was_reset or self.server.was_reset
        except h11.LocalProtocolError:
            reset = True  # an answer that HTTP/1.1 cannot carry: the client must not take it for a whole one
        finally:
            for side in (self.client, self.server):
                (sockets.close_with_rst if reset else sockets.close_with_fin)(side.sock)

    async def _next_request(self) -> h11.Request | None:
        """What the client asks for next; None when either of them hangs up in between."""
        asked = asyncio.ensure_future(self.client.event())
        # A server says nothing unasked: what can be read from it now is its end of the connection.
        ended = asyncio.ensure_future(self.server.readable())
        try:
            await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                self.server.was_reset = sockets.tcp_state(self.server.sock) == sockets.CLOSED
                if self.server.was_reset:
                    raise Gone("the server hung up")
                return None
            event = await asked
        finally:
            await _end(asked, ended)
        return event if isinstance(event, h11.Request) else None

    async def _one(self, request: h11.Request) -> bool:
        """Serve one request; False when the connection is to be closed."""
        method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
        expects = [value.lower() for name, value in request.headers if name == b"expect"]
        self._waits_for_100 = b"100-continue" in expects
        decision = self.misdeeds.decide(method, target)
        if decision.refused_by is not None:
            return await self._refuse(decision, decision.refused_by, method, target)
        await self.server.send(
            h11.Request(method=request.method, target=request.target, headers=request.headers.raw_items())
        )
        return await self._relay(decision)

    # -- answers of our own ---------------------------------------------------------------------

    async def _refuse(self, decision: Decision, misdeed: Misdeed, method: str, target: str) -> bool:
        """Answer in the server's place, after the request is read whole: so no client sees a reset instead."""
        read_body = not self._waits_for_100
        while read_body and not isinstance(await self.client.event(), h11.EndOfMessage):
            pass
        await self._lateness.wait(decision)
        status, headers, body = refusal(misdeed, self.dialect, target.partition("?")[0])
        if not read_body:
            headers.append(("Connection", "close"))
        answer = h11.Response(status_code=status, headers=headers, reason=phrase(status))
        await self.client.send(answer)
        if method != "HEAD":
            await self.client.send(h11.Data(data=body))
        await self.client.send(h11.EndOfMessage())
        self.misdeeds.carried_out(decision)
        if not read_body:
            await self._linger()
        return self.client.done

    # -- passing on -----------------------------------------------------------------------------

    async def _relay(self, decision: Decision) -> bool:
        """Request and answer at once; the answer may come before the request is whole."""
        tasks = [asyncio.ensure_future(self._upload()), asyncio.ensure_future(self._answer(decision))]
        upload, answer = tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if upload.done() and upload.result():
                tasks.append(asyncio.ensure_future(self._hang_up()))
            await answer
            if upload.done():
                taken = bool(upload.result())
            else:
                # An answer that ends the connection, or that came in place of a 100: the rest is not wanted.
                ends = self._waits_for_100 or self.client.http.our_state is not h11.DONE
                taken = not ends and bool(await upload)
            if not taken:
                await _end(upload)
                await self._linger()
            return taken and self.client.done and self.server.done
        finally:
            await _end(*tasks)

    async def _hang_up(self) -> None:
        """A client that does not wait for its answer: the server learns of it as it would without us."""
        try:
            if isinstance(await self.client.event(), h11.ConnectionClosed):
                self.server.sock.shutdown(socket.SHUT_WR)
        except Gone:
            self.server.sock.shutdown(socket.SHUT_RDWR)

    async def _upload(self) -> bool:
        """The request's body; False if the server takes no more, which is no error: it may have answered."""
        while True:
            event = await self.client.event()
            try:
                if isinstance(event, h11.Data):
                    await self.server.send(h11.Data(data=event.data))
                elif isinstance(event, h11.EndOfMessage):
                    await self.server.send(h11.EndOfMessage(headers=event.headers.raw_items()))
                    return True
                else:
                    raise Gone("the client broke off")
            except Gone:
                if self.client.was_reset or not self.server.was_reset:
                    raise
                return False

    async def _answer(self, decision: Decision) -> None:
        """The server's answer, whole; raises ``Gone`` if it breaks off."""
        while True:
            event = await self.server.event()
            if isinstance(event, h11.InformationalResponse):
                self._waits_for_100 = False
                headers = event.headers.raw_items()
                await self.client.send(
                    h11.InformationalResponse(
                        status_code=event.status_code, headers=headers, reason=event.reason
                    )
                )
            elif isinstance(event, h11.Response):
                await self._lateness.wait(decision)
                await self.client.send(
                    h11.Response(
                        status_code=event.status_code, headers=event.headers.raw_items(), reason=event.reason
                    )
                )
                self.misdeeds.carried_out(decision)
            elif isinstance(event, h11.Data):
                await self.client.send(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self.client.send(h11.EndOfMessage(headers=event.headers.raw_items()))
                return
            else:
                raise Gone("the server broke off")

    async def _linger(self) -> None:
        """Let the client read the answer: closing while it still sends would reset it away."""
        loop, sock = self.client.loop, self.client.sock
        with contextlib.suppress(OSError, TimeoutError):
            sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(LINGER):
                while await loop.sock_recv(sock, CHUNK):
                    pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """End what is still running, and take notice of every outcome."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Gone, OSError):
            await task
