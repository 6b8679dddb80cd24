"""The gate, spoken to over 127.0.0.1: it passes everything on as it came, and says no when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backupchaos.services.gate import Gate
from backupchaos.services.gate_answers import Dialect
from backupchaos.services.misdeeds import Misdeeds

LIMIT = 10.0
"""Seconds after which a test has failed; nothing here takes a second."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Ground:
    """A scripted server, the gate in front of it, and what the gate told."""

    def __init__(self, dialect: Dialect, serve: Callable[[Ground, Streams], Awaitable[Any]]) -> None:
        self.events: list[dict[str, Any]] = []
        self.misdeeds = Misdeeds(7, lambda ev, **data: self.events.append({"ev": ev, **data}))
        self.dialect = dialect
        self.served = 0
        """Connections that reached the server."""
        self.outcomes: list[Any] = []
        """What the server's script returned or raised."""
        self._serve = serve
        self._clients: list[asyncio.StreamWriter] = []
        # Between the server's script and the client's.
        self.asked, self.started, self.full, self.over = (asyncio.Event() for _ in range(4))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        try:
            self.outcomes.append(await self._serve(self, (reader, writer)))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.outcomes.append(error)
        finally:
            writer.close()

    async def client(self) -> Streams:
        """A new connection to the gate."""
        streams = await asyncio.open_connection("127.0.0.1", self.port)
        self._clients.append(streams[1])
        return streams

    async def run(self, use: Callable[[Ground], Awaitable[Any]]) -> Any:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        upstream = server.sockets[0].getsockname()[1]
        self.gate = Gate(
            upstream,
            self.dialect,
            self.misdeeds,
            lambda ev, **data: self.events.append({"ev": ev, **data}),
        )
        self.port = self.gate.start()
        try:
            async with asyncio.timeout(LIMIT):
                result = await use(self)
        finally:
            for writer in self._clients:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            await self.gate.stop()
            server.close()
            while len(self.outcomes) < self.served:
                await asyncio.sleep(0)
        assert not [event for event in self.events if event["ev"] == "broken"]
        return result


def behind(
    serve: Callable[[Ground, Streams], Awaitable[Any]],
    use: Callable[[Ground], Awaitable[Any]],
    dialect: Dialect = "s3",
) -> tuple[Any, Ground]:
    ground = Ground(dialect, serve)
    return asyncio.run(ground.run(use)), ground


async def head_of(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """First line and headers of a message, names in lower case."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    return lines[0], {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    line, headers = await head_of(reader)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(line.split()[1]), headers, body


async def request(streams: Streams, text: bytes) -> tuple[int, dict[str, str], bytes]:
    streams[1].write(text)
    return await answer_of(streams[0])


async def echo(ground: Ground, streams: Streams) -> None:
    """Answers each request with its own head and body."""
    reader, writer = streams
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length: "):
                body = await reader.readexactly(int(line.split()[1]))
        text = head + body
        size = len(text)
        if head.startswith(b"HEAD "):
            text = b""
        writer.write(b"HTTP/1.1 200 Fine\r\nX-Odd-Case: kept\r\nContent-Length: %d\r\n\r\n" % size + text)


def test_a_request_and_its_answer_arrive_as_they_were_sent() -> None:
    sent = (
        b"PUT /bucket/a%20b?partNumber=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nX-Amz-Date: 2026\r\n"
        b"Authorization: AWS4-HMAC-SHA256 Signature=abc\r\nContent-Encoding: aws-chunked\r\n"
        b"Content-Length: 6\r\n\r\nab\0\r\nc"
    )

    async def use(ground: Ground) -> Any:
        return await request(await ground.client(), sent)

    (status, headers, body), ground = behind(echo, use)
    assert status == 200
    assert headers["x-odd-case"] == "kept"
    assert body == sent
    assert ground.misdeeds.requests == 1


def test_connections_are_kept_and_answers_without_a_body_are_understood() -> None:
    async def use(ground: Ground) -> Any:
        streams = await ground.client()
        for _ in range(3):
            assert (await request(streams, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
        streams[1].write(b"HEAD /k HTTP/1.1\r\nHost: x\r\n\r\n")
        assert int((await head_of(streams[0]))[1]["content-length"]) > 0
        # Were the body of the HEAD awaited, this answer would be taken for it.
        return await request(streams, b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n")

    (_, _, body), ground = behind(echo, use)
    assert body.startswith(b"GET /last ")
    assert (ground.served, ground.misdeeds.requests) == (1, 5)


def test_requests_that_are_sent_at_once_are_answered_in_order() -> None:
    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(20)))
        return [(await answer_of(reader))[2].split()[1] for _ in range(20)]

    assert behind(echo, use)[0] == [b"/%d" % n for n in range(20)]


def test_chunks_and_trailers_pass_both_ways() -> None:
    async def serve(ground: Ground, streams: Streams) -> Any:
        reader, writer = streams
        got = await reader.readuntil(b"x-check: 1\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Back: 2\r\n\r\n"
        )
        return got

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0\r\nx-check: 1\r\n\r\n"
        )
        return await reader.readuntil(b"X-Back: 2\r\n\r\n")

    answer, ground = behind(serve, use)
    assert b"3\r\nabc\r\n" in answer
    assert b"4\r\nwxyz\r\n" in ground.outcomes[0]


def test_bodies_are_not_collected() -> None:
    """The server answers from the first half of a body before the second one is sent."""

    async def serve(ground: Ground, streams: Streams) -> None:
        reader, writer = streams
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(2):
            writer.write(await reader.readexactly(4))

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nabcd")
        await head_of(reader)
        first = await reader.readexactly(4)
        writer.write(b"efgh")
        return first, await reader.readexactly(4)

    assert behind(serve, use)[0] == (b"abcd", b"efgh")


def test_a_server_that_does_not_read_holds_its_client_up() -> None:
    async def serve(ground: Ground, streams: Streams) -> None:
        await ground.full.wait()

    async def use(ground: Ground) -> Any:
        loop = asyncio.get_running_loop()
        sock = socket.create_connection(("127.0.0.1", ground.port))
        sock.setblocking(False)
        size = 1 << 30
        await loop.sock_sendall(sock, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(sock, bytes(1 << 20))
                sent += 1 << 20
        ground.full.set()
        sock.close()
        return sent

    # What the kernel's buffers take, and not the body of a gigabyte.
    assert behind(serve, use)[0] < 64 << 20


def test_a_client_is_told_to_continue_by_the_server_alone() -> None:
    async def serve(ground: Ground, streams: Streams) -> Any:
        reader, writer = streams
        head = await reader.readuntil(b"\r\n\r\n")
        ground.asked.set()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return head, body

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        await ground.asked.wait()
        assert (await head_of(reader))[0] == "HTTP/1.1 100 Continue"
        writer.write(b"abc")
        return (await answer_of(reader))[0]

    status, ground = behind(serve, use)
    assert status == 200
    assert b"Expect: 100-continue" in ground.outcomes[0][0]
    assert ground.outcomes[0][1] == b"abc"


def test_an_answer_instead_of_a_continue_arrives_and_ends_the_connection() -> None:
    async def serve(ground: Ground, streams: Streams) -> None:
        await streams[0].readuntil(b"\r\n\r\n")
        streams[1].write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await streams[0].read()

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        return await answer_of(reader), await reader.read()

    (answer, rest), _ = behind(serve, use)
    assert (answer[0], answer[2], rest) == (403, b"no", b"")


def test_an_early_answer_of_a_server_that_hangs_up_reaches_the_client() -> None:
    async def serve(ground: Ground, streams: Streams) -> None:
        await streams[0].readuntil(b"\r\n\r\n")
        streams[1].write(b"HTTP/1.1 507 Full\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfull")

    async def use(ground: Ground) -> Any:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", ground.port)) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(20):  # a reset in the middle of this is what many clients would report instead
                await loop.sock_sendall(sock, bytes(1 << 20))
            return await loop.sock_recv(sock, 1 << 16)

    answer, _ = behind(serve, use)
    assert answer.startswith(b"HTTP/1.1 507 Full\r\n")
    assert answer.endswith(b"full")


def test_an_answer_that_breaks_off_is_not_made_whole() -> None:
    async def serve(ground: Ground, streams: Streams) -> None:
        await streams[0].readuntil(b"\r\n\r\n")
        streams[1].write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await streams[1].drain()

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await head_of(reader)
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()

    assert behind(serve, use)[0] in (b"half", None)


def test_a_chunked_answer_that_breaks_off_has_no_end_either() -> None:
    async def serve(ground: Ground, streams: Streams) -> None:
        await streams[0].readuntil(b"\r\n\r\n")
        streams[1].write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return await reader.read()

    assert not behind(serve, use)[0].endswith(b"0\r\n\r\n")


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("how", ["reset", "hang up"])
def test_a_client_that_breaks_off_takes_its_upload_with_it(how: str) -> None:
    async def serve(ground: Ground, streams: Streams) -> Any:
        await streams[0].readuntil(b"\r\n\r\n")
        ground.started.set()
        try:
            return await streams[0].readexactly(100)
        finally:
            ground.over.set()

    async def use(ground: Ground) -> Any:
        _, writer = await ground.client()
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        await ground.started.wait()
        if how == "reset":
            reset(writer)
        else:
            writer.close()
        await ground.over.wait()

    _, ground = behind(serve, use)
    expected = ConnectionResetError if how == "reset" else asyncio.IncompleteReadError
    assert isinstance(ground.outcomes[0], expected)


def test_the_server_learns_of_a_client_that_does_not_wait() -> None:
    async def serve(ground: Ground, streams: Streams) -> Any:
        await streams[0].readuntil(b"\r\n\r\n")
        ground.asked.set()
        rest = await streams[0].read()
        ground.over.set()
        return rest

    async def use(ground: Ground) -> None:
        _, writer = await ground.client()
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await ground.asked.wait()
        writer.close()
        await ground.over.wait()

    assert behind(serve, use)[1].outcomes == [b""]


def test_a_server_that_hangs_up_on_an_idle_client_does_so_through_the_gate() -> None:
    async def serve(ground: Ground, streams: Streams) -> None:
        await streams[0].readuntil(b"\r\n\r\n")
        streams[1].write(b"HTTP/1.1 204 Empty\r\n\r\n")

    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await head_of(reader)
        return await reader.read()

    assert behind(serve, use)[0] == b""


def test_without_a_server_there_is_no_connection() -> None:
    async def use(ground: Ground) -> Any:
        ground.gate._upstream = 1
        reader, writer = await ground.client()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()

    behind(echo, use)


def test_what_is_no_http_gets_no_further() -> None:
    async def use(ground: Ground) -> Any:
        reader, writer = await ground.client()
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()

    result, ground = behind(echo, use)
    assert not result
    assert ground.misdeeds.requests == 0


# -- saying no ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "order", "status", "found"),
    [
        ("s3", {"what": "errors"}, 500, b"<Code>InternalError</Code>"),
        ("s3", {"what": "errors", "status": 503}, 503, b"<Code>ServiceUnavailable</Code>"),
        ("s3", {"what": "throttle", "status": 503}, 503, b"<Code>SlowDown</Code>"),
        ("s3", {"what": "throttle", "status": 429}, 429, b"<Code>TooManyRequests</Code>"),
        ("s3", {"what": "credentials"}, 403, b"<Code>InvalidAccessKeyId</Code>"),
        ("rest", {"what": "errors", "status": 502}, 502, b"Bad Gateway"),
        ("rest", {"what": "credentials"}, 401, b"Unauthorized"),
        ("webdav", {"what": "throttle", "status": 429}, 429, b"Too Many Requests"),
        ("webdav", {"what": "errors", "status": 599}, 599, b"Internal Server Error"),
    ],
)
def test_each_protocol_says_no_in_its_own_words(dialect: Any, order: Any, status: int, found: bytes) -> None:
    async def use(ground: Ground) -> Any:
        ground.misdeeds.impose("x", **order)
        streams = await ground.client()
        first = await request(streams, b"PUT /b/<k>?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        second = await request(streams, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first[0] == second[0]
        ground.misdeeds.lift("x")
        # The same connection, and the body of the refused upload is not taken for a request.
        assert (await request(streams, b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"))[2].startswith(b"GET /c ")
        return first

    (got, headers, body), ground = behind(echo, use, dialect)
    assert got == status
    assert found in body
    assert ("retry-after" in headers) is (order["what"] == "throttle")
    assert ("www-authenticate" in headers) is (status == 401)
    assert headers["content-type"].startswith("application/xml" if dialect == "s3" else "text/plain")
    if dialect == "s3":
        assert b"<Resource>/b/&lt;k&gt;</Resource>" in body
    assert [(e["ev"], e["fault"], e["method"], e["target"]) for e in ground.events] == [
        ("struck", "x", "PUT", "/b/<k>?x=1"),
        ("struck", "x", "GET", "/b"),
    ]


@pytest.mark.parametrize(("asked", "told"), [(1.0, "1"), (2.4, "2"), (90, "90")])
def test_clients_are_told_when_to_come_back_and_it_is_seen_when_they_do(asked: float, told: str) -> None:
    async def use(ground: Ground) -> Any:
        ground.misdeeds.impose("t", "throttle", status=503, retry_after=asked)
        streams = await ground.client()
        answers = [await request(streams, b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n) for n in (1, 2, 1)]
        return answers[0][1]["retry-after"], ground.misdeeds.lift("t")

    (header, totals), _ = behind(echo, use)
    assert header == told
    assert (totals["seen"], totals["struck"], totals["again"]) == (3, 3, 1)
    assert 0 <= totals["soonest"] < LIMIT


def test_a_refused_head_has_no_body() -> None:
    async def use(ground: Ground) -> Any:
        ground.misdeeds.impose("x", "errors")
        reader, writer = await ground.client()
        writer.write(b"HEAD /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return await reader.read()

    answer, _ = behind(echo, use)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(b"\r\n\r\n")


def test_a_refused_client_that_waits_for_a_continue_is_answered_at_once() -> None:
    async def use(ground: Ground) -> Any:
        ground.misdeeds.impose("x", "errors")
        reader, writer = await ground.client()
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        return await answer_of(reader), await reader.read()

    ((status, headers, _), rest), _ = behind(echo, use)
    assert (status, headers["connection"], rest) == (500, "close", b"")


def test_slow_answers_wait_and_go_out_when_the_server_is_quick_again() -> None:
    async def use(ground: Ground) -> Any:
        ground.misdeeds.impose("slow", "slow", delay=3600.0)
        reader, writer = await ground.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not ground.misdeeds.requests:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.readexactly(1)
        assert ground.events == []  # it is late, but nobody can say by how much yet
        ground.misdeeds.lift("slow")
        return (await answer_of(reader))[0]

    status, ground = behind(echo, use)
    assert status == 200
    assert [(e["ev"], e["what"]) for e in ground.events] == [("struck", "slow")]


def test_a_slow_answer_comes_when_its_time_is_over() -> None:
    async def use(ground: Ground) -> Any:
        ground.misdeeds.impose("slow", "slow", delay=0.1)
        loop = asyncio.get_running_loop()
        streams, start = await ground.client(), loop.time()
        for _ in range(2):
            await request(streams, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return loop.time() - start

    assert behind(echo, use)[0] >= 0.2
