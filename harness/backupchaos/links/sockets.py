"""Small truths about sockets on Linux that the tap rests on."""

from __future__ import annotations

import fcntl
import select
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
    """The state of a connection: a paused socket is not polled, so nobody else would tell.

    TCP's numbers, for UNIX sockets too: there an end without a close is like one with it.
    """
    try:
        if sock.family == socket.AF_UNIX:
            poll = select.poll()
            poll.register(sock, select.POLLRDHUP)
            found = sum(mask for _, mask in poll.poll(0))
            return CLOSED if found & select.POLLERR else CLOSE_WAIT if found else ESTABLISHED
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except (OSError, ValueError):
        return CLOSED


def unread(sock: socket.socket) -> int:
    """Bytes that have arrived and were not read yet."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4))[0])
    except OSError:
        return 0


def hurry(sock: socket.socket) -> None:
    """Send small pieces at once, as they came. A listening socket's connections inherit it."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def prepare(sock: socket.socket) -> None:
    """Make an accepted or dialled socket ready for forwarding."""
    sock.setblocking(False)
    hurry(sock)
