"""Refusals port by port: what one link has refused says nothing about another."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.links.support import dial, refused

from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.links import knocks
from backupchaos.links.addresses import Address
from backupchaos.links.counters import Refusals
from backupchaos.links.links import Links
from backupchaos.links.registry import Registry

pytestmark = pytest.mark.needs("namespaces")


@pytest.fixture(params=[pytest.param("root", marks=pytest.mark.needs("root")), "userns"])
def pair(request: pytest.FixtureRequest) -> Any:
    """Two links of a sandbox, and a way to knock inside of it."""
    sandbox = LocalEnvironment(request.param).sandbox(dict.fromkeys(Place, 8 << 20))
    links = Links(sandbox, 1, "embedded")

    def knock(port: int, times: int) -> None:
        for _ in range(times):
            with pytest.raises(ConnectionRefusedError):
                sandbox.connect(port)

    yield links.create("catalog", 9), links.create("store", 9), knock, links
    links.close()
    sandbox.close()


def told(links: Links) -> dict[str, tuple[int, bool]]:
    """Link -> (refusals, whether each was told as exact and as nobody else's)."""
    links.process.request("ping")
    found: dict[str, tuple[int, bool]] = {}
    for event in links.events():
        if event.ev == "refused":
            count, sure = found.get(event.link, (0, True))
            sure = sure and event.data["exact"] and "shared" not in event.data
            found[event.link] = count + event.data["count"], sure
    return found


def test_each_link_tells_of_its_own_refusals(pair: Any) -> None:
    catalog, store, knock, links = pair
    catalog.down(cause="one")
    store.down(cause="two")
    knock(catalog.port, 3)
    knock(store.port, 1)
    knock(1, 5)  # somewhere else, where nobody listens either
    catalog.up()
    store.up()
    assert told(links) == {"catalog": (3, True), "store": (1, True)}


def test_a_link_that_nobody_knocked_at_has_nothing_to_tell(pair: Any) -> None:
    catalog, store, knock, links = pair
    catalog.down()
    store.down()
    knock(store.port, 2)
    store.up()
    catalog.up()
    assert told(links) == {"store": (2, True)}


def test_connects_that_a_silent_link_never_answered_are_not_the_others(pair: Any) -> None:
    catalog, store, _, links = pair
    catalog.down("blackhole")
    store.down("refused")
    sock = links._sandbox.open_socket()
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sock.connect(("127.0.0.1", catalog.port))
    sock.close()
    store.up()
    catalog.up()
    assert told(links) == {"catalog": (1, True)}


def test_a_reset_of_a_live_connection_is_no_refusal() -> None:
    try:
        watch = knocks.Knocks()
    except PermissionError as error:
        pytest.skip(f"not for this machine: {error}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sock = dial(port)
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        sock.close()
    assert port not in watch.take()[0]
    assert refused(port)
    assert watch.take()[0][port] == 1
    watch.close()


class Pair:
    """Two links, as far as the counter asks."""

    def __init__(self, host: str = "127.0.0.1", *, isolated: bool = True) -> None:
        self.told: list[dict[str, Any]] = []
        self.links: dict[str, Any] = {}
        self.own_refusals, self.dialling, self.isolated = 0, 0, isolated
        self.attempts = SimpleNamespace(active=False)
        for name in ("catalog", "store"):

            def emit(ev: str, name: str = name, **data: Any) -> None:
                self.told.append({"link": name, "ev": ev, **data})

            door = SimpleNamespace(address=Address(host, 1))
            self.links[name] = SimpleNamespace(
                name=name, port=1, emit=emit, blame=dict, countable=True, door=door
            )

    def wake(self) -> None:
        pass


def counted(pair: Pair, monkeypatch: pytest.MonkeyPatch, *down: str) -> list[dict[str, Any]]:
    """What is told of three connects that failed somewhere, when the kernel's counter is all there is."""
    monkeypatch.setattr(knocks, "watch", lambda: None)
    fails = iter([10] * len(down) + [13])
    monkeypatch.setattr("backupchaos.links.counters.attempt_fails", lambda: next(fails))
    counter = Refusals(cast(Registry, pair))
    for name in down:
        counter.begin(pair.links[name])
    counter.poll()
    return pair.told


def test_without_a_watch_nobody_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(Pair(), monkeypatch, "catalog", "store")
    assert {e["link"]: (e["count"], e["exact"], e["shared"]) for e in found} == {
        name: (3, False, ["catalog", "store"]) for name in ("catalog", "store")
    }


@pytest.mark.parametrize("isolated", [True, False])
def test_on_the_machines_own_network_it_may_have_been_anybody(
    isolated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = counted(Pair(isolated=isolated), monkeypatch, "store")
    assert (found["count"], found["exact"], "strangers" in found) == (3, isolated, not isolated)


@pytest.mark.parametrize(("host", "seen"), [("127.0.0.1", True), ("10.0.0.2", True), ("::1", False)])
def test_packets_are_watched_where_the_links_are(
    host: str, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knocks, "watch", lambda: SimpleNamespace(close=lambda: None))
    assert Refusals(cast(Registry, Pair(host))).seen_by_port() is seen


def test_who_is_refused_elsewhere_does_not_count_at_the_only_link() -> None:
    """A lookup of ``localhost`` gives ::1 first, and a job may have other places to knock at."""
    with LocalEnvironment().sandbox(dict.fromkeys(Place, 8 << 20)) as sandbox:
        links = Links(sandbox, 1, "embedded")
        link = links.create("store", 9)
        assert link.sees_refusals()
        link.down()
        for port in (link.port, 1, 1, 2):
            with pytest.raises(ConnectionRefusedError):
                sandbox.connect(port)
        link.up()
        assert told(links) == {"store": (1, True)}
        links.close()
