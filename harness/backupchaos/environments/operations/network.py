"""What the kernel counts in the sandbox's network namespace."""

from __future__ import annotations

import socket
import struct
from typing import Any

_LISTEN = "0A"
_ENDED = {"04", "09", "0B"}
"""States in which the end of the stream waits for an answer too; TCP counts it as a byte."""


def network_stats() -> dict[str, Any]:
    """``tcp``: the counters of ``/proc/net/snmp`` (AttemptFails, EstabResets, OutRsts ...); ``listeners``; ``connections``.

    Connections count TCP sockets by state (01 established, 02 SYN sent ...; see the kernel's tcp_states.h).
    """
    with open("/proc/self/net/snmp", encoding="ascii") as file:
        rows = [line.split()[1:] for line in file if line.startswith("Tcp:")]
    listeners: list[dict[str, Any]] = []
    states: dict[str, int] = {}
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            with open(f"/proc/self/net/{name}", encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6 here
        for line in lines:
            local, _, state = line.split()[1:4]
            states[state] = states.get(state, 0) + 1
            if state == _LISTEN:
                address, _, port = local.partition(":")
                listeners.append({"address": _address(address, family), "port": int(port, 16)})
    return {
        "tcp": dict(zip(rows[0], map(int, rows[1]), strict=True)),
        "listeners": sorted(listeners, key=lambda item: item["port"]),
        "connections": states,
    }


def _address(text: str, family: socket.AddressFamily) -> str:
    """Hex words in host byte order, as ``/proc`` shows them."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unanswered(host: str, port: int) -> dict[str, int]:
    """Connections to or from an IPv4 address with data that nobody has acknowledged: ``connections``, and ``bytes`` of them."""
    place = f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"
    total, pairs = 0, set[frozenset[str]]()
    with open("/proc/self/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.read().splitlines()[1:]]
    for row in rows:
        local, remote, state, queues = row[1:5]
        waiting = 0 if state == _LISTEN else int(queues.partition(":")[0], 16) - (state in _ENDED)
        if place in (local, remote) and waiting > 0:
            total += waiting
            pairs.add(frozenset((local, remote)))  # both ends of one may be here
    return {"connections": len(pairs), "bytes": total}
