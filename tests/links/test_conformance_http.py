"""The HTTP half of the conformance list: what any Toxiproxy server must answer (cases 1-31)."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.links.support import EOF, Backend, end_of, port_of, refused, round_trip

ADDRESS = "127.0.0.1:0"


def test_01_version(api: Backend) -> None:
    answer = api("GET", "/version")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json;charset=utf-8"
    assert answer.json["version"].startswith("2.12.0")
    assert answer.text.endswith("\n")


def test_02_browsers_are_turned_away(api: Backend) -> None:
    answer = api("GET", "/proxies", User_Agent="Mozilla/5.0")
    assert (answer.status, answer.text.strip()) == (403, "User agent not allowed")
    for agent in ("curl/8", "mozilla/5.0"):
        assert api("GET", "/proxies", User_Agent=agent).status == 200
    assert api("GET", "/nope", User_Agent="Mozilla/5.0").status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/proxies"),
        ("HEAD", "/proxies"),
        ("OPTIONS", "/proxies"),
        ("GET", "/populate"),
        ("GET", "/reset"),
        ("POST", "/version"),
        ("PUT", "/proxies/x/toxics/y"),
    ],
)
def test_03_wrong_method(api: Backend, method: str, path: str) -> None:
    answer = api(method, path)
    assert (answer.status, answer.body) == (405, b"")
    assert "Allow" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/nope", "/proxies/", "/metrics", "/proxies/a/b"])
def test_04_unknown_path(api: Backend, path: str) -> None:
    answer = api("GET", path)
    assert (answer.status, answer.text) == (404, "404 page not found\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_05_create(api: Backend) -> None:
    upstream = api.server().address
    answer = api("POST", "/proxies", {"name": "a", "upstream": upstream, "listen": ADDRESS})
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Toxiproxy-Request-Id"]
    made = answer.json
    assert (made["name"], made["upstream"], made["enabled"], made["toxics"]) == ("a", upstream, True, [])
    assert port_of(made) > 0
    round_trip(api.dial(port_of(made)))


BAD_PROXIES = [
    (b'{"upstream":"x:1"}', "missing required field: name"),
    (b'{"name":"a"}', "missing required field: upstream"),
    (b"null", "missing required field: name"),
    (b"", "bad request body: EOF"),
    (b"{", "bad request body: unexpected EOF"),
    (b"nul", "bad request body: unexpected EOF"),
    (b"[]", "bad request body: json: cannot unmarshal array into Go value of type toxiproxy.Proxy"),
    (b"3", "bad request body: json: cannot unmarshal number into Go value of type toxiproxy.Proxy"),
    (
        b'{"name":3}',
        "bad request body: json: cannot unmarshal number into Go struct field Proxy.name of type string",
    ),
    (
        b'{"enabled":"x"}',
        "bad request body: json: cannot unmarshal string into Go struct field Proxy.enabled of type bool",
    ),
    (b'{"a":}', "bad request body: invalid character '}' looking for beginning of value"),
    (b'{"a" 3}', "bad request body: invalid character '3' after object key"),
    (b'{"a":NaN}', "bad request body: invalid character 'N' looking for beginning of value"),
]


@pytest.mark.parametrize(("body", "text"), BAD_PROXIES)
def test_06_07_bad_proxy(api: Backend, body: bytes, text: str) -> None:
    answer = api("POST", "/proxies", body)
    assert (answer.status, answer.json) == (400, {"error": text, "status": 400})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text.endswith("}\n")


def test_07_lenient_decoder(api: Backend) -> None:
    body = b'  {"NAME":"a","Upstream":"127.0.0.1:1","listen":"127.0.0.1:0","toxics":[{"type":"x"}],"y":1} trailing'
    answer = api("POST", "/proxies", body)
    assert (answer.status, answer.json["name"], answer.json["toxics"]) == (201, "a", [])


def test_08_same_name(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    answer = api("POST", "/proxies", {"name": name, "upstream": "127.0.0.1:1", "listen": ADDRESS})
    assert (answer.status, answer.error) == (409, "proxy already exists")


def test_09_taken_port(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    body = {"name": "second", "upstream": "127.0.0.1:1", "listen": f"127.0.0.1:{port}"}
    answer = api("POST", "/proxies", body)
    text = f"listen tcp 127.0.0.1:{port}: bind: address already in use"
    assert (answer.status, answer.json) == (500, {"error": text, "status": 500})
    assert api("GET", "/proxies/second").status == 404
    api("DELETE", f"/proxies/{name}")
    assert api("POST", "/proxies", body).status == 201
    bad = api("POST", "/proxies", {"name": "third", "upstream": "127.0.0.1:1", "listen": "bad"})
    assert (bad.status, bad.error) == (500, "listen tcp: address bad: missing port in address")


def test_10_created_disabled(api: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    body = {"name": "a", "upstream": api.server().address, "listen": f"localhost:{port}", "enabled": False}
    answer = api("POST", "/proxies", body)
    assert (answer.status, answer.json["enabled"], answer.json["listen"]) == (201, False, f"localhost:{port}")
    assert refused(port)
    answer = api("PATCH", "/proxies/a", {"enabled": True})
    assert (answer.status, answer.json["listen"]) == (200, f"127.0.0.1:{port}")
    round_trip(api.dial(port))


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", ""), ("GET", "/toxics"), ("POST", "/toxics")],
)
def test_11_unknown_proxy(api: Backend, method: str, path: str) -> None:
    answer = api(method, f"/proxies/none{path}", {})
    assert (answer.status, answer.error) == (404, "proxy not found")


def test_12_index(api: Backend) -> None:
    assert api("GET", "/proxies").json == {}
    one, _ = api.proxy("127.0.0.1:1")
    two, _ = api.proxy("127.0.0.1:1")
    api.toxic(two, "noop")
    found = api("GET", "/proxies").json
    assert {name: len(proxy["toxics"]) for name, proxy in found.items()} == {one: 0, two: 1}


def test_13_delete(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    answer = api("DELETE", f"/proxies/{name}")
    assert (answer.status, answer.body) == (204, b"")
    assert api("GET", f"/proxies/{name}").status == 404
    assert refused(port)


def test_14_name_cannot_change(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    answer = api("PATCH", f"/proxies/{name}", {"name": "other"})
    assert (answer.status, answer.json["name"], port_of(answer.json)) == (200, name, port)


def test_15_post_updates_too(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    assert api("POST", f"/proxies/{name}", {"enabled": False}).json["enabled"] is False
    assert api("PATCH", f"/proxies/{name}", {}).json["enabled"] is False
    assert refused(port)


def test_16_move_to_taken_port(api: Backend) -> None:
    _, taken = api.proxy("127.0.0.1:1")
    name, _ = api.proxy("127.0.0.1:1")
    answer = api("PATCH", f"/proxies/{name}", {"listen": f"127.0.0.1:{taken}"})
    assert answer.status == 500
    shown = api("GET", f"/proxies/{name}").json
    assert (shown["enabled"], port_of(shown)) == (False, taken)
    for listen, text in (
        ("nonsense", "address nonsense: missing port in address"),
        ("127.0.0.1:99999", "address 99999: invalid port"),
    ):
        answer = api("PATCH", f"/proxies/{name}", {"listen": listen})
        assert (answer.status, answer.error) == (500, text)


def test_17_populate(api: Backend) -> None:
    body = [
        {"name": "one", "upstream": "127.0.0.1:1", "listen": ADDRESS},
        {"name": "two", "upstream": "127.0.0.1:1", "listen": ADDRESS, "enabled": False},
    ]
    answer = api("POST", "/populate", body)
    assert answer.status == 201
    assert [(proxy["name"], proxy["enabled"]) for proxy in answer.json["proxies"]] == [
        ("one", True),
        ("two", False),
    ]
    assert api("POST", "/populate", []).json == {"proxies": None}


def test_18_populate_again(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    api.toxic(name, "latency", latency=5)
    same = {"name": name, "upstream": "127.0.0.1:1", "listen": f"127.0.0.1:{port}", "enabled": False}
    (kept,) = api("POST", "/populate", [same]).json["proxies"]
    assert (kept["enabled"], len(kept["toxics"])) == (True, 1)
    (new,) = api("POST", "/populate", [same | {"upstream": "127.0.0.1:2", "enabled": True}]).json["proxies"]
    assert (new["upstream"], new["toxics"], port_of(new)) == ("127.0.0.1:2", [], port)


def test_19_populate_checks_all_names_first(api: Backend) -> None:
    body = [{"name": "one", "upstream": "127.0.0.1:1", "listen": ADDRESS}, {"upstream": "127.0.0.1:1"}]
    answer = api("POST", "/populate", body)
    text = "missing required field: name at proxy 2"
    assert (answer.status, answer.json) == (400, {"error": text, "status": 400, "proxies": None})
    assert answer.headers["Content-Type"] == "application/json"
    assert api("GET", "/proxies").json == {}
    assert api("POST", "/populate", {}).error.startswith(
        "bad request body: json: cannot unmarshal object into Go value of type []struct"
    )


def test_20_populate_binds_midway(api: Backend) -> None:
    names = [("one", ADDRESS), ("two", "bad"), ("three", ADDRESS)]
    body = [{"name": name, "upstream": "127.0.0.1:1", "listen": listen} for name, listen in names]
    answer = api("POST", "/populate", body)
    assert answer.status == 500
    assert [proxy["name"] for proxy in answer.json["proxies"]] == ["one"]
    assert list(api("GET", "/proxies").json) == ["one"]


def test_21_same_listen_by_name(api: Backend) -> None:
    name, port = api.proxy("127.0.0.1:1")
    answer = api("PATCH", f"/proxies/{name}", {"listen": f"localhost:{port}"})
    assert (answer.status, answer.json["listen"]) == (200, f"127.0.0.1:{port}")


def test_22_toxic_defaults(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    answer = api("POST", f"/proxies/{name}/toxics", {"type": "latency"})
    assert (answer.status, answer.json) == (
        200,
        {
            "attributes": {"latency": 0, "jitter": 0},
            "name": "latency_downstream",
            "type": "latency",
            "stream": "downstream",
            "toxicity": 1,
        },
    )


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("bandwidth", {"rate": 0}),
        ("slow_close", {"delay": 0}),
        ("timeout", {"timeout": 0}),
        ("reset_peer", {"timeout": 0}),
        ("limit_data", {"bytes": 0}),
        ("noop", {}),
    ],
)
def test_23_default_attributes(api: Backend, kind: str, attributes: dict[str, int]) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    assert api("POST", f"/proxies/{name}/toxics", {"type": kind}).json["attributes"] == attributes


FIELD = "bad request body: json: cannot unmarshal"
BAD_TOXICS: list[tuple[Any, str]] = [
    ({"type": "bogus"}, "invalid toxic type"),
    ({}, "invalid toxic type"),
    ({"type": "latency", "stream": "up"}, "stream was invalid, can be either upstream or downstream"),
    ({"type": "latency", "stream": ""}, "stream was invalid, can be either upstream or downstream"),
    (
        {"type": "latency", "attributes": {"latency": "x"}},
        f"{FIELD} string into Go struct field LatencyToxic.attributes.latency of type int64",
    ),
    (
        {"type": "latency", "attributes": {"latency": 1.5}},
        f"{FIELD} number 1.5 into Go struct field LatencyToxic.attributes.latency of type int64",
    ),
    (
        {"type": "latency", "attributes": {"latency": 99999999999999999999}},
        f"{FIELD} number 99999999999999999999 into Go struct field LatencyToxic.attributes.latency of type int64",
    ),
    (
        {"type": "latency", "toxicity": "x"},
        f"{FIELD} string into Go struct field ToxicWrapper.toxicity of type float32",
    ),
    ({"type": 3}, f"{FIELD} number into Go struct field ToxicWrapper.type of type string"),
    ([], f"{FIELD} array into Go value of type toxics.ToxicWrapper"),
]


@pytest.mark.parametrize(("body", "text"), BAD_TOXICS)
def test_24_27_bad_toxic(api: Backend, body: Any, text: str) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    answer = api("POST", f"/proxies/{name}/toxics", body)
    assert (answer.status, answer.error) == (400, text)
    assert api("GET", f"/proxies/{name}/toxics").json == []


def test_24_null_stream_is_the_default(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    answer = api("POST", f"/proxies/{name}/toxics", {"type": "noop", "stream": None})
    assert answer.json["stream"] == "downstream"
    shouted = api("POST", f"/proxies/{name}/toxics", {"type": "latency", "stream": "Upstream"})
    assert (shouted.status, shouted.json["name"]) == (200, "latency_Upstream")


def test_25_toxic_names_are_unique(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    api.toxic(name, "latency", name="x")
    answer = api("POST", f"/proxies/{name}/toxics", {"type": "noop", "stream": "upstream", "name": "x"})
    assert (answer.status, answer.error) == (409, "toxic already exists")
    assert len(api("GET", f"/proxies/{name}/toxics").json) == 1


def test_26_both_streams(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    api.toxic(name, "latency")
    api.toxic(name, "latency", "upstream")
    names = [toxic["name"] for toxic in api("GET", f"/proxies/{name}/toxics").json]
    assert names == ["latency_upstream", "latency_downstream"]


def test_27_unknown_attribute_is_ignored(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    body = {"type": "latency", "attributes": {"latency": 5, "color": "red"}}
    assert api("POST", f"/proxies/{name}/toxics", body).json["attributes"] == {"latency": 5, "jitter": 0}


def test_28_patch_toxic(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    path = api.toxic(name, "latency", "upstream", latency=100, jitter=10, toxicity=0.5)
    body = {"attributes": {"jitter": 20}, "name": "n", "type": "noop", "stream": "downstream"}
    expected = {
        "attributes": {"latency": 100, "jitter": 20},
        "name": "latency_upstream",
        "type": "latency",
        "stream": "upstream",
        "toxicity": 0.5,
    }
    answer = api("PATCH", path, body)
    assert (answer.status, answer.json) == (200, expected)
    assert api("POST", path, {"toxicity": 0.2}).json == expected | {"toxicity": 0.2}
    assert api("GET", path).json["toxicity"] == 0.2


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST", "DELETE"])
def test_29_unknown_toxic(api: Backend, method: str) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    answer = api(method, f"/proxies/{name}/toxics/none", {})
    assert (answer.status, answer.error) == (404, "toxic not found")


def test_30_delete_toxic(api: Backend) -> None:
    name, _ = api.proxy("127.0.0.1:1")
    answer = api("DELETE", api.toxic(name, "latency"))
    assert (answer.status, answer.body) == (204, b"")
    assert api("GET", f"/proxies/{name}/toxics").json == []


def test_31_reset(api: Backend) -> None:
    name, port = api.proxy(api.server().address)
    api.toxic(name, "timeout")
    assert len(api("PATCH", f"/proxies/{name}", {"enabled": False}).json["toxics"]) == 1
    answer = api("POST", "/reset")
    assert (answer.status, answer.body) == (204, b"")
    shown = api("GET", f"/proxies/{name}").json
    assert (shown["enabled"], shown["toxics"]) == (True, [])
    sock = api.dial(port)
    round_trip(sock)
    sock.shutdown(socket.SHUT_WR)
    assert end_of(sock) == EOF
