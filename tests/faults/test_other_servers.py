"""Faults of repositories on the servers that are not the default ones: they bite, they are undone, and what clients
are told of them is what the servers' classes say."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import Bench, Probe, bench, python
from tests.faults.service_jobs import WHEN_READY, http

from backupchaos.commands import Completed
from backupchaos.environments.base import Place
from backupchaos.errors import MissingCapability
from backupchaos.services.minio import Minio
from backupchaos.services.openssh import OpensshService
from backupchaos.services.rclone_serve import RcloneService
from backupchaos.services.rest_server import RestServer
from backupchaos.services.servers import Servers
from backupchaos.targets.base import RepositoryType
from backupchaos_targets.rclone import RcloneTarget

Server = tuple[RepositoryType, str]
REST: Server = ("rest", "rest-server")
S3: Server = ("s3", "minio")
SFTP: Server = ("sftp", "openssh")
EVERY = [
    pytest.param(REST, marks=pytest.mark.needs("rest-server")),
    pytest.param(S3, marks=pytest.mark.needs("minio")),
    pytest.param(SFTP, marks=pytest.mark.needs("sshd")),
]
OVER_HTTP = EVERY[:2]
OWN_ANSWER = {REST: 404, S3: 400}
"""What they say by themselves to a request for something that is not there, or that S3 would have signed."""
ANSWERS: list[tuple[Mapping[str, Any], int, str]] = [
    ({"service.errors": "repository", "share": 1.0, "status": 502}, 502, "requests answered by 502"),
    ({"service.throttle": "repository", "status": 429, "retry_after": 7}, 429, "requests answered by 429"),
    ({"service.slow": "repository", "delay": 0.5}, 0, "answers held back for 500 ms each"),
    ({"service.credentials_expire": "repository"}, 401, "requests refused"),
]
pytestmark = pytest.mark.needs("namespaces")


def on(server: Server) -> dict[str, Any]:
    kind, name = server
    return {"repository": kind, "servers": Servers({kind: name})}


@pytest.mark.parametrize("server", OVER_HTTP)
@pytest.mark.parametrize(("fault", "status", "proof"), ANSWERS, ids=[next(iter(a[0])) for a in ANSWERS])
def test_the_gate_stands_in_front_of_any_http_server(
    tmp_path: Path, server: Server, fault: Mapping[str, Any], status: int, proof: str
) -> None:
    if status == 401 and server == S3:
        status = 403
    job = http(
        "met = [ask() for _ in range(3)]\nprint(met, flush=True)\nprint('ready', flush=True)\n"
        "end = time.monotonic() + 15\n"
        "while time.monotonic() < end:\n"
        " start = time.monotonic(); seen = ask()\n"
        f" if seen == {OWN_ANSWER[server]} and time.monotonic() - start < 0.4: break\n"
        "print(seen)"
    )
    timed = {**fault, "until": WHEN_READY}
    with bench(tmp_path, timed, (), target=job, **on(server)) as made:
        result = made.go()
        assert made.world.control is not None
        assert made.world.control.status()["active"] == {}
    own = OWN_ANSWER[server]
    assert result.lines == [str([status or own] * 3), "ready", str(own)]
    assert result.strays == []
    assert server[1] in result.fault.mechanism
    # It may ask once more before the fault ends, which "ready" brings about.
    assert re.match(rf"(\d+ of )?([3-9]|\d\d+) {proof}", result.proof[0]), result.proof


@pytest.mark.parametrize("kind", ["service.errors", "service.slow", "service.credentials_expire"])
@pytest.mark.needs("sshd")
def test_openssh_cannot_be_told(tmp_path: Path, kind: str) -> None:
    fault = {kind: "repository", **({"delay": 0.1} if kind == "service.slow" else {})}
    with (
        pytest.raises(MissingCapability, match=r"obedient server.*cannot be told.*use the server asyncssh"),
        bench(tmp_path, fault, python("pass"), **on(SFTP)),
    ):
        pass


@pytest.mark.parametrize("server", EVERY)
@pytest.mark.parametrize("kind", ["service.kill", "service.restart"])
def test_a_server_goes_and_comes_back(tmp_path: Path, server: Server, kind: str) -> None:
    hello = "b'S'" if server == SFTP else "b'H'"
    fault = {kind: "repository", "when": WHEN_READY, **({"for": 0.5} if kind == "service.kill" else {})}
    job = http(
        "c = socket.create_connection(('{host}', int('{port}')))\n"
        f"if {hello} == b'S': c.recv(100)\n"
        "print('ready', flush=True)\n"
        "try: print('live:', c.recv(1), flush=True)\n"
        "except OSError as error: print('live:', type(error).__name__, flush=True)\n"
        f"print('back:', until({hello}), flush=True)"
    )
    with bench(tmp_path, fault, (), target=job, **on(server)) as made:
        first = made.world.service_pid
        result = made.go()
        processes = made.world.sandbox.processes()
        assert made.world.service_pid not in (first, None)
        assert not [p for p in processes if p.role == "service" and first in (p.pid, p.parent)]
    assert result.lines[0] == "ready"
    assert result.lines[1] in {"live: b''", "live: ConnectionResetError"}
    assert result.lines[2] == f"back: {hello}"
    assert re.match("[1-9]\\d* live connections died with the server", result.proof[0])
    assert f"ended by SIG{'KILL' if kind == 'service.kill' else 'TERM'}" in result.proof[-1] or (
        kind == "service.restart" and "ended by code 0" in result.proof[-1]
    ), result.proof
    assert result.strays == []


# -- what they keep, and what they tell -------------------------------------------------------------------------


class Client(RcloneTarget, Probe):
    """A job that is one rclone command, and the same client outside of the job."""

    def __init__(self, *words: str) -> None:
        RcloneTarget.__init__(self)
        self.words = words

    def backup(self, work: Any) -> Any:
        return self.ask(work, *self.words)

    def ask(self, work: Any, *words: str) -> Any:
        quick = ("--retries", "1", "--low-level-retries", "1", "--timeout", "5s")
        return self._command(
            work, *(word.format(at=self._mirror(work), **vars(work)) for word in words), *quick
        )


def client(made: Bench, *words: str) -> Completed:
    return made.world.run(Client().ask(made.world.workspace, *words), what="client")


@pytest.mark.needs("rclone")
@pytest.mark.parametrize("server", EVERY[1:])
def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, server: Server) -> None:
    """The reason why ``forgets`` is empty."""
    fault = {"service.kill": "repository", "when": WHEN_READY, "for": 0.1}
    target: Any = http("print('ready', flush=True)\nuntil('ConnectionRefusedError')")
    with bench(tmp_path, fault, (), target=target, **on(server)) as made:
        assert client(made, "copy", "{source}", "{at}").ok
        before = client(made, "lsl", "{at}").stdout
        made.go()
        assert client(made, "lsl", "{at}").stdout == before
        assert before.count("\n") >= 10


DISK_FAULTS: list[Mapping[str, Any]] = [
    {"disk.full": "repository", "when": "start"},
    {"disk.readonly": "repository", "when": "start"},
    {"disk.io_error": "repository", "call": "write", "error": "EIO", "calls": 1000, "when": "start"},
]


@pytest.mark.needs("rclone", "seccomp", "volumes")
@pytest.mark.parametrize("fault", DISK_FAULTS, ids=[next(iter(fault)) for fault in DISK_FAULTS])
@pytest.mark.parametrize(
    ("server", "service"),
    [
        pytest.param(S3, Minio, marks=pytest.mark.needs("minio")),
        pytest.param(SFTP, OpensshService, marks=pytest.mark.needs("sshd")),
        pytest.param(("s3", "rclone"), lambda: RcloneService("s3")),
        pytest.param(("webdav", "rclone"), lambda: RcloneService("webdav")),
    ],
)
def test_what_clients_are_told_of_a_disk(
    tmp_path: Path, server: Server, service: Any, fault: Mapping[str, Any]
) -> None:
    with bench(
        tmp_path, fault, (), target=Client("copyto", os.path.realpath("/bin/sh"), "{at}/x"), **on(server)
    ) as made:
        result = made.go()
    said(result, service().terse[next(iter(fault))])


@pytest.mark.needs("rest-server", "seccomp", "volumes")
@pytest.mark.parametrize("fault", DISK_FAULTS, ids=[next(iter(fault)) for fault in DISK_FAULTS])
def test_what_restic_is_told_of_a_disk(tmp_path: Path, fault: Mapping[str, Any]) -> None:
    job = http(
        "import hashlib\ndata = os.urandom(100_000)\n"
        "print('server response unexpected:', ask('POST', '/repository/data/' + hashlib.sha256(data).hexdigest(), body=data))"
    )
    with bench(tmp_path, fault, (), target=job, **on(REST)) as made:
        result = made.go()
    said(result, RestServer.terse[next(iter(fault))])


def said(result: Any, pattern: str) -> None:
    text = "\n".join(result.lines)
    assert re.search(pattern, text, re.IGNORECASE), text[-2000:]
    assert result.proof
    (cause,) = [event["pattern"] for event in result.events if event.kind == "cause"]
    assert cause.endswith(f"|{pattern}")


@pytest.mark.needs("rest-server")
def test_a_fault_that_strands_uploads_has_a_fair_server_in_rest(tmp_path: Path) -> None:
    fault = {"network.half_open": "repository", "when": WHEN_READY}
    with bench(tmp_path, fault, (), target=http("print('ready', flush=True)"), **on(REST)) as made:
        assert made.world.workspace.location.kind == "rest"


# -- what lies on their disks ------------------------------------------------------------------------------------


@pytest.mark.needs("minio", "rclone")
def test_damage_strikes_what_clients_have_stored(tmp_path: Path) -> None:
    fault = {"repository.bitflip": "repository", "pick": "oldest"}
    with bench(tmp_path, fault, python("pass"), **on(S3)) as made:
        assert client(made, "copy", "{source}", "{at}").ok
        result = made.go()
    struck = [
        event["detail"] for event in result.events if event.kind == "fault" and event["status"] == "applied"
    ]
    assert "/repository/current/" in struck[0]
    assert ".minio.sys" not in struck[0]


@pytest.mark.needs("minio", "rclone")
def test_what_a_server_makes_of_an_object_is_nobodys_leftover(tmp_path: Path) -> None:
    """An object of more than 128 KiB has a ``part.1``; and a name that the client gave counts as it was given."""
    with bench(tmp_path, {"network.down": "repository"}, python("pass"), **on(S3)) as made:
        folder = made.world.path(Place.STATE)
        made.world.sandbox.call(
            "write_file", path=f"{folder}/big", base64=b64encode(bytes(500_000)).decode(), mode=0o600
        )
        before = made.phases._listing()["repository"]
        assert client(made, "copyto", f"{folder}/big", "{at}/big").ok
        stored = made.world.sandbox.call("list_files", root=made.world.path(Place.REPOSITORY))["entries"]
        assert any(entry[0].endswith("/part.1") for entry in stored)
        assert made.phases._listing()["repository"] == before
        assert client(made, "copyto", f"{folder}/big", "{at}/x.partial").ok
        assert made.phases._listing()["repository"] - before == {"repository/current/x.partial"}


# -- what a run says of its server -------------------------------------------------------------------------------


def test_a_server_without_a_part_in_the_run_is_noted(tmp_path: Path) -> None:
    fault = {"disk.full": "repository"}
    with bench(tmp_path, fault, python("pass"), servers=Servers({"s3": "minio"}), repository="local") as made:
        notes = [event["text"] for event in made.world.history.of("note")]
    assert notes == ["the server minio (s3) had no part in this run: its repository is local"]
