"""Faults of several links at once: each bites on its own, each proves it by what its own link did."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Bench, Probe, Tried, bench
from tests.faults.echo import _SERVE, DIAL, echo_service

from backupchaos.commands import Command, Completed
from backupchaos.engine import choosing
from backupchaos.errors import HarnessBroken
from backupchaos.targets.base import DatabaseKind, Profile, Tier

pytestmark = pytest.mark.needs("namespaces", "seccomp")
__all__ = ["echo_service"]

_ASK = """
import socket, sys
sock = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)
sock.sendall(b'well?'); print(sock.recv(5).decode())
"""


class EchoDatabase:
    """The ``Database`` protocol around the echo server: links need bytes that move, not a protocol."""

    kind: DatabaseKind = "redis"
    name = "echo"
    image = "echo:1"
    user: int | None = None

    def available(self) -> None:
        pass

    def expose(self) -> Sequence[str]:
        return ()

    def files(self, home: str) -> Sequence[tuple[str, bytes, int]]:
        return ()

    def preparations(self, home: str) -> Sequence[Command]:
        return ()

    def command(self, home: str, port: int) -> Command:
        return Command((sys.executable, "-IS", "-c", _SERVE, str(port)))

    def ask(self, port: int) -> Command:
        return Command((sys.executable, "-IS", "-c", _ASK, str(port)))

    def answered(self, done: Completed) -> bool:
        return done.stdout == "well?\n"

    def tier(self, host: str, port: int) -> Tier:
        return Tier("redis", host, port, "ann", "secret-of-the-run", "0")


@pytest.fixture(autouse=True)
def echo_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "database_for", lambda kind: EchoDatabase())


class Both(Probe):
    """A probe that uses a catalog, which it finds in its environment."""

    profile = Profile(
        speaks=("rest", "local"),
        aspects=frozenset({"content"}),
        features=frozenset(),
        history=False,
        uses={"catalog": ()},
    )


TWO = (
    DIAL
    + """
catalog = (os.environ['BACKUPCHAOS_CATALOG_HOST'], int(os.environ['BACKUPCHAOS_CATALOG_PORT']))
def ring(timeout=20):
    sock = socket.create_connection(catalog, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
def took(sock):
    start = time.monotonic(); echo(sock, b'x')
    return time.monotonic() - start
def attempt(how):
    try: return how(2)
    except OSError as error: say(errno.errorcode.get(error.errno, type(error).__name__))
"""
)


@contextmanager
def two(
    tmp_path: Path, first: Mapping[str, Any], second: Mapping[str, Any] | None, code: str, **more: Any
) -> Iterator[Bench]:
    """A world with a fault at each of two links, ``fault`` and ``other``, or with one alone."""
    faults = {"fault": dict(first), **({"other": dict(second)} if second else {})}
    target = Both((sys.executable, "-c", TWO + code))
    options: dict[str, Any] = {"repository": "rest", "services": {"catalog": "any"}, "faults": faults}
    with bench(tmp_path, {}, (), target=target, **{**options, **more}) as made:
        yield made


def proofs(made: Bench) -> tuple[list[str], list[str]]:
    """What the catalog's fault has to show, and what the repository's."""
    for fault in made.phases.faults.values():
        assert fault.strays() == []
    return made.phases.faults["fault"].bite(), made.phases.faults["other"].bite()


def undone(result: Tried) -> list[str]:
    return [e["name"] for e in result.events if e.kind == "fault" and e["status"] == "undone"]


# -- each on its own link -------------------------------------------------------------------------------------


def test_two_links_with_a_latency_of_their_own(tmp_path: Path) -> None:
    code = "r, c = dial(), ring(); say(round(took(c), 1), round(took(r), 1))"
    late = {"network.latency": "catalog", "delay": 0.1}
    later = {"network.latency": "repository", "delay": 0.25}
    with two(tmp_path, late, later, code) as made:
        result = made.go()
        assert result.lines == ["0.2 0.5"]
        catalog, repository = proofs(made)
        assert catalog == ["1 bytes up and 1 down delayed by 100 ms"]
        assert repository == ["1 bytes up and 1 down delayed by 250 ms"]
        assert sorted(undone(result)) == ["fault", "other"]


def test_loss_and_latency_at_once_on_both(tmp_path: Path) -> None:
    """The table of several tiers: each fault counts what it did to its own link's packets."""
    code = "r, c = dial(), ring()\nfor _ in range(15): took(c); took(r)\nsay('done')"
    faults: dict[str, Any] = {
        "fault": {"network.loss": "catalog", "share": 0.15},
        "late": {"network.latency": "catalog", "delay": 0.001},
        "other": {"network.loss": "repository", "share": 0.15},
        "later": {"network.latency": "repository", "delay": 0.001},
    }
    with two(tmp_path, {}, None, code, faults=faults, deadline=60.0) as made:
        result = made.go()
        assert result.lines == ["done"]
        for fault in made.phases.faults.values():
            assert len(fault.bite()) == 1 and fault.strays() == []
        assert {e["link"] for e in result.events if e.kind == "link" and e["ev"] == "lost"} == {
            "catalog",
            "repository",
        }
        assert len(undone(result)) == 4


DOWN_BOTH = ({"network.down": "catalog"}, {"network.down": "repository"})


@pytest.mark.parametrize(
    ("code", "catalog", "repository"),
    [
        ("attempt(ring); attempt(ring); attempt(dial)", 2, 1),
        ("attempt(dial); attempt(dial); attempt(dial)", 0, 3),
    ],
)
def test_what_one_link_refused_proves_nothing_of_the_other(
    tmp_path: Path, code: str, catalog: int, repository: int
) -> None:
    with two(tmp_path, *DOWN_BOTH, code) as made:
        made.go()
        wanted = tuple(
            [f"{count} connection attempts refused"] if count else [] for count in (catalog, repository)
        )
        assert proofs(made) == wanted


def test_what_may_have_been_another_links_proves_nothing(tmp_path: Path) -> None:
    """The counter of the network name space knows that there were refusals, and not where."""
    with two(tmp_path, *DOWN_BOTH, "attempt(dial)") as made:
        fault = made.phases.faults["fault"]
        fault.begin(made.world.history.now())
        told: dict[str, Any] = {
            "link": "catalog",
            "ev": "refused",
            "conn": 0,
            "cause": "fault",
            "mode": "refused",
        }
        either: dict[str, Any] = {"count": 3, "exact": False, "shared": ["catalog", "repository"]}
        made.world.history.append("link", **told, **either)
        assert fault.bite() == []
        made.world.history.append("link", **told, count=1, exact=True)
        assert fault.bite() == ["1 connection attempts refused"]


def test_one_link_is_cut_and_the_other_never_notices(tmp_path: Path) -> None:
    code = """
r, c = dial(), ring(); echo(r, b'r'); echo(c, b'c'); say('ready')
say(end(c), echo(r, b'still')); attempt(ring); say('enough')
while True:
    try: c = ring(2); break
    except OSError: time.sleep(0.02)
say(echo(c, b'again'))
"""
    fault = {"network.down": "catalog", "when": {"log": "ready"}, "until": {"log": "enough"}}
    with two(tmp_path, fault, None, code) as made:
        result = made.go()
        assert result.lines == ["ready", "EOF b'still'", "ECONNREFUSED", "enough", "b'again'"]
        assert result.proof[0] == "1 live connections cut after 1 bytes sent"
        links = {
            e["link"] for e in result.events if e.kind == "link" and e["ev"] == "close" and "cause" in e.data
        }
        assert links == {"catalog"}


AT_THE_CATALOG: dict[str, dict[str, dict[str, Any]]] = {
    "what changes the traffic": {
        "network.slow": {"rate": 1000},
        "network.latency": {"delay": 0.05},
        "network.slice": {},
        "network.cut_after": {"size": 100},
        "network.loss": {"share": 0.5},
        "network.half_open": {},
        "network.corrupt": {},
        "network.reset": {},
        "dns.slow": {"delay": 0.1},
    },
    "what takes it away": {"network.down": {}, "dns.failure": {}},
    "silence": {"network.blackhole": {}},
    "by turns": {"network.flap": {}},
    "its server": {"service.restart": {}},
}


@pytest.mark.parametrize("group", AT_THE_CATALOG)
def test_no_kind_bites_a_job_that_has_its_traffic_elsewhere(tmp_path: Path, group: str) -> None:
    """The catalog is hit, and all that the job does is at the repository."""
    faults = {
        kind.replace(".", "_"): {kind: "catalog", **fields, "when": {"log": "ready"}}
        for kind, fields in AT_THE_CATALOG[group].items()
    }
    faults["fault"] = faults.pop(next(iter(faults)))
    code = "r = dial(); say('ready'); say(len(echo(r, bytes(60000)))); time.sleep(0.3); say(len(echo(r, b'end')))"
    with two(tmp_path, {}, None, code, faults=faults) as made:
        assert made.world.workspace.location.host == "127.0.0.1", "no name of the repository's is in question"
        result = made.go()
        assert result.lines == ["ready", "60000", "3"]
        for fault in made.phases.faults.values():
            assert fault.applied_at is not None
            assert (fault.name, fault.bite(), fault.strays()) == (fault.name, [], [])


# -- triggers --------------------------------------------------------------------------------------------------


def test_bytes_are_counted_on_the_link_that_the_fault_names(tmp_path: Path) -> None:
    """To the byte, while the other link has long moved more."""
    code = """
r, c = dial(), ring(); say(len(echo(r, bytes(5000))))
c.sendall(bytes(250)); say(end(c)); say(echo(r, b'r'))
"""
    fault = {"network.down": "catalog", "when": {"bytes": 100}}
    with two(tmp_path, fault, None, code) as made:
        result = made.go()
        assert result.lines == ["5000", "EOF", "b'r'"]
        assert result.proof == ["1 live connections cut after 100 bytes sent"]


def test_a_share_of_the_new_data_is_counted_at_the_repository(tmp_path: Path) -> None:
    code = """
r, c = dial(), ring(); say(len(echo(c, bytes(200000))))
size = sum(os.path.getsize(os.path.join(f, n)) for f, _, names in os.walk('{source}') for n in names)
say(len(echo(r, bytes(size)))); say(end(c))
"""
    fault = {"network.reset": "catalog", "when": {"at": 0.5}}
    with two(tmp_path, fault, None, code) as made:
        result = made.go()
        assert result.lines[0] == "200000"
        assert result.lines[2] == "ECONNRESET"
        assert result.proof == ["1 live connections cut after 200000 bytes sent"]


def test_two_links_stop_at_their_own_bytes(tmp_path: Path) -> None:
    code = """
r, c = dial(), ring()
r.sendall(bytes(70)); c.sendall(bytes(30)); r.sendall(bytes(70)); c.sendall(bytes(30))
say(end(r), end(c))
"""
    faults = (
        {"network.down": "catalog", "when": {"bytes": 50}},
        {"network.down": "repository", "when": {"bytes": 100}},
    )
    with two(tmp_path, *faults, code) as made:
        result = made.go()
        assert result.lines == ["EOF EOF"]
        assert proofs(made) == (
            ["1 live connections cut after 50 bytes sent"],
            ["1 live connections cut after 100 bytes sent"],
        )


def test_a_local_repository_has_a_catalog_with_a_link(tmp_path: Path) -> None:
    code = "c = ring(); c.sendall(bytes(250)); say(end(c)); open('{repository}/file', 'wb').write(bytes(9))"
    fault = {"network.reset": "catalog", "when": {"bytes": 100}}
    with two(tmp_path, fault, None, code, repository="local") as made:
        assert made.world.link is None
        result = made.go()
        assert result.lines == ["ECONNRESET"]
        assert result.proof == ["1 live connections cut after 100 bytes sent"]


# -- servers and names ------------------------------------------------------------------------------------------


def test_the_catalogs_server_is_killed_and_comes_back_and_the_repositorys_lives_on(tmp_path: Path) -> None:
    code = """
r, c = dial(), ring(); echo(c, b'c'); say('ready'); say(end(c)); attempt(ring)
while True:
    try:
        c = ring(2)
        if echo(c, b'again') == b'again': break
    except OSError: time.sleep(0.02)
say('back', echo(r, b'r'))
"""
    fault = {"service.kill": "catalog", "when": {"log": "ready"}, "for": 0.3}
    with two(tmp_path, fault, None, code) as made:
        before = made.world.tiers["catalog"].pid, made.world.service_pid
        result = made.go()
        assert result.lines == ["ready", "EOF", "ECONNREFUSED", "back b'r'"]
        assert result.proof[0] == "1 live connections died with the server"
        assert result.proof[1].endswith("connection attempts found no server")
        assert made.world.tiers["catalog"].pid != before[0]
        assert made.world.service_pid == before[1]
        assert not [e for e in result.events if e.kind == "residue" and e.get("server")]


def test_connections_that_another_link_lost_did_not_die_with_the_catalogs_server(tmp_path: Path) -> None:
    code = "r = dial(); echo(r, b'r'); say('ready'); say(end(r)); attempt(dial)"
    kill = {"service.kill": "catalog", "when": {"log": "ready"}}
    cut = {"network.down": "repository", "when": {"log": "ready"}}
    with two(tmp_path, kill, cut, code) as made:
        assert made.go().lines == ["ready", "EOF", "ECONNREFUSED"]
        catalog, repository = proofs(made)
        assert catalog == []
        assert repository[0] == "1 live connections cut after 1 bytes sent"


NAMES = """
say(catalog[0], '{host}')
def look(host):
    try: socket.getaddrinfo(host, 80); say('found')
    except socket.gaierror as error: say(error.args[1])
look(catalog[0]); look('{host}')
"""


def test_each_name_is_answered_by_its_own_order(tmp_path: Path) -> None:
    unknown = {"dns.failure": "catalog", "mode": "unknown"}
    failing = {"dns.failure": "repository", "mode": "failing"}
    with two(tmp_path, unknown, failing, NAMES) as made:
        result = made.go()
        assert result.lines[0] == "catalog.backupchaos.test repository.backupchaos.test"
        assert result.lines[1:] == ["Name or service not known", "Temporary failure in name resolution"]
        catalog, repository = proofs(made)
        assert catalog[0].endswith("answered NXDOMAIN")
        assert repository[0].endswith("answered SERVFAIL")


# -- what the job and the history are told --------------------------------------------------------------------


def test_retries_bear_the_name_of_their_link(tmp_path: Path) -> None:
    code = """
r, c = dial(), ring(); echo(r, b'r'); echo(c, b'c'); say('ready'); say(end(c)); say(end(r))
for how in (ring, dial, ring): attempt(how); time.sleep(0.3)
"""
    when = {"when": {"log": "ready"}}
    faults = ({"network.down": "catalog", **when}, {"network.down": "repository", **when})
    with two(tmp_path, *faults, code) as made:
        result = made.go()
        seen = [(e["source"], e["link"]) for e in result.events if e.kind == "retry"]
        assert seen == [("link", "catalog"), ("link", "repository"), ("link", "catalog")]


def test_a_connection_to_a_link_that_was_never_cut_is_no_retry(tmp_path: Path) -> None:
    code = "c = ring(); echo(c, b'c'); say('ready'); say(end(c))\nfor _ in range(3): dial(); time.sleep(0.3)"
    with two(tmp_path, {"network.down": "catalog", "when": {"log": "ready"}}, None, code) as made:
        result = made.go()
        assert [e for e in result.events if e.kind == "retry"] == []


def test_the_job_finds_its_catalog_and_no_secret_is_stored(tmp_path: Path) -> None:
    code = "say(os.environ['BACKUPCHAOS_CATALOG_URL'], sorted(n for n in os.environ if 'CATALOG' in n))"
    with two(tmp_path, {"network.down": "catalog"}, None, code) as made:
        result = made.go()
        tier = made.world.tiers["catalog"].tier
        names = [f"BACKUPCHAOS_CATALOG_{w}" for w in ("DATABASE", "HOST", "PASSWORD", "PORT", "URL", "USER")]
        assert result.lines == [f"redis://ann:•••@127.0.0.1:{tier.port}/0 {names}"]
        assert "secret-of-the-run" not in (tmp_path / "history.jsonl").read_text("utf-8")


def test_silence_is_broken_by_what_moves_on_any_link(tmp_path: Path) -> None:
    code = "c = ring()\nfor _ in range(12): echo(c, b'x'); time.sleep(0.1)\nsay('done')"
    with two(tmp_path, {"network.latency": "catalog", "delay": 0.001}, None, code, silence=0.7) as made:
        assert made.go().lines == ["done"]


def test_a_fault_of_a_link_that_is_not_there_breaks_the_run(tmp_path: Path) -> None:
    late = {"network.latency": "catalog", "delay": 0.1}
    with two(tmp_path, late, {"service.kill": "catalog"}, "pass") as made:
        for fault, words in zip(made.phases.faults.values(), ("there is none to", "no service"), strict=True):
            fault.spec = fault.spec.model_copy(update={"place": "auth"})
            with pytest.raises(HarnessBroken, match=f"{words} auth"):
                fault.apply()
