"""Deadlines, silence, and what outlives a job on either side of the link."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Bench, Tried, bench, python, tried

from backupchaos.checks.case import Case
from backupchaos.checks.laws import clean
from backupchaos.commands import Command
from backupchaos.engine import serverside, world
from backupchaos.results import Verdict

pytestmark = pytest.mark.needs("namespaces", "seccomp")

NEVER = {"process.kill": "target", "when": {"log": "this line never comes"}}
"""A fault that does not strike: the engine is what is looked at here."""
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('helper', flush=True)\ntime.sleep(60)"
OBEDIENT = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('told', flush=True), sys.exit(0)))\nprint('helper', flush=True)\ntime.sleep(60)"


def parent(helper: str) -> tuple[str, ...]:
    return python(
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {helper!r}], start_new_session=True)\ntime.sleep(60)"
    )


def notes(result: Tried) -> str:
    return "\n".join(e["text"] for e in result.events if e.kind == "note")


def residue(result: Tried, key: str) -> list[str]:
    return [text for e in result.events if e.kind == "residue" for text in e.get(key, ())]


# -- deadlines and silence ----------------------------------------------------------------------


def test_a_helper_that_ignores_term_does_not_outlive_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "GRACE", 0.4)
    result = tried(tmp_path, NEVER, parent(STUBBORN), deadline=1.0)
    assert result.job.timed_out
    assert result.returncode == -signal.SIGTERM
    assert "SIGKILL after 0.4 s for what it had started" in notes(result)
    assert residue(result, "processes") == []


def test_a_helper_that_heeds_term_has_time_to_say_so(tmp_path: Path) -> None:
    result = tried(tmp_path, NEVER, parent(OBEDIENT), deadline=1.0)
    assert "told" in result.lines
    assert "SIGKILL" not in notes(result)


def test_a_job_that_ignores_term_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "GRACE", 0.4)
    result = tried(tmp_path, NEVER, python(STUBBORN), deadline=1.0)
    assert result.returncode == -signal.SIGKILL
    assert "ignored SIGTERM" in notes(result)


def test_silence_is_told_from_slowness(tmp_path: Path) -> None:
    """Both take longer than the limit on silence; only one of them says nothing and moves nothing."""
    slow = "import time\nfor n in range(6):\n  open('{repository}/f%d' % n, 'wb').write(bytes(65536))\n  time.sleep(0.3)"
    busy = tried(tmp_path / "slow", NEVER, python(slow), silence=1.0)
    assert not busy.job.hung and busy.returncode == 0
    assert busy.job.silent_for is not None and busy.job.silent_for < 1.0
    stuck = tried(tmp_path / "stuck", NEVER, python("import time\ntime.sleep(60)"), silence=1.0)
    assert stuck.job.hung and not stuck.job.timed_out
    assert stuck.job.silent_for is not None and stuck.job.silent_for >= 1.0
    (end,) = [e for e in stuck.events if e.kind == "job.end"]
    assert end["silent_for"] >= 1.0


# -- the server's side --------------------------------------------------------------------------

SERVER = """
import os, socket, sys, time
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    client, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        client.sendall(b'hello')
        while client.recv(100): pass
        if sys.argv[2] == 'forgets': client.close()
        time.sleep(float(sys.argv[3]))
        os._exit(0)
    client.close()
"""
CALLS = "import socket\ns = socket.create_connection(('127.0.0.1', {port}))\nprint(s.recv(5).decode(), flush=True)\ns.sendall(b'bye')"


@contextmanager
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, linger: float) -> Iterator[Bench]:
    """A bench with a server that forks a child for each client; the job talks to it through a link."""
    from backupchaos.links.links import Links

    monkeypatch.setattr(serverside, "LINGER", 1.0)
    with bench(tmp_path, NEVER, ("true",)) as made:
        box = made.world.sandbox
        port = int(box.call("free_port"))
        argv = (*python(SERVER), str(port), how, str(linger))
        made.world.service_pid = made.world.start_service(Command(argv))
        links = Links(box, 7, "embedded")
        made.world.use_links(links)
        made.world.link = links.create("repository", port)
        assert made.world.loop.pump_until(lambda: answers(made, port), 10.0)
        code = CALLS.replace("{port}", str(made.world.link.port))
        made.phases.target.argv = python(code)  # type: ignore[attr-defined]
        yield made


def answers(made: Bench, port: int) -> bool:
    try:
        made.world.sandbox.connect(port).close()
    except OSError:
        return False
    made.world.loop.pump_until(lambda: len(service(made)) == 1, 5.0)
    return True


def service(made: Bench) -> list[Any]:
    return [p for p in made.world.sandbox.processes() if p.role == "service"]


def judged(made: Bench, result: Tried) -> Any:
    (row,) = clean(Case(made.phases.scenario, made.world.profile, result.events))
    return row


def test_a_child_of_the_server_that_outlives_its_client_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, monkeypatch, "forgets", 60) as made:
        result = made.go()
        assert result.lines == ["hello"]
        (found,) = residue(result, "server")
        assert "import os, socket" in found
        row = judged(made, result)
        assert (row.law, row.verdict) == ("clean", Verdict.FAIL)
        assert "on the server" in row.observed


def test_a_connection_that_stays_open_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path, monkeypatch, "keeps", 60) as made:
        result = made.go()
        assert "1 connections still open" in residue(result, "server")[-1]


@pytest.mark.parametrize("how", ["forgets", "keeps"])
def test_a_child_that_ends_soon_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with served(tmp_path, monkeypatch, how, 0.2) as made:
        result = made.go()
        assert result.lines == ["hello"]
        assert residue(result, "server") == []
        assert judged(made, result).verdict is Verdict.PASS


def test_a_server_that_was_started_anew_is_not_held_against_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, monkeypatch, "forgets", 60) as made:
        first = made.world.service_pid
        side = serverside.ServerSide(made.world)
        made.world.service_pid = made.world.start_service(Command(("sleep", "60")))
        assert side.left() == []
        made.world.service_pid = first
        assert any("sleep 60" in line for line in side.left())


@pytest.mark.parametrize("repository", ["sftp", pytest.param("rest", marks=pytest.mark.needs("rclone"))])
def test_our_own_servers_leave_nothing(tmp_path: Path, repository: str) -> None:
    """A job that is killed in the middle of a conversation, without a goodbye."""
    code = "import socket, time\ns = socket.create_connection(('{host}', {port}))\ns.sendall(b'GET / HTTP/1.1\\r\\n')\nprint('ready', flush=True)\ntime.sleep(60)"
    fault = {"process.kill": "target", "when": {"log": "ready"}}
    result = tried(tmp_path, fault, python(code), repository=repository)
    assert result.proof
    assert residue(result, "server") == []
