"""Links as the engine uses them, over both servers, and what happens when something dies."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from tests.links.conftest import SERVERS
from tests.links.hostbox import HostBox, links_on
from tests.links.support import EOF, RESET, Server, dial, echo, end_of, fate, refused, round_trip

from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.links import realserver
from backupchaos.links.links import Links


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, box: HostBox) -> Iterator[Links]:
    if request.param == "toxiproxy" and not realserver.find(required=False):
        pytest.skip("toxiproxy-server is not on PATH")
    made = links_on(box, seed=1, server=request.param)
    yield made
    made.close()


@pytest.fixture
def upstream(servers: list[Server]) -> Server:
    servers.append(Server(echo))
    return servers[-1]


def test_one_interface_over_both_servers(either: Links, upstream: Server) -> None:
    link = either.create("store", upstream.port)
    sock = dial(link.port)
    round_trip(sock)
    toxic = link.toxic("latency", latency=80)
    assert round_trip(sock) >= 0.08
    toxic.update(latency=160)
    assert round_trip(sock) >= 0.16
    toxic.remove()
    assert min(round_trip(sock) for _ in range(3)) < 0.08  # a busy machine may delay one
    changes = [event.ev for event in either.events() if event.ev.startswith("toxic_")]
    assert changes == ["toxic_add", "toxic_patch", "toxic_del"]
    link.down("reset")
    assert end_of(sock) == RESET
    assert fate(link.port) == RESET
    link.up()
    round_trip(dial(link.port))
    stats = link.stats()
    assert (stats.connections, stats.refused, stats.resets) == (2, 1, 1)
    either.remove("store")
    assert refused(link.port)


def test_toxics_of_both_servers_cut(either: Links, upstream: Server) -> None:
    link = either.create("store", upstream.port)
    link.toxic("limit_data", "upstream", bytes=3)
    sock = dial(link.port)
    sock.sendall(b"abcdef")
    assert end_of(sock) in (EOF, RESET)
    upstream.wait(lambda: bool(upstream.ends))
    assert upstream.seen == [b"abc"]


def test_which_server_was_used(either: Links, request: pytest.FixtureRequest) -> None:
    assert either.server_used in ("embedded", "toxiproxy 2.12.0")
    assert either.toxics_logged is (either.server_used == "embedded")


def test_no_real_server(box: HostBox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    links = links_on(box, seed=1, server="auto")
    assert links.server_used == "embedded"
    links.close()
    with pytest.raises(MissingCapability, match="toxiproxy-server: not found on PATH"):
        links_on(box, seed=1, server="toxiproxy")


def test_a_server_of_another_version(box: HostBox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "toxiproxy-server"
    program.write_text(
        f"#!{sys.executable}\n"
        "import http.server, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        '        self.send_response(200); self.end_headers(); self.wfile.write(b\'{"version": "1.2"}\')\n'
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[-1])), H).serve_forever()\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    links = links_on(box, seed=1, server="auto")
    assert links.server_used.startswith("embedded (")
    assert "version '1.2' is not supported" in links.server_used
    links.close()
    with pytest.raises(MissingCapability, match=r"version '1\.2' is not supported"):
        links_on(box, seed=1, server="toxiproxy")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 65])
def test_bad_link_names(links: Links, name: str) -> None:
    with pytest.raises(UsageProblem, match="link name"):
        links.create(name, 1)


def test_wrong_orders_are_refused_with_a_reason(links: Links, upstream: Server) -> None:
    link = links.create("a", upstream.port)
    with pytest.raises(UsageProblem, match="used already"):
        links.create("a", upstream.port)
    with pytest.raises(UsageProblem, match="unknown mode 'sideways'"):
        link.down("sideways")  # type: ignore[arg-type]
    with pytest.raises(UsageProblem, match="unknown action 'jump'"):
        link.arm(5, action="jump")
    with pytest.raises(UsageProblem, match="unknown direction 'left'"):
        link.arm(5, direction="left")  # type: ignore[arg-type]
    with pytest.raises(UsageProblem, match="bytes must be"):
        link.arm(-1)
    with pytest.raises(UsageProblem, match="no link 'none'"):
        links.process.request("down", link="none")
    with pytest.raises(UsageProblem, match="missing or unknown"):
        links.process.request("dance")
    round_trip(dial(link.port))


def test_a_dead_link_process_is_our_fault(box: HostBox, links: Links, upstream: Server) -> None:
    link = links.create("a", upstream.port)
    box.children[0].kill()
    box.children[0].wait()
    with pytest.raises(HarnessBroken, match="link process ended during 'down'"):
        link.down()


def test_the_engine_is_told_that_the_link_process_died(box: HostBox, links: Links, upstream: Server) -> None:
    links.create("a", upstream.port)
    links.events()
    links.process.request("note", ev="last")
    box.children[0].kill()
    box.children[0].wait()
    assert [event.ev for event in links.events()] == ["last"]
    assert select.select([links], [], [], 5)[0]
    with pytest.raises(HarnessBroken, match="link process ended during 'run'"):
        links.events()


def test_totals_are_those_of_now(links: Links, upstream: Server) -> None:
    """Events may wait a little for one another; totals do not."""
    link = links.create("a", upstream.port)
    for number in range(1, 21):
        with dial(link.port) as sock:
            round_trip(sock)
            assert (link.stats().connections, link.stats().open >= 1) == (number, True)


def test_totals_of_a_dead_link_process_are_its_last(box: HostBox, links: Links, upstream: Server) -> None:
    link = links.create("a", upstream.port)
    round_trip(dial(link.port))
    assert link.stats().connections == 1
    box.children[0].kill()
    box.children[0].wait()
    assert link.stats().connections == 1
    with pytest.raises(HarnessBroken):
        while links.events():
            pass


def test_a_stopped_link_process_is_given_up(
    box: HostBox, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupchaos.links.process.TIMEOUT", 0.3)
    box.children[0].send_signal(signal.SIGSTOP)
    with pytest.raises(HarnessBroken, match=r"did not answer 'ping' within 0\.3 s"):
        links.process.request("ping")


def test_a_link_process_that_cannot_start(box: HostBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HarnessBroken, match="ended during 'start'"):
        links_on(box)


def test_a_link_process_that_cannot_load_its_api_ends(
    box: HostBox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would print the reason, go on, and let everybody wait who asks it for a toxic."""
    nowhere = ModuleSpec("h11", None, origin=str(tmp_path / "h11/__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: nowhere)
    links = links_on(box)
    with pytest.raises(HarnessBroken):
        links.client.version()
    assert box.children[0].wait(10) == 1
    with pytest.raises(HarnessBroken, match="No module named 'h11'"):
        links.process.request("ping")
    links.close()


def test_it_ends_with_the_harness(upstream: Server) -> None:
    """Even when the harness is killed: nothing may go on listening."""
    script = (
        "import sys; from tests.links.hostbox import HostBox, links_on\n"
        f"links = links_on(HostBox()); print(links.create('a', {upstream.port}).port, links.process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as harness:
        assert harness.stdout is not None
        port, pid = map(int, harness.stdout.readline().split())
        watch = os.pidfd_open(pid)
        round_trip(dial(port))
        harness.kill()
        harness.wait()
        assert select.select([watch], [], [], 5)[0], "the link process outlived the harness"
        os.close(watch)
    assert refused(port)


def test_the_end_of_the_orders_is_its_end(box: HostBox) -> None:
    links = links_on(box)
    log = os.dup(links.process._events)  # somebody still reads the log, so only the orders have ended
    links.close()
    assert box.children[0].wait(2) == 0
    os.close(log)


def test_start_and_stop_are_quick(box: HostBox) -> None:
    begin = time.monotonic()
    links = links_on(box)
    assert time.monotonic() - begin < 2
    begin = time.monotonic()
    links.close()
    links.close()
    box.children[0].wait(2)


def test_the_api_is_reachable_from_the_sandbox_alone_through_connect(box: HostBox) -> None:
    asked: list[int] = []
    connect = box.connect

    def spy(port: int, host: str = "127.0.0.1") -> socket.socket:
        asked.append(port)
        return connect(port, host)

    box.connect = spy  # type: ignore[method-assign]
    links = links_on(box)
    assert asked == [], "no HTTP before a toxic is needed"
    assert links.client.version() == "2.12.0+embedded.1"
    assert asked == [links.process.api_port]
    links.close()
