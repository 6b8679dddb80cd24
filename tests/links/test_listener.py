"""The listening side of a link, without a link."""

from __future__ import annotations

import socket

from backupchaos.links.addresses import Address
from backupchaos.links.listener import Listener


def test_small_pieces_are_sent_at_once_on_accepted_connections_too() -> None:
    """Linux lets them inherit that from the listening socket, which saves a call for each connection."""
    listener = Listener(Address("127.0.0.1", 0))
    listener.open()
    with socket.create_connection((listener.address.host, listener.address.port)) as sock:
        accepted = listener.accept()
        assert accepted is not None
        with accepted.sock:
            assert accepted.port == sock.getsockname()[1]
            assert accepted.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert listener.accept() is None
    listener.close()
