"""TLS and HTTP keep-alive pass untouched through either server, with toxics too (cases 73-77)."""

from __future__ import annotations

import datetime
import http.client
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.links.conftest import Make
from tests.links.support import Backend, Log, Server, dial, noise

TOXICS = [
    ("latency", {"latency": 20, "jitter": 5}),
    ("slicer", {"average_size": 700, "size_variation": 200, "delay": 1}),
    ("bandwidth", {"rate": 20_000}),
]
PROTOCOL = ["backup/1"]


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server behind a link")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


class Tls:
    """A TLS echo server behind a plain one; ``bindings`` are what each session looks like from its side."""

    def __init__(self, pem: Path, version: ssl.TLSVersion) -> None:
        self.bindings: list[tuple[bytes | None, str | None]] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._context.set_alpn_protocols(PROTOCOL)
        self.client = ssl.create_default_context(cafile=str(pem))
        self.client.set_alpn_protocols(PROTOCOL)
        self.client.maximum_version = self.client.minimum_version = version
        self.pem = pem

    def serve(self, server: Server, conn: socket.socket, data: bytearray) -> None:
        with self._context.wrap_socket(conn, server_side=True) as tls:
            self.bindings.append((tls.get_channel_binding("tls-unique"), tls.selected_alpn_protocol()))
            while chunk := tls.recv(1 << 16):
                server.note(data, chunk)
                tls.sendall(chunk)
            tls.unwrap().close()

    def dial(self, port: int, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        return self.client.wrap_socket(dial(port), server_hostname="127.0.0.1", session=session)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Tls:
    return Tls(certificate(tmp_path), request.param)


def exchange(sock: ssl.SSLSocket, data: bytes) -> bytes:
    """There and back, in pieces that no buffer on the way is too small for; up to the end, if it comes early."""
    got = b""
    for start in range(0, len(data), 50_000):
        piece = data[start : start + 50_000]
        sock.sendall(piece)
        while len(got) < start + len(piece):
            chunk = sock.recv(1 << 16)
            if not chunk:
                return got
            got += chunk
    return got


@pytest.mark.parametrize("toxic", [False, True], ids=["plain", "toxic"])
def test_73_tls_passes_untouched(api: Backend, tls: Tls, toxic: bool) -> None:
    name, port = api.proxy(api.server(tls.serve).address)
    if toxic:
        for stream in ("upstream", "downstream"):
            for kind, attributes in TOXICS:
                api.toxic(name, kind, stream, **attributes)
    data = noise(200_000)
    with tls.dial(port) as sock:
        assert exchange(sock, data) == data
        seen = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
        assert seen == x509.load_pem_x509_certificate(tls.pem.read_bytes())
        ours = sock.get_channel_binding("tls-unique"), sock.selected_alpn_protocol()
        sock.unwrap()  # raises if the other side's goodbye does not come
    assert tls.bindings == [ours], "both ends are in the same session: nobody is in the middle"


def test_74_a_session_is_resumed(api: Backend, tls: Tls) -> None:
    _, port = api.proxy(api.server(tls.serve).address)
    with tls.dial(port) as first:
        assert exchange(first, b"x" * 10) == b"x" * 10
        session = first.session
        assert not first.session_reused
        first.unwrap()
    with tls.dial(port, session) as second:
        assert exchange(second, b"y" * 10) == b"y" * 10
        assert second.session_reused


def test_75_an_unknown_certificate_is_still_refused(api: Backend, tls: Tls) -> None:
    _, port = api.proxy(api.server(tls.serve).address)
    with pytest.raises(ssl.SSLCertVerificationError), dial(port) as sock:
        ssl.create_default_context().wrap_socket(sock, server_hostname="127.0.0.1")


def test_a_flipped_bit_breaks_the_session(make: Make, tls: Tls, log: Log) -> None:
    """What the link corrupts on purpose, TLS finds: it was the very stream."""
    link, server = make(tls.serve)
    link.afflict("corrupt", "rot", bits=1)
    data = noise(1_000_000)
    with suppress(OSError), tls.dial(link.port) as sock:
        assert exchange(sock, data) != data
    assert len(log.until("flip")) == 1
    server.wait(lambda: bool(server.ends))
    assert "bad record mac" in server.ends[0].lower()


# -- HTTP -----------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Echoes bodies, and tells by which connection they came."""

    protocol_version = "HTTP/1.1"
    peers: ClassVar[list[int]] = []

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.peers.append(self.client_address[1])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    Handler.peers.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("toxic", [False, True], ids=["plain", "toxic"])
def test_76_keep_alive(api: Backend, web: int, toxic: bool) -> None:
    name, port = api.proxy(f"127.0.0.1:{web}")
    if toxic:
        for kind, attributes in TOXICS:
            api.toxic(name, kind, "downstream", **attributes)
            api.toxic(name, kind, "upstream", **attributes)
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for size in (0, 1, 999, 50_000, 7):
        body = noise(size)
        client.request("PUT", "/", body)
        assert client.getresponse().read() == body
    client.close()
    assert len(Handler.peers) == 5
    assert len(set(Handler.peers)) == 1, "one connection carried all of them"


def test_77_pipelined_requests(api: Backend, web: int) -> None:
    _, port = api.proxy(f"127.0.0.1:{web}")
    sock = dial(port)
    request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n%s\r\nbody"
    sock.sendall(request % b"" * 9 + request % b"Connection: close\r\n")
    answers = b""
    while more := sock.recv(1 << 16):
        answers += more
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 10
    assert answers.count(b"\r\n4\r\nbody\r\n0\r\n\r\n") == 10


def test_the_link_sees_one_connection_for_many_requests(make: Make, web: int, log: Log) -> None:
    """So a retry on a kept connection is none that a link can see."""
    link = log.links.create("web", web)
    client = http.client.HTTPConnection("127.0.0.1", link.port, timeout=10)
    for _ in range(20):
        client.request("PUT", "/", b"x" * 100)
        assert client.getresponse().read() == b"x" * 100
    client.close()
    log.until("close")
    assert [event.ev for event in log.seen if event.ev in ("open", "close")] == ["open", "close"]
