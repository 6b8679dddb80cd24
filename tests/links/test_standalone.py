"""The embedded server on its own: a Toxiproxy server that anybody can start."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.links.support import Backend, dial, dial_path, echo, port_of, refused, round_trip

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[subprocess.Popen[str]] = []

    def run(*options: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "backupchaos.links.linkd", *options]
        children.append(
            subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
        )
        return children[-1]

    yield run
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    yield made
    shutil.rmtree(made)


def api_of(child: subprocess.Popen[str]) -> Backend:
    assert child.stdout is not None
    words, _, port = child.stdout.readline().strip().rpartition(":")
    assert words == "Toxiproxy's API is on 127.0.0.1"
    return Backend("embedded", int(port))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(start: Start, number: signal.Signals) -> None:
    child = start()
    api = api_of(child)
    name, port = api.proxy(api.server().address)
    api.toxic(name, "latency", latency=50)
    assert round_trip(dial(port)) >= 0.05
    child.send_signal(number)
    assert child.wait(5) == 0
    assert refused(api.port)
    assert refused(port)
    assert child.stderr is not None
    assert child.stderr.read() == ""


def test_the_event_log_can_be_had(start: Start) -> None:
    child = start("--events-fd", "1", "--seed", "7")
    assert child.stdout is not None
    ready = json.loads(child.stdout.readline())
    assert (ready["ev"], ready["seed"], ready["pid"]) == ("ready", 7, child.pid)
    api = Backend("embedded", ready["api"])
    _, port = api.proxy(api.server().address)
    round_trip(dial(port))
    seen = [json.loads(child.stdout.readline())["ev"] for _ in range(4)]
    assert seen == ["link", "open", "dial_ok", "first_byte"]


def test_it_ends_when_nobody_reads_its_log_any_more(start: Start) -> None:
    child = start("--events-fd", "1")
    assert child.stdout is not None
    api = Backend("embedded", json.loads(child.stdout.readline())["api"])
    child.stdout.close()
    with suppress(OSError, http.client.HTTPException):  # its end may come in the middle of an answer
        for _ in range(100):
            api.proxy("127.0.0.1:1")
    assert child.wait(5) == 0
    child.stdout = None


def test_unix_sockets_are_for_those_who_ask_for_them(start: Start, folder: Path) -> None:
    plain = api_of(start())
    front, behind = f"unix:{folder}/front", plain.server(echo, f"{folder}/behind").address
    words = "UNIX sockets are for those only who start linkd with --unix"
    for body in (
        {"listen": front, "upstream": "127.0.0.1:1"},
        {"listen": "127.0.0.1:0", "upstream": behind},
    ):
        answer = plain("POST", "/proxies", {"name": "db", **body})
        assert (answer.status, words in answer.error) == (400, True)
        answer = plain("POST", "/populate", [{"name": "db", **body}])
        assert (answer.status, answer.json["proxies"]) == (400, None)
    name, _ = plain.proxy("127.0.0.1:1")
    assert plain("PATCH", f"/proxies/{name}", {"upstream": behind}).status == 400
    assert list(plain("GET", "/proxies").json) == [name]

    child = start("--unix")
    api = api_of(child)
    answer = api("POST", "/proxies", {"name": "db", "listen": front, "upstream": behind})
    assert (answer.status, answer.json["listen"], answer.json["upstream"]) == (201, front, behind)
    round_trip(dial_path(f"{folder}/front"))
    again = api("POST", "/proxies", {"name": "other", "listen": front, "upstream": behind})
    text = f"listen unix {folder}/front: bind: address already in use"
    assert (again.status, again.error) == (500, text)
    api("PATCH", "/proxies/db", {"listen": "127.0.0.1:0"})
    assert not os.path.exists(f"{folder}/front"), "moved away"
    round_trip(dial(port_of(api("GET", "/proxies/db").json)))
    api("PATCH", "/proxies/db", {"listen": front})
    child.terminate()
    assert child.wait(5) == 0
    assert os.listdir(folder) == ["behind"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--nonsense",), "unknown option --nonsense"),
        (("--api-port", "x"), "--api-port needs a number, not 'x'"),
        (("--api-port", "70000"), "must be 0-65535"),
    ],
)
def test_wrong_options(start: Start, options: tuple[str, ...], words: str) -> None:
    child = start(*options)
    _, said = child.communicate(timeout=10)
    assert child.returncode == 4
    assert said.startswith("linkd: ")
    assert words in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken(start: Start) -> None:
    port = api_of(start()).port
    child = start("--api-port", str(port))
    _, said = child.communicate(timeout=10)
    assert (child.returncode, "Address already in use" in said) == (4, True)
