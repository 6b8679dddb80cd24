"""Small truths about TCP sockets on Linux that the tap rests on."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios

_RST = struct.pack("ii", 1, 0)
ESTABLISHED, CLOSED, CLOSE_WAIT = 1, 7, 8


def close_with_rst(sock: socket.socket) -> None:
    """Close so that the peer sees ECONNRESET: linger 0 throws away what was not sent."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    except OSError:
        pass
    sock.close()


def close_with_fin(sock: socket.socket, *, drain: bool = False) -> None:
    """Close as a program would. Unread input makes the kernel send RST instead of FIN.

    ``drain`` reads away what has arrived first, so that the peer sees a clean end of stream.
    """
    try:
        if drain:
            sock.shutdown(socket.SHUT_WR)
            for _ in range(64):
                if not sock.recv(1 << 18):
                    break
    except OSError:
        pass
    sock.close()


def tcp_state(sock: socket.socket) -> int:
    """The kernel's state of a connection: a paused socket is not polled, so nobody else would tell."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return CLOSED


def unread(sock: socket.socket) -> int:
    """Bytes that have arrived and were not read yet."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4))[0])
    except OSError:
        return 0


def prepare(sock: socket.socket) -> None:
    """Make an accepted or dialled socket ready for forwarding."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as a pair; raises ValueError in the words of Go's net package."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {text}: too many colons in address")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {port}: invalid port")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of ``split_address``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(host: str) -> tuple[socket.AddressFamily, str]:
    """Family and numeric address. Omitted means loopback: a link must never be open to the network."""
    if not host or host == "localhost":
        host = "127.0.0.1"
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    return family, str(address[0])
