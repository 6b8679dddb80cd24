"""The one client: typed errors, checks before sending, time-outs, other people's networks."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import toxiproxy.exceptions
from tests.links.support import Backend, port_of, refused, round_trip

from backupchaos.errors import HarnessBroken, UsageProblem
from backupchaos.links import client as api
from backupchaos.links import servererrors as errors


@pytest.fixture
def client(running: Backend) -> Iterator[api.ToxiproxyClient]:
    made = api.ToxiproxyClient(running.port)
    yield made
    made.close()


def test_create_listens_on_loopback_only(client: api.ToxiproxyClient, running: Backend) -> None:
    proxy = client.create("a", running.server().address)
    assert proxy.listen.startswith("127.0.0.1:")
    round_trip(running.dial(proxy.port))
    assert client.proxies()["a"].upstream == proxy.upstream
    proxy.destroy()
    with pytest.raises(errors.ProxyNotFound):
        client.get_proxy("a")
    running.clean()


def test_toxic_handle(client: api.ToxiproxyClient, running: Backend) -> None:
    client.create("a", running.server().address)
    toxic = client.add_toxic("a", "latency", attributes={"latency": 100})
    toxic.update(jitter=3, toxicity=0.5)
    assert (toxic.attributes, toxic.toxicity) == ({"latency": 100, "jitter": 3}, 0.5)
    assert client.get_proxy("a").toxics()["latency_downstream"].attributes == toxic.attributes
    with toxic:
        pass
    assert client.get_proxy("a").toxics() == {}
    running.clean()


def test_errors_are_typed_and_the_packages_own(client: api.ToxiproxyClient, running: Backend) -> None:
    client.create("a", "127.0.0.1:1")
    client.add_toxic("a", "noop")
    with pytest.raises(errors.ProxyExists, match="proxy already exists"):
        client.create("a", "127.0.0.1:1")
    with pytest.raises(errors.ToxicExists):
        client.add_toxic("a", "noop")
    with pytest.raises(toxiproxy.exceptions.NotFound, match="proxy not found"):
        client.get_proxy("none")
    with pytest.raises(errors.ToxicNotFound):
        client.call("DELETE", "/proxies/a/toxics/none")
    with pytest.raises(errors.BadRequest) as caught:
        client.call("POST", "/proxies", {"name": "x"})
    assert (caught.value.status, caught.value.text) == (400, "missing required field: upstream")
    with pytest.raises(errors.ServerError, match="address already in use") as other:
        client.create("b", "127.0.0.1:1", port=client.get_proxy("a").port)
    assert other.value.status == 500
    assert isinstance(other.value, HarnessBroken)
    running.clean()


def test_created_with_toxics_no_connection_escapes(client: api.ToxiproxyClient, running: Backend) -> None:
    proxy = client.create(
        "a", running.server().address, toxics=[{"kind": "latency", "attributes": {"latency": 80}}]
    )
    assert proxy.enabled
    assert round_trip(running.dial(proxy.port)) >= 0.08
    with pytest.raises(UsageProblem):
        client.create("b", "127.0.0.1:1", toxics=[{"kind": "slicer"}])
    assert list(client.proxies()) == ["a"]
    running.clean()


def test_enable_disable_update_populate_reset(client: api.ToxiproxyClient, running: Backend) -> None:
    (proxy,) = client.populate([{"name": "a", "upstream": running.server().address}])
    proxy.disable()
    assert refused(proxy.port)
    proxy.enable()
    round_trip(running.dial(proxy.port))
    assert client.update("a", upstream="127.0.0.1:2")["upstream"] == "127.0.0.1:2"
    client.add_toxic("a", "noop")
    client.reset()
    assert client.proxies()["a"].toxics() == {}
    running.clean()


def test_two_servers_in_one_process(running: Backend, client: api.ToxiproxyClient, links: Any) -> None:
    other = links.client
    client.create("here", "127.0.0.1:1")
    other.create("there", "127.0.0.1:1")
    assert (list(client.proxies()), list(other.proxies())) == (["here"], ["there"])
    running.clean()


NOT_SENT = [
    ("bandwidth", {"rate": -1}, "rate must not be negative"),
    ("slicer", {}, "average_size must be at least 1"),
    ("slicer", {"average_size": 10, "size_variation": 11}, "must not exceed average_size"),
    ("latency", {"jitter": 2**62 + 1}, "jitter must be at most"),
    ("latency", {"delay": 1}, "unknown attribute 'delay': it has latency, jitter"),
    ("latency", {"latency": 1.5}, "latency must be a whole number"),
    ("latency", {"latency": True}, "latency must be a whole number"),
    ("packet_loss", {}, "unknown toxic 'packet_loss'"),
]


@pytest.mark.parametrize(("kind", "attributes", "text"), NOT_SENT)
def test_what_would_crash_a_server_is_not_sent(kind: str, attributes: dict[str, Any], text: str) -> None:
    nowhere = api.ToxiproxyClient(1, connect=_must_not_connect)
    with pytest.raises(UsageProblem, match=text):
        nowhere.add_toxic("a", kind, attributes=attributes)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"toxicity": 1.5}, "toxicity must be between 0 and 1"),
        ({"stream": "up"}, "stream must be upstream or downstream"),
        ({"name": "a/b"}, "name 'a/b'"),
    ],
)
def test_other_bad_arguments_are_not_sent(arguments: dict[str, Any], text: str) -> None:
    nowhere = api.ToxiproxyClient(1, connect=_must_not_connect)
    with pytest.raises(UsageProblem, match=text):
        nowhere.add_toxic("a", "noop", **arguments)


@pytest.mark.parametrize("name", ["", "a/b", "a?b", "..", ".", "a b", "ä"])
def test_names_that_could_not_be_addressed(name: str) -> None:
    nowhere = api.ToxiproxyClient(1, connect=_must_not_connect)
    for call in (nowhere.get_proxy, nowhere.destroy, lambda name: nowhere.create(name, "x:1")):
        with pytest.raises(UsageProblem):
            call(name)


def _must_not_connect(port: int) -> socket.socket:
    raise AssertionError("something was sent")


def test_connections_come_from_the_caller(running: Backend) -> None:
    asked: list[int] = []

    def connect(port: int) -> socket.socket:
        asked.append(port)
        return socket.create_connection(("127.0.0.1", running.port))

    client = api.ToxiproxyClient(9, connect)
    assert client.version().startswith("2.12.0")
    client.proxies()
    assert asked == [9], "one connection is kept for all requests"
    client.close()


def test_environment_proxies_are_ignored(
    client: api.ToxiproxyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert client.proxies() == {}


def test_a_hanging_server_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = api.ToxiproxyClient(server.getsockname()[1], timeout=0.2)
        with pytest.raises(errors.ServerDead, match="timed out"):
            client.version()
        with pytest.raises(errors.ServerDead, match="not sent"):
            client.version()
        client.close()


def test_no_server_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(errors.ServerDead, match="refused"):
        api.ToxiproxyClient(port).version()


class _Fake(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[list[tuple[int, bytes]]] = []

    def do_GET(self) -> None:
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Fake)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("2.8.9", False),
        ("2.9.0", True),
        ("2.12.0+x", True),
        ("v2.10.1", True),
        ("3.0.0", False),
        ("git", False),
    ],
)
def test_version_gate(fake: int, version: str, good: bool) -> None:
    _Fake.answers[:] = [(200, json.dumps({"version": version}).encode())]
    client = api.ToxiproxyClient(fake)
    if good:
        assert client.version() == version
    else:
        with pytest.raises(errors.ServerError, match="not supported"):
            client.version()
    client.close()


@pytest.mark.parametrize(
    ("status", "body"), [(503, b"<html>slow</html>"), (500, b"[]"), (302, b""), (200, b"<html>")]
)
def test_answers_that_are_no_json(fake: int, status: int, body: bytes) -> None:
    _Fake.answers[:] = [(status, body)]
    client = api.ToxiproxyClient(fake)
    with pytest.raises(errors.ServerError) as caught:
        client.proxies()
    assert caught.value.status == status
    client.close()


def test_the_package_itself_works_against_the_server(api: Backend) -> None:
    from toxiproxy import Toxiproxy

    raw = Toxiproxy()
    raw.update_api_consumer("127.0.0.1", api.port)
    proxy = raw.create(upstream=api.server().address, name="raw")
    proxy.add_toxic(type="latency", attributes={"latency": 60})
    assert list(proxy.toxics()) == ["latency_downstream"]
    assert round_trip(api.dial(int(proxy.listen.rpartition(":")[2]))) >= 0.06
    with proxy.down():
        assert refused(port_of(api("GET", "/proxies/raw").json))
    assert raw.running() is True
    assert raw.reset() is True
    assert raw.destroy(proxy) is True
    assert raw.proxies() == {}
