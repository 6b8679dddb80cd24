"""The sandbox's own name server: it knows the names of servers, and answers badly for each when told to.

UDP on 127.0.0.1, one question a packet, as glibc, Go and c-ares ask (RFC 1035). Every other name does
not exist. Only questions for an address count as the job's: a look at the server's state asks for a TXT.
"""

from __future__ import annotations

import socket
import struct
from asyncio import AbstractEventLoop
from typing import Any

from backupchaos.links.eventlog import EventLog

MODES = ("", "unknown", "failing", "silent", "slow")
A, TXT, AAAA = 1, 16, 28
_TYPES = {A: "A", AAAA: "AAAA", TXT: "TXT", 12: "PTR", 33: "SRV", 65: "HTTPS"}
_NOERROR, _SERVFAIL, _NXDOMAIN, _NOTIMP = 0, 2, 3, 4
_WORDS = {_NOERROR: "empty", _SERVFAIL: "SERVFAIL", _NXDOMAIN: "NXDOMAIN", _NOTIMP: "NOTIMP"}
_SIZE = 512
_INTERNET = 1
_ANSWERED = 0x8400  # an answer, and by who should know
_RECURSION = 0x0080
_WANTED = 0x0100


class Resolver:
    """Raises OSError from the constructor when the port cannot be had."""

    def __init__(self, loop: AbstractEventLoop, log: EventLog, port: int) -> None:
        self._loop = loop
        self._log = log
        self._names: dict[str, str] = {}
        self._orders: dict[str, tuple[str, float, str]] = {}
        """Known name -> mode, delay and cause of the answers for it; none: it is answered rightly."""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._sock.bind(("127.0.0.1", port))
        except OSError:
            self._sock.close()
            raise
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        loop.add_reader(self._sock, self._readable)

    def know(self, name: str, address: str) -> None:
        """Resolve a name, and everything below it, to an IPv4 address."""
        socket.inet_aton(address)
        self._names[name.lower().rstrip(".")] = address

    def answer(self, mode: str, delay: float, cause: str, name: str = "") -> None:
        """From now on answer questions for a known name, or for all, in one of the ``MODES``; empty is rightly."""
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}: one of {', '.join(filter(None, MODES))}")
        if not 0 <= delay < 1e6:
            raise ValueError(f"delay must be a number of seconds, not {delay!r}")
        names = [name.lower().rstrip(".")] if name else list(self._names)
        if unknown := set(names) - self._names.keys():
            raise ValueError(f"no name {min(unknown)!r} is served")
        for one in names:
            self._orders[one] = (mode, delay, cause)

    def _readable(self) -> None:
        for _ in range(64):
            try:
                data, peer = self._sock.recvfrom(4096)
            except OSError:
                return
            question = _parse(data)
            if question is not None:
                self._reply(data, peer, *question)

    def _reply(self, data: bytes, peer: Any, name: str, kind: int, end: int) -> None:
        known = self._known(name)
        address = self._names.get(known, "")
        code = _NOERROR if address else _NXDOMAIN
        mode, delay, cause = self._orders.get(known, ("", 0.0, ""))
        if mode in ("unknown", "failing"):
            code, address = (_NXDOMAIN if mode == "unknown" else _SERVFAIL), ""
        said = _WORDS[code] if kind != A or not address else address
        event: dict[str, Any] = {"name": name[:255], "type": _TYPES.get(kind, str(kind)), "answer": said}
        if mode:
            event["cause"] = cause
        if mode == "silent":
            self._log.emit("name", **event | {"answer": "none"})
            return
        packet = _answer(data, end, code, address if kind == A else "")
        if mode == "slow":
            self._log.emit("name", **event, delay=delay)
            self._loop.call_later(delay, self._send, packet, peer)
            return
        self._log.emit("name", **event)
        self._send(packet, peer)

    def _known(self, name: str) -> str:
        """The name that it is, or that it lies below; empty if nobody knows it."""
        while name and name not in self._names:
            name = name.partition(".")[2]
        return name

    def _send(self, packet: bytes, peer: Any) -> None:
        try:
            self._sock.sendto(packet, peer)
        except OSError:
            pass  # who asked is gone; a client that waits asks again


def _parse(data: bytes) -> tuple[str, int, int] | None:
    """(name, type, end of the question) of a packet that asks one thing; None for anything else."""
    if len(data) < 17:
        return None
    _, flags, questions = struct.unpack_from(">HHH", data)
    if flags & 0xF800 or questions != 1:
        return None
    labels, place = [], 12
    while data[place]:
        size = data[place]
        if size > 63 or place + size + 5 >= len(data):
            return None
        labels.append(data[place + 1 : place + 1 + size].decode("ascii", "replace"))
        place += size + 1
    if place + 5 > len(data):
        return None
    (kind,) = struct.unpack_from(">H", data, place + 1)
    return ".".join(labels).lower(), kind, place + 5


def _answer(asked: bytes, end: int, code: int, address: str) -> bytes:
    """The question again, and what is to be said to it."""
    number, flags = struct.unpack_from(">HH", asked)
    flags = _ANSWERED | _RECURSION | flags & _WANTED | code
    packet = struct.pack(">HHHHHH", number, flags, 1, bool(address), 0, 0) + asked[12:end]
    if address:
        # 0xC00C points at the name in the question; a life of no seconds, so that nobody keeps it.
        packet += struct.pack(">HHHIH", 0xC00C, A, _INTERNET, 0, 4) + socket.inet_aton(address)
    return packet
