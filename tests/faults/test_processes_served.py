"""Only the process that serves the job is hit: the server's child for it, or the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.faults.bench import bench, python, tried
from tests.faults.echo import DIAL, Echo

from backupchaos.commands import Command
from backupchaos.faults.processes_served import ServerKill
from backupchaos.model.faults.processes import ProcessKill
from backupchaos.services import registry

pytestmark = pytest.mark.needs("namespaces", "seccomp")

CLIENT = (
    DIAL
    + """
sock = dial()
say('first', echo(sock, b'x' * 1000) == b'x' * 1000)
say('ready')
say('then', end(sock))
while True:
    try:
        if echo(dial(), b'y') == b'y': break
    except OSError: time.sleep(0.02)
say('again')
"""
)
PATIENT = DIAL + "sock = dial()\nsay('ready')\ntime.sleep(0.5)\nsay('then', echo(sock, b'x') == b'x')"
_FORKING = """
import os, signal, socketserver, sys
def told(*_): os.write(1, b'told\\n')
signal.signal(signal.SIGHUP, told)
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(1 << 16): self.request.sendall(data)
        except OSError: pass
class Server(socketserver.SERVER):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 100
Server(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
"""


class Other(Echo):
    """The same with a child for each client, or with a thread for each; it does not mind SIGHUP."""

    def __init__(self, server: str) -> None:
        self.code = _FORKING.replace("SERVER", server)

    def command(self, directory: str, state: str, port: int) -> Command:
        return Command((sys.executable, "-IS", "-c", self.code, str(port)))


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    kind = getattr(request, "param", "")
    service = Other(kind) if kind else Echo()
    monkeypatch.setattr(registry, "make_service", lambda kind, prefer=None: service)


def kill(**more: Any) -> dict[str, Any]:
    return {"process.kill": "target", "who": "server", "when": {"log": "ready"}, **more}


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_server_without_children_dies_and_is_started_again(tmp_path: Path, echo: None, name: str) -> None:
    with bench(tmp_path, kill(signal=name), python(CLIENT), repository="rest") as made:
        before = made.world.service_pid
        result = made.go()
        assert made.world.service_pid not in (None, before)
    assert result.returncode == 0
    assert [line for line in result.lines if not line.startswith("then")] == ["first True", "ready", "again"]
    assert result.proof[0].endswith("live connections died with the server")
    assert f"the server's process {before} ended by SIG{name}" in result.proof[-1]
    assert result.strays == []


@pytest.mark.parametrize("echo", ["ForkingTCPServer"], indirect=True)
def test_a_server_with_a_child_for_each_client_loses_that_child(tmp_path: Path, echo: None) -> None:
    with bench(tmp_path, kill(), python(CLIENT), repository="rest") as made:
        server = made.world.service_pid
        result = made.go()
        assert made.world.service_pid == server
        assert server not in made.world.exits
    assert result.lines == ["first True", "ready", "then EOF", "again"]
    (fact,) = result.proof
    assert fact.endswith("started by the server for the job, died of SIGKILL, sent to it alone")
    assert result.strays == []


@pytest.mark.parametrize("echo", ["ThreadingTCPServer"], indirect=True)
def test_a_signal_that_the_server_handles_is_its_own_affair(tmp_path: Path, echo: None) -> None:
    result = tried(tmp_path, kill(signal="HUP"), python(PATIENT), repository="rest")
    assert result.lines == ["ready", "then True"]
    assert result.proof[0].startswith("SIGHUP delivered to the server, process ")
    assert result.proof[0].endswith(", which caught it, which lives and had 1 connections")
    assert any(e["text"] == "told" for e in result.events if e.kind == "service")


def test_a_server_that_the_job_does_not_use_proves_nothing(tmp_path: Path, echo: None) -> None:
    job = python("import time\nprint('ready', flush=True)\ntime.sleep(0.5)")
    result = tried(tmp_path, kill(), job, repository="rest")
    assert result.proof == []


def test_a_server_that_somebody_else_ended_is_no_proof(tmp_path: Path, echo: None) -> None:
    """It died, and its connections with it; but not of what was sent to it."""
    with bench(tmp_path, kill(), python(CLIENT), repository="rest") as made:
        result = made.go()
        assert result.proof
        fault = made.fault
        assert isinstance(fault, ServerKill)
        code, at = made.world.exits[fault._pid]
        made.world.exits[fault._pid] = (-11, at)
        assert (code, fault.bite()) == (-9, [])


def test_one_that_comes_twice_hits_the_new_server(tmp_path: Path, echo: None) -> None:
    twice = CLIENT.replace("say('again')", "say('ready')\nsay('then', end(dial()))")
    fault = kill(when={"log": "ready"}, every=1.0, times=2)
    with bench(tmp_path, fault, python(twice), repository="rest") as made:
        before = made.world.service_pid
        result = made.go()
        assert before in made.world.exits
    assert result.strays == []
    assert result.fault._strokes == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["STOP", "TSTP"])
def test_nobody_would_continue_a_server_or_a_job_that_stands_still(name: str) -> None:
    with pytest.raises(ValidationError, match="is never continued"):
        ProcessKill.model_validate(kill(signal=name))
    with pytest.raises(ValidationError, match="is never continued"):
        ProcessKill.model_validate({**kill(signal=name), "who": "job"})
    assert ProcessKill.model_validate({**kill(signal=name), "who": "helper"})
