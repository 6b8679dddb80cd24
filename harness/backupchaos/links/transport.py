"""HTTP to a server in another network namespace: connections come from the sandbox."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.poolmanager import PoolManager

Connect = Callable[[int], socket.socket]


def _tcp(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def _pool_class(connect: Connect) -> type[HTTPConnectionPool]:
    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            try:
                sock = connect(self.port)
            except OSError as error:
                raise NewConnectionError(self, str(error)) from error
            if self.timeout is None or isinstance(self.timeout, int | float):
                sock.settimeout(self.timeout)
            return sock

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


class SandboxAdapter(HTTPAdapter):
    """A requests adapter whose TCP connections are made by ``connect(port)``."""

    def __init__(self, connect: Connect) -> None:
        self._pool_class = _pool_class(connect)
        super().__init__(pool_connections=1, pool_maxsize=2)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102  # see HTTPAdapter
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": self._pool_class}


def session(connect: Connect | None) -> requests.Session:
    """A session that ignores proxies and netrc of the environment."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", SandboxAdapter(connect or _tcp))
    return made
