"""Whether a server serves: not merely whether somebody listens."""

from __future__ import annotations

import socket

from backupchaos.services.base import Asked, Service

PATIENCE = 5.0
"""Seconds for an answer on a connection that was accepted."""


def serves(service: Service, connection: socket.socket) -> bool:
    """Whether the server at the other end greets, or answers, as a healthy one does; raises OSError."""
    connection.settimeout(PATIENCE)
    expected = service.greeting() or b""
    if isinstance(service, Asked):
        question, expected = service.question()
        connection.sendall(question)
    seen = b""
    while len(seen) < len(expected):
        data = connection.recv(len(expected) - len(seen))
        if not data:
            break
        seen += data
    return seen == expected
