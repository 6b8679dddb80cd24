"""The HTTP side of the embedded server: h11 around ``api.Api``, one task per connection."""

from __future__ import annotations

import asyncio
import os
import socket

import h11

from backupchaos.links.api import Answer, Api
from backupchaos.links.registry import Registry

_BODY_LIMIT = 1 << 20
_READ_TIMEOUT = 15.0
_IDLE_TIMEOUT = 60.0


class Server:
    """Serves the API on a listening socket until the process ends."""

    def __init__(self, registry: Registry, sock: socket.socket) -> None:
        self._loop = registry.loop
        self._api = Api(registry)
        self._log = registry.log
        self._sock = sock
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Accept from now on."""
        self._loop.add_reader(self._sock, self._accept)
        self._accept()

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._serve(sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            while await self._one(http, sock):
                http.start_next_cycle()
        except (OSError, TimeoutError):
            pass  # the client is gone or says nothing: there is nobody to answer
        except h11.ProtocolError as error:
            if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                status = error.error_status_hint
                await self._answer(http, sock, Answer(status, b"bad request\n", "text/plain", routed=False))
        finally:
            sock.close()

    async def _one(self, http: h11.Connection, sock: socket.socket) -> bool:
        """Serve one request; False when the connection is to be closed."""
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    more = http.send(h11.InformationalResponse(status_code=100, headers=[]))
                    await self._loop.sock_sendall(sock, more)
                timeout = _READ_TIMEOUT if request is not None else _IDLE_TIMEOUT
                async with asyncio.timeout(timeout):
                    http.receive_data(await self._loop.sock_recv(sock, 1 << 16))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _BODY_LIMIT:
                    raise h11.RemoteProtocolError("body too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                await self._answer(http, sock, self._handle(request, bytes(body)))
                return http.our_state is h11.DONE and http.their_state is h11.DONE
            else:
                return False

    def _handle(self, request: h11.Request, body: bytes) -> Answer:
        agent = next((value for name, value in request.headers if name == b"user-agent"), b"")
        method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
        answer = self._api.handle(method, target, agent.decode("latin-1"), body)
        self._log.flush()  # who has the answer may look for what was done in the log
        return answer

    async def _answer(self, http: h11.Connection, sock: socket.socket, answer: Answer) -> None:
        headers: list[tuple[str, str]] = []
        if answer.kind:
            headers.append(("Content-Type", answer.kind))
        if answer.kind.startswith("text/plain"):
            headers.append(("X-Content-Type-Options", "nosniff"))
        if answer.routed:
            headers.append(("X-Toxiproxy-Request-Id", os.urandom(10).hex()))
        if answer.status != 204:
            headers.append(("Content-Length", str(len(answer.body))))
        data = http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if answer.body:
            data += http.send(h11.Data(data=answer.body)) or b""
        data += http.send(h11.EndOfMessage()) or b""
        async with asyncio.timeout(_READ_TIMEOUT):
            await self._loop.sock_sendall(sock, data)
