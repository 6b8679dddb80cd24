"""The real server's own command line, ``toxiproxy-cli``, finds no difference between the servers."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from tests.links.conftest import backend
from tests.links.support import Backend, refused, round_trip

pytestmark = pytest.mark.needs("toxiproxy-cli")


class Said(NamedTuple):
    """What one command printed, and its exit status."""

    out: str
    err: str
    status: int


def cli(api: Backend, line: str) -> Said:
    argv = ["toxiproxy-cli", "--host", f"http://127.0.0.1:{api.port}", *line.split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return Said(done.stdout, done.stderr, done.returncode)


def shown(api: Backend, line: str) -> str:
    """What a person would see: the program colours and explains on a terminal only."""
    ours, theirs = pty.openpty()
    try:
        argv = ["toxiproxy-cli", "--host", f"http://127.0.0.1:{api.port}", *line.split()]
        with subprocess.Popen(argv, stdout=theirs, stderr=theirs) as child:
            os.close(theirs)
            theirs = -1
            text = b""
            try:
                while data := os.read(ours, 1 << 16):
                    text += data
            except OSError:
                pass  # how Linux tells that nobody has the terminal open any more
            assert child.wait(10) in (0, 1)
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    return text.decode()


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


SLOW = "slow\ttype=bandwidth\tstream=upstream\ttoxicity={:.2f}\tattributes=[\trate={}\t]\n"
LATE = "late\ttype=latency\tstream=downstream\ttoxicity=1.00\tattributes=[\tjitter=10\tlatency={}\t]\n"

STORY: list[tuple[str, str]] = [
    ("list", ""),
    ("create --listen 127.0.0.1:{free} --upstream {up} store", "Created new proxy store\n"),
    ("list", "store\t127.0.0.1:{free}\t{up}\tenabled\t0\n"),
    ("toggle store", "Proxy store is now disabled\n"),
    ("list", "store\t127.0.0.1:{free}\t{up}\tdisabled\t0\n"),
    ("toggle store", "Proxy store is now enabled\n"),
    (
        "toxic add -t latency -n late -a latency=80 -a jitter=10 store",
        "Added downstream latency toxic 'late' on proxy 'store'\n",
    ),
    (
        "toxic add -t bandwidth -n slow -u -a rate=1000 --toxicity 0.5 store",
        "Added upstream bandwidth toxic 'slow' on proxy 'store'\n",
    ),
    ("inspect store", SLOW.format(0.5, 1000) + LATE.format(80)),
    ("toxic update -n slow -a rate=7 --toxicity 0.25 store", "Updated toxic 'slow' on proxy 'store'\n"),
    ("toxic update -n late -a latency=90 store", "Updated toxic 'late' on proxy 'store'\n"),
    ("inspect store", SLOW.format(0.25, 7) + LATE.format(90)),
    ("toxic remove -n slow store", "Removed toxic 'slow' on proxy 'store'\n"),
    ("inspect store", LATE.format(90)),
    ("list", "store\t127.0.0.1:{free}\t{up}\tenabled\t1\n"),
]


def test_from_list_to_delete(api: Backend, free: int) -> None:
    up = api.server().address
    for line, expected in STORY:
        got = cli(api, line.format(free=free, up=up))
        assert got == Said(expected.format(free=free, up=up), "", 0), line
    assert round_trip(api.dial(free)) >= 0.08, "what it set really works"
    assert cli(api, "delete store") == Said("Deleted proxy store\n", "", 0)
    assert cli(api, "list") == Said("", "", 0)
    assert refused(free)


AGAIN = "create --listen 127.0.0.1:0 --upstream x:1 store"
NUMBER = "bad request body: json: cannot unmarshal {} into Go struct field LatencyToxic.attributes.latency of type int64"

COMPLAINTS = [
    (AGAIN, "Failed to create proxy: Create: HTTP 409: proxy already exists"),
    (
        "create --listen 127.0.0.1:{free} --upstream x:1 other",
        "Failed to create proxy: Create: HTTP 500: listen tcp 127.0.0.1:{free}: bind: address already in use",
    ),
    (
        "toxic add -t noop -n there store",
        "Failed to add toxic: failed to add toxic to proxy store: AddToxic: HTTP 409: toxic already exists",
    ),
    (
        "toxic add -t nonsense store",
        "Failed to add toxic: failed to add toxic to proxy store: AddToxic: HTTP 400: invalid toxic type",
    ),
    *(
        (
            f"toxic add -t latency -a latency={value} store",
            "Failed to add toxic: failed to add toxic to proxy store: AddToxic: HTTP 400: "
            + NUMBER.format(what),
        )
        for value, what in (("soon", "string"), ("1.5", "number 1.5"))
    ),
    (
        "toxic update -n none -a rate=7 store",
        "Failed to update toxic: failed to update toxic 'none' of proxy 'store': HTTP 404: toxic not found",
    ),
    (
        "toxic remove -n none store",
        "Failed to remove toxic: failed to remove toxic 'none' from proxy 'store': HTTP 404: toxic not found",
    ),
    ("delete none", "Failed to retrieve proxy none: HTTP 404: proxy not found"),
    ("toggle none", "Failed to retrieve proxy none: HTTP 404: proxy not found"),
]


@pytest.mark.parametrize(("line", "words"), COMPLAINTS)
def test_complaints(api: Backend, line: str, words: str, free: int) -> None:
    with socket.create_server(("127.0.0.1", free)):
        assert cli(api, "create --listen 127.0.0.1:0 --upstream x:1 store").status == 0
        assert cli(api, "toxic add -t noop -n there store").status == 0
        got = cli(api, line.format(free=free))
    assert (got.out, got.err.strip(), got.status) == ("", words.format(free=free), 1)


@pytest.fixture
def both() -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(backend(name)) for name in ("embedded", "toxiproxy")]


@pytest.mark.needs("toxiproxy-server")
def test_on_a_terminal_both_look_the_same(both: list[Backend], free: int) -> None:
    """Colours, headings and hints too; one after the other, since they listen on the same port."""
    lines = [line.format(free=free, up="127.0.0.1:9") for line, _ in STORY]
    lines += ["toxic remove -n late store", "inspect store", "delete store", "list", "inspect store"]
    embedded, real = ([(line, shown(api, line)) for line in lines] for api in both)
    assert embedded == real
    assert "\x1b[32m" in embedded[0][1]
