"""Names inside the sandbox: its own name server instead of the machine's, and what it says."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from backupchaos.environments.local import kernel

_FILES = {
    "/etc/resolv.conf": "nameserver 127.0.0.1\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n",
    "/etc/hosts": "127.0.0.1 localhost backupchaos\n::1 localhost\n",
}
"""What glibc and Go's own resolver read. Where one is missing, both default to just this server."""
_STAGE = "/run/.backupchaos-names"
_CODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN"}


def use_own_names() -> list[str]:
    """Put files over those that say who resolves names, for every process of the sandbox; which ones.

    Raises OSError where they cannot be covered, and RuntimeError outside of a namespace sandbox.
    """
    if not _own_root():
        raise RuntimeError("the machine's own name resolution must be left alone")
    covered = []
    for path, text in _FILES.items():
        place = _place(path)
        if place is None:
            continue
        with open(_STAGE, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(_STAGE, 0o644)
        flags = kernel.MS_BIND | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount(_STAGE, place, None, kernel.MS_BIND)
        kernel.mount("none", place, None, flags | kernel.MS_REMOUNT | kernel.MS_RDONLY)
        os.unlink(_STAGE)  # nobody can change what is mounted now
        covered.append(path)
    return covered


def _own_root() -> bool:
    """Whether ``/`` is the one that the agent built, or that of a container in which it is the first process."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            point = fields.split()[4]
            if (point == "/" and rest.split()[:2] == ["tmpfs", "backupchaos"]) or point == "/.backupchaos":
                return True
    return False


def _place(path: str) -> str | None:
    """The file to be covered; made if a link leads to where its owner is away (as below ``/run``)."""
    if not os.path.lexists(path):
        return None
    real = os.path.realpath(path)
    if not os.path.exists(real):
        os.makedirs(os.path.dirname(real), exist_ok=True)
        os.close(os.open(real, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    return real


def look_up(name: str) -> list[str]:
    """The IPv4 addresses of a name, as the C library finds them; empty if it finds none."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return sorted({str(item[4][0]) for item in found})


def ask_name(name: str, patience: float) -> dict[str, Any]:
    """What the sandbox's name server says of a name within ``patience`` seconds: ``NOERROR``,
    ``SERVFAIL``, ``NXDOMAIN`` or ``none``. Asks for a TXT record, which no job does."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    packet = struct.pack(">HHHHHH", 0xBC, 0x0100, 1, 0, 0, 0) + question + struct.pack(">BHH", 0, 16, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience)
        sock.connect(("127.0.0.1", 53))
        sock.send(packet)
        try:
            answer = sock.recv(512)
        except TimeoutError:
            return {"answer": "none"}
    return {"answer": _CODES.get(answer[3] & 15, str(answer[3] & 15))}
