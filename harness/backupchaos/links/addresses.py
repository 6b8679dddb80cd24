"""Where a link listens and where it leads: ``host:port``, ``[v6]:port``, or ``unix:/path``, which is ours alone.

Errors are in the words of Go's ``net`` package where it has some, since clients of Toxiproxy know those.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple

UNIX = "unix:"
PATH_LIMIT = 107
"""Bytes that the path of a UNIX socket may have on Linux: ``sun_path`` less the zero at its end."""


class Address(NamedTuple):
    """A place on the network, or, if ``path`` is not empty, in the file system."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """Of a socket that connects there or listens there; the host must be numeric."""
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def target(self) -> str | tuple[str, int]:
        """For ``connect`` and ``bind``."""
        return self.path or (self.host, self.port)

    @property
    def numeric(self) -> bool:
        """Whether no name has to be looked up first."""
        if self.path:
            return True
        try:
            socket.inet_pton(self.family, self.host)
        except (OSError, ValueError):
            return False
        return True


def parse(text: str) -> Address:
    """Raises ValueError with what is wrong."""
    if text.startswith(UNIX):
        return Address("", 0, _path(text.removeprefix(UNIX)))
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {text}: too many colons in address")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {port}: invalid port")
    return Address(host, int(port))


def _path(path: str) -> str:
    size = len(os.fsencode(path))
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"the path of a UNIX socket must begin with /, not {path!r}")
    if size > PATH_LIMIT:
        raise ValueError(f"{path}: the path has {size} bytes, that of a UNIX socket at most {PATH_LIMIT}")
    return path


def to_listen(text: str) -> Address:
    """An address to listen on: numeric, and never open to the network unless that is asked for in so many words.

    No other name than ``localhost`` is looked up: meanwhile all links would stand still.
    """
    where = parse(text)
    if where.host in ("", "localhost") and not where.path:
        where = where._replace(host="127.0.0.1")
    if not where.numeric:
        raise ValueError(
            f"lookup {where.host}: no such host (a link listens on addresses and localhost only)"
        )
    return where


def problem(where: Address, error: OSError) -> str:
    """Why one cannot listen there."""
    text = os.strerror(error.errno or errno.EIO).lower()
    if where.path:
        return f"listen unix {where.path}: bind: {text}"
    return f"listen tcp {where}: bind: {text}"
