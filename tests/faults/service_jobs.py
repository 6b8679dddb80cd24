"""Jobs of a few lines that talk to a repository's server and know its password."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.bench import Probe, Tried, python, tried

HTTP = """
import http.client, os, re, socket, sys, time
def ask(method="GET", path="/repository/config", c=None, **more):
    c = c or http.client.HTTPConnection("{host}", int("{port}"), timeout=10)
    c.request(method, path, headers={"Authorization": {login!r}}, **more)
    r = c.getresponse(); r.read()
    return r.status
def knock():
    try:
        with socket.create_connection(("{host}", int("{port}")), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            return s.recv(1)[:1] or b"eof"
    except OSError as error:
        return type(error).__name__
def until(wanted, limit=15):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        seen = knock()
        if seen == wanted: return seen
        time.sleep(0.05)
    return "never: %r" % seen
"""
"""Parts of jobs that talk to an HTTP server; the REST service says 404 to who has the password, since it is empty."""
SFTP = """
import asyncio, asyncssh, sys
def connect():
    return asyncssh.connect("{host}", int("{port}"), username="backup", password={secret!r}, known_hosts=None,
        client_keys=None, agent_path=None, config=None)
"""


class Inside(Probe):
    """A job in a few lines of Python that knows the password of its server."""

    def backup(self, work: Any) -> Any:
        secret = work.location.password
        login = "Basic " + b64encode(f"backup:{secret}".encode()).decode()
        (code,) = self.argv
        self.argv = python(code.replace("{secret!r}", repr(secret)).replace("{login!r}", repr(login)))
        return super().backup(work)


def http(code: str) -> Inside:
    return Inside([HTTP + code])


def sftp(code: str) -> Inside:
    return Inside([SFTP + code])


def run(tmp_path: Path, fault: Mapping[str, Any], target: Probe, **more: Any) -> Tried:
    return tried(tmp_path, fault, (), target=target, **more)


SLEEP = python("import time; time.sleep(5)")
WHEN_READY = {"log": "ready"}
