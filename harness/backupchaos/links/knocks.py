"""Who was knocked at in vain: the kernel's own answers to connects, port by port.

The counters of a network name space know how many connects failed, and not where. Where a job has several links
that is not enough: what one of them refused must prove nothing about another. So a packet socket on the
loopback watches for the answer that a port without a listener gives: a reset that acknowledges, with sequence
number 0 (RFC 9293, 3.10.7.1). It needs CAP_NET_RAW, as root of a network name space has it.
"""

from __future__ import annotations

import socket
import struct

from backupchaos.links.packets import attach, step

ETH_P_IP = 0x0800
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33
_ROOM = 8 * 2**20
_HEADERS = 60
_TCP, _FRAGMENT, _REFUSAL = 6, 0x1FFF, 0x14
"""Protocol number; bits of the fragment offset; RST and ACK, and nothing else."""
_PROGRAM = (
    step(0x30, value=9),  # the protocol
    step(0x15, no=8, value=_TCP),
    step(0x28, value=6),  # a later fragment has no TCP header
    step(0x45, yes=6, value=_FRAGMENT),
    step(0xB1, value=0),  # X = length of the IP header
    step(0x50, value=13),  # the flags
    step(0x15, no=3, value=_REFUSAL),
    step(0x40, value=4),  # the sequence number
    step(0x15, no=1, value=0),
    step(0x06, value=_HEADERS),
    step(0x06, value=0),
)


class Knocks:
    """Raises OSError from the constructor where packets cannot be watched."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _ROOM)
            except OSError:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            attach(self._sock, _PROGRAM)
            self._sock.setblocking(False)
            # Bound only now: nothing arrives that the filter has not seen.
            self._sock.bind(("lo", ETH_P_IP))
        except OSError:
            self._sock.close()
            raise

    def take(self) -> tuple[dict[int, int], bool]:
        """(port -> connects refused there since the last call, whether that is all of them)."""
        found: dict[int, int] = {}
        while True:
            try:
                packet = self._sock.recv(_HEADERS)
            except BlockingIOError:
                break
            (port,) = struct.unpack_from(">H", packet, 4 * (packet[0] & 15))
            found[port] = found.get(port, 0) + 1
        _, missed = struct.unpack("II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return found, not missed

    def close(self) -> None:
        """Watch no longer."""
        self._sock.close()


def watch() -> Knocks | None:
    """A watch that begins now, or None where there can be none."""
    try:
        return Knocks()
    except OSError:
        return None
