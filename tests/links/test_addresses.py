"""Addresses as text: what is understood, what is shown, and what is said of the rest."""

from __future__ import annotations

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.links import addresses
from backupchaos.links.behind import upstream


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80, ""),
        ("[::1]:0", "::1", 0, ""),
        ("some.name:65535", "some.name", 65535, ""),
        (":7", "", 7, ""),
        ("unix:/run/a b.sock", "", 0, "/run/a b.sock"),
    ],
)
def test_there_and_back(text: str, host: str, port: int, path: str) -> None:
    where = addresses.parse(text)
    assert (where.host, where.port, where.path) == (host, port, path)
    assert str(where) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bad", "address bad: missing port in address"),
        ("[::1]", r"address \[::1\]: missing port in address"),
        ("::1:80", "address ::1:80: too many colons in address"),
        ("a:http", "address http: invalid port"),
        ("a:65536", "address 65536: invalid port"),
        ("a:²", "address ²: invalid port"),
        ("unix:relative", "must begin with /, not 'relative'"),
        ("unix:", "must begin with /"),
        ("unix:/" + "x" * 107, "the path has 108 bytes, that of a UNIX socket at most 107"),
        ("unix:/" + "ä" * 54, "the path has 109 bytes"),
    ],
)
def test_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        addresses.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [(":0", "127.0.0.1:0"), ("localhost:9", "127.0.0.1:9"), ("[::]:1", "[::]:1"), ("unix:/x", "unix:/x")],
)
def test_listening_stays_on_this_host_unless_told_otherwise(text: str, shown: str) -> None:
    assert str(addresses.to_listen(text)) == shown


@pytest.mark.parametrize("text", ["some.name:0", "300.1.1.1:0", "127.1:0", "[::g]:0"])
def test_no_name_is_looked_up_to_listen(text: str) -> None:
    with pytest.raises(ValueError, match=r"^lookup \S+: no such host \(a link listens on addresses"):
        addresses.to_listen(text)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (80, "127.0.0.1:80"),
        ("/run/x", "unix:/run/x"),
        ("unix:/run/x", "unix:/run/x"),
        ("[::1]:5", "[::1]:5"),
        ("127.0.0.2:5", "127.0.0.2:5"),
    ],
)
def test_where_a_link_may_lead(given: int | str, shown: str) -> None:
    assert str(upstream(given)) == shown


@pytest.mark.parametrize("given", ["10.0.0.1:5", "example.org:443", "[::2]:5", "127.example.org:5", "5"])
def test_a_link_never_leaves_the_sandbox(given: str) -> None:
    with pytest.raises(UsageProblem, match="a link's upstream"):
        upstream(given)
