"""UNIX sockets on either side of a link: an extension, so with the embedded server only."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.links.hostbox import HostBox, links_on
from tests.links.support import (
    EOF,
    Log,
    Server,
    dial,
    dial_path,
    echo,
    end_of,
    fate,
    noise,
    quiet,
    receive,
    reply_after_eof,
    round_trip,
    sink,
)
from tests.links.test_conformance_links import exchange

from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.links.links import Link, Links


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: its paths can be longer than a UNIX socket's may be."""
    made = Path(tempfile.mkdtemp())
    yield made
    shutil.rmtree(made)


@pytest.fixture
def link(links: Links, servers: list[Server], folder: Path) -> Link:
    """From one UNIX socket to another."""
    servers.append(Server(echo, str(folder / "behind")))
    return links.create("db", str(folder / "behind"), listen=f"unix:{folder}/front")


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# -- what passes ----------------------------------------------------------------------------------


def test_from_one_to_another(link: Link, links: Links, folder: Path) -> None:
    assert (link.path, link.port, link.server_used) == (f"{folder}/front", 0, "embedded")
    log = Log(links)
    data = noise(3 << 20)
    with dial_path(link.path) as sock:
        assert exchange(sock, data) == data
    (close,) = log.until("close")
    assert (close.data["reason"], close.data["up"], close.data["down"]) == ("client_fin", 3 << 20, 3 << 20)
    assert log.until("open")[0].data["peer_port"] == 0


def test_from_a_port_to_a_socket(links: Links, servers: list[Server], folder: Path) -> None:
    servers.append(Server(reply_after_eof, str(folder / "behind")))
    link = links.create("db", str(folder / "behind"))
    sock = dial(link.port)
    sock.sendall(b"12345")
    sock.shutdown(socket.SHUT_WR)
    assert receive(sock, 100) == b"got 5"


def test_from_a_socket_to_a_port(links: Links, servers: list[Server], folder: Path) -> None:
    servers.append(Server(echo))
    link = links.create("db", servers[0].port, listen=f"unix:{folder}/front")
    round_trip(dial_path(link.path))


def test_toxics_triggers_and_holds(link: Link, links: Links, servers: list[Server]) -> None:
    log = Log(links)
    sock = dial_path(link.path)
    with link.toxic("latency", latency=60):
        assert round_trip(sock) >= 0.06
    link.arm(10, action="hold")
    sock.sendall(b"x" * 25)
    assert log.until("trigger")[0].data["bytes"] == 10
    servers[0].wait(lambda: len(servers[0].seen[0]) == 14)
    log.until("fault_hit")
    link.release()
    assert receive(sock, 25) == b"x" * 25
    link.toxic("limit_data", "upstream", bytes=5)
    sock.sendall(b"123456789")
    assert end_of(sock) == EOF
    servers[0].wait(lambda: bool(servers[0].ends))
    assert servers[0].seen[0] == b"ping" + b"x" * 25 + b"12345"


# -- down -----------------------------------------------------------------------------------------


def test_down_refuses_and_the_place_stays_held(link: Link) -> None:
    live = dial_path(link.path)
    round_trip(live)
    link.down()
    assert end_of(live) == EOF
    with pytest.raises(ConnectionRefusedError):
        dial_path(link.path)
    with socket.socket(socket.AF_UNIX) as thief, pytest.raises(OSError, match="in use"):
        thief.bind(link.path)
    link.up()
    round_trip(dial_path(link.path))


def test_others_failures_are_not_taken_for_refusals(link: Link, links: Links) -> None:
    """The kernel's count knows TCP only, so while a UNIX socket is down it says nothing of it."""
    link.down()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            dial(port)
    link.up()
    assert link.stats().refused == 0
    assert "refused" not in [event.ev for event in links.events()]


def test_reset_is_an_end_here(link: Link, links: Links) -> None:
    """There is no RST: who has said nothing that was not read sees an end."""
    live = dial_path(link.path)
    round_trip(live)
    link.down("reset")
    assert end_of(live) == EOF
    assert end_of(dial_path(link.path)) == EOF
    assert Log(links).until("refused")[0].data["mode"] == "reset"


def test_blackhole_and_freeze(link: Link, links: Links, servers: list[Server]) -> None:
    live = dial_path(link.path)
    round_trip(live)
    link.down("blackhole")
    live.sendall(b"kept")
    with pytest.raises((TimeoutError, BlockingIOError)):
        dial_path(link.path, timeout=0.2)
    assert quiet(live, 0.1)
    link.up()
    assert receive(live, 4) == b"kept"
    link.down("freeze")
    live.close()
    assert Log(links).until("hangup")[0].data["how"] == "fin"
    link.up()
    servers[0].wait(lambda: servers[0].ends == [EOF])


def test_a_connect_that_waits_in_a_black_hole_goes_on(link: Link) -> None:
    link.down("blackhole")
    trips: list[float] = []
    thread = threading.Thread(target=lambda: trips.append(round_trip(dial_path(link.path, None))))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    link.up()
    thread.join(10)
    assert len(trips) == 1


def test_a_peer_that_goes_while_nobody_reads(links: Links, servers: list[Server], folder: Path) -> None:
    servers.append(Server(sink, str(folder / "behind")))
    link = links.create("db", str(folder / "behind"), listen=f"unix:{folder}/front")
    link.toxic("bandwidth", "upstream", rate=0)
    sock = dial_path(link.path)
    sock.setblocking(False)
    try:
        while sock.send(bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass  # reading is paused now
    sock.close()
    link.toxics()["bandwidth_upstream"].remove()
    assert Log(links).until("close")[0].data["reason"] == "client_fin"


# -- permissions, and whose file it is ------------------------------------------------------------


def test_only_its_owner_may_connect_until_somebody_changes_that(link: Link) -> None:
    assert mode(link.path) == 0o600
    os.chmod(link.path, 0o660)
    link.down()
    link.up()
    assert mode(link.path) == 0o660
    round_trip(dial_path(link.path))


@pytest.mark.needs("root")
def test_its_owner_stays_its_owner(link: Link) -> None:
    os.chown(link.path, 65534, 65534)
    link.down()
    link.up()
    found = os.stat(link.path)
    assert (found.st_uid, found.st_gid) == (65534, 65534)


def test_the_file_goes_with_the_link(link: Link, links: Links, folder: Path) -> None:
    links.remove("db")
    assert os.listdir(folder) == ["behind"]


@pytest.mark.parametrize("down", [False, True])
def test_the_file_goes_with_the_process(link: Link, links: Links, box: HostBox, down: bool) -> None:
    if down:
        link.down()
    links.close()
    assert box.children[0].wait(5) == 0
    assert not os.path.exists(link.path)


def test_a_file_that_somebody_else_has_put_there_is_left_alone(link: Link, links: Links) -> None:
    link.down()
    os.unlink(link.path)
    Path(link.path).write_text("mine", encoding="ascii")
    with pytest.raises(UsageProblem, match=r"listen unix \S+: bind: file exists"):
        link.up()
    links.remove("db")
    assert Path(link.path).read_text(encoding="ascii") == "mine"


def test_a_file_that_has_vanished_is_made_again(link: Link) -> None:
    link.down()
    os.unlink(link.path)
    link.up()
    round_trip(dial_path(link.path))


def test_a_path_with_no_room_for_another_name(links: Links, servers: list[Server], folder: Path) -> None:
    servers.append(Server(echo))
    path = f"{folder}/" + "y" * (106 - len(str(folder)))
    assert len(path) == 107
    deep = f"{folder}/" + "d" * (100 - len(str(folder)))
    os.mkdir(deep)
    for name, place in (("a", path), ("b", f"{deep}/s")):
        link = links.create(name, servers[0].port, listen=f"unix:{place}")
        link.down()
        link.up()
        round_trip(dial_path(place))


# -- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("unix:{folder}/none/s", "link 'x': listen unix {folder}/none/s: bind: no such file or directory"),
        ("unix:{folder}/there", "link 'x': listen unix {folder}/there: bind: address already in use"),
        ("unix:{folder}/behind", "link 'x': listen unix {folder}/behind: bind: address already in use"),
        ("unix:s", "link 'x': the path of a UNIX socket must begin with /, not 's'"),
        ("unix:/" + "x" * 200, "has 201 bytes, that of a UNIX socket at most 107"),
    ],
)
def test_places_that_cannot_be_had(
    links: Links, servers: list[Server], folder: Path, listen: str, words: str
) -> None:
    (folder / "there").write_text("mine", encoding="ascii")
    servers.append(Server(echo, str(folder / "behind")))
    with pytest.raises(UsageProblem) as caught:
        links.create("x", 1, listen=listen.format(folder=folder))
    assert words.format(folder=folder) in str(caught.value)
    assert (folder / "there").read_text(encoding="ascii") == "mine"
    links.create("x", str(folder / "behind"), listen=f"unix:{folder}/x")


@pytest.mark.parametrize("listens", [False, True])
def test_an_upstream_that_is_not_there(links: Links, folder: Path, listens: bool) -> None:
    path = str(folder / "none")
    if listens:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
    link = links.create("db", path)
    assert fate(link.port) == EOF
    words = "Connection refused" if listens else "No such file or directory"
    assert Log(links).until("dial_fail")[0].data["error"] == words


@pytest.mark.needs("root", "setpriv")
def test_a_folder_or_socket_that_we_may_not_touch(servers: list[Server], folder: Path) -> None:
    """Root may do everything, so the link process is one without that right, and they are somebody else's."""
    servers.append(Server(echo, str(folder / "behind")))
    os.chmod(folder / "behind", 0o600)
    os.chown(folder / "behind", 65534, 65534)
    os.chmod(folder, 0o755)
    os.chown(folder, 65534, 65534)
    box = HostBox("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    links = links_on(box)
    try:
        with pytest.raises(UsageProblem, match="bind: permission denied"):
            links.create("x", 1, listen=f"unix:{folder}/front")
        link = links.create("db", str(folder / "behind"))
        assert fate(link.port) == EOF
        assert Log(links).until("dial_fail")[0].data["error"] == "Permission denied"
    finally:
        links.close()
        box.close()


def test_troubles_that_drop_packets_are_refused(link: Link, links: Links, folder: Path) -> None:
    with pytest.raises(UsageProblem, match=r"half_open drops packets, and unix:\S+front is a UNIX socket"):
        link.afflict("half_open", "dead")
    mixed = links.create("mixed", str(folder / "behind"))
    with pytest.raises(UsageProblem, match=r"loss drops packets, and unix:\S+behind is a UNIX socket"):
        mixed.afflict("loss", "lossy", share=0.5)
    sock = dial(mixed.port)
    round_trip(sock)
    assert mixed.afflict("half_open", "dead")["silent"] == 1
    mixed.relieve("dead")


@pytest.mark.needs("toxiproxy-server")
def test_the_real_server_has_none(box: HostBox, servers: list[Server], folder: Path) -> None:
    servers.append(Server(echo, str(folder / "behind")))
    chosen = links_on(box, server="auto")
    link = chosen.create("db", str(folder / "behind"))
    other = chosen.create("web", servers[0].port or 1)
    assert (link.server_used, other.server_used) == ("embedded", "toxiproxy 2.12.0")
    with link.toxic("latency", latency=50):
        assert round_trip(dial(link.port)) >= 0.05
    chosen.remove("db")
    chosen.close()
    asked = links_on(box, server="toxiproxy")
    with pytest.raises(MissingCapability, match="UNIX sockets: toxiproxy-server has TCP only"):
        asked.create("db", str(folder / "behind"))
    asked.close()
