"""What the servers say of themselves: health, names, images, what is missing."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.targets.serving import EVERY

from backupchaos.commands import Command
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.services import registry
from backupchaos.services.base import Asked, Imaged, Terse
from backupchaos.services.health import serves
from backupchaos.services.minio import Minio
from backupchaos.services.rest_server import RestServer
from backupchaos.services.terse import DISK
from backupchaos.targets.base import RepositoryType
from backupchaos.targets.bench import running_service

BUILD = Path(__file__).parents[2] / "docker"


class Sleepy:
    """A server of which only the words about its health matter."""

    name, kind = "sleepy", "s3"

    def __init__(self, hello: bytes | None, question: tuple[bytes, bytes] | None) -> None:
        self._hello = hello
        if question is not None:
            self.question = lambda: question

    def greeting(self) -> bytes | None:
        return self._hello


@pytest.mark.parametrize(
    ("hello", "question", "answer", "healthy"),
    [
        (None, None, b"", True),
        (b"SSH-", None, b"SSH-2.0-x\r\n", True),
        (b"SSH-", None, b"SSH", False),
        (b"SSH-", None, b"Exceeded MaxStartups\r\n", False),
        (None, (b"GET", b"HTTP/1.1 200"), b"HTTP/1.1 200 OK\r\n", True),
        (None, (b"GET", b"HTTP/1.1 200"), b"HTTP/1.1 503 Service Unavailable\r\n", False),
        (None, (b"GET", b"HTTP/1.1 200"), b"", False),
    ],
)
def test_who_listens_may_not_serve_yet(
    hello: bytes | None, question: tuple[bytes, bytes] | None, answer: bytes, healthy: bool
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        service: Any = Sleepy(hello, question)
        assert serves(service, ours) is healthy
        if question is not None:
            assert theirs.recv(100) == question[0]


def test_minio_is_waited_for_until_it_serves(tmp_path: Path) -> None:
    """It listens before: a bench that began then would find 503."""
    assert isinstance(Minio(), Asked)
    asked: list[bytes] = []

    def play(server: socket.socket) -> None:
        with server:
            answer(server)

    def answer(server: socket.socket) -> None:
        for status in (b"503 Service Unavailable", b"503 Service Unavailable", b"200 OK"):
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(500))
                connection.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")

    class Played(Minio):
        def available(self) -> None:
            pass

        def command(self, directory: str, state: str, port: int) -> Command:
            server = socket.create_server(("127.0.0.1", port))
            threading.Thread(target=play, args=(server,), daemon=True).start()
            return Command((sys.executable, "-c", "import time; time.sleep(60)"))

    for folder in ("repository", "home"):
        (tmp_path / folder).mkdir()
    with running_service(Played(), tmp_path):
        assert len(asked) == 3
    assert asked[0].startswith(b"GET /minio/health/cluster HTTP/1.1\r\nHost: ")


def test_a_server_that_ends_is_told_in_its_own_words(tmp_path: Path) -> None:
    class Broken(RestServer):
        def available(self) -> None:
            pass

        def command(self, directory: str, state: str, port: int) -> Command:
            return Command((sys.executable, "-c", "import sys; sys.exit('no licence')"))

    (tmp_path / "repository").mkdir()
    (tmp_path / "home").mkdir()
    with (
        pytest.raises(HarnessBroken, match="rest-server does not answer: no licence"),
        running_service(Broken(), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("stored_as", "name"),
    [
        (".minio.sys/format.json", None),
        (".minio.sys/tmp/3b98842d-569d-4fb0-ba03-70895edcbc0d/part.1", None),
        ("repository/a/xl.meta", "repository/a"),
        ("repository/a/58f35db4-735e-475b-abe1-809065038c1c", "repository/a"),
        ("repository/a/58f35db4-735e-475b-abe1-809065038c1c/part.12", "repository/a"),
        ("repository/part.1", "repository/part.1"),
        ("repository/locks/26f82a7e0c3916", "repository/locks/26f82a7e0c3916"),
    ],
)
def test_names_of_objects(stored_as: str, name: str | None) -> None:
    assert Minio().client_name(stored_as) == name


def test_names_of_blobs() -> None:
    server = RestServer()
    assert server.client_name("repository/data/13/13ae") == "repository/data/13/13ae"
    assert server.client_name("repository/data/13/13ae.rest-server-temp7329819393945593834") is None
    assert server.client_name("repository/data/13/13ae.rest-server-temp") is not None


def test_no_server_is_terse_about_what_it_does_not_meet() -> None:
    every = [registry.make_service(kind, name) for kind, name in EVERY]
    for service in every:
        told: Mapping[str, str] = service.terse if isinstance(service, Terse) else {}
        assert set(told) <= set(DISK), service.name
        for pattern in told.values():
            for harmless in (
                "copied 500 files, 503 folders, 507 links, 405 others",
                "result: failure, 403 left",
            ):
                assert not re.search(pattern, harmless, re.IGNORECASE), pattern
    assert {service.name for service in every if isinstance(service, Terse) and service.terse} == {
        *("openssh", "minio", "rest-server"),
        *("rclone serve s3", "rclone serve restic", "rclone serve webdav"),
    }


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda value: value)
def test_the_same_class_starts_the_server_in_its_image(
    kind: RepositoryType, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("backupchaos.services.programs.SYSTEM", ())
    service = registry.make_service(kind, name)
    assert isinstance(service, Imaged)
    service.files("/inside/state")
    command = service.command_in_image("/inside/repository", "/inside/state", 4711, "0.0.0.0")
    words = " ".join(command.argv)
    assert "0.0.0.0:4711" in words or ("--listen 0.0.0.0" in words and "--port 4711" in words)
    assert "/inside/repository" in words or name == "openssh"
    assert str(tmp_path) not in words
    assert command.argv[0] in {"python3", "rclone", "minio", "rest-server", "/bin/sh"}
    location = service.location(4711)
    assert not location.password or location.password in command.secrets
    if name == "openssh":
        assert (location.user, location.path) == ("root", "/inside/repository/repository")


def test_every_image_can_be_built_without_a_registry() -> None:
    text = (BUILD / "build").read_text()
    images = {
        service.image
        for service in (registry.make_service(*one) for one in EVERY)
        if isinstance(service, Imaged)
    }
    assert len(images) == 5
    for image in images:
        ours = re.fullmatch(r"backupchaos/(\w+):1", image)
        if ours is not None:
            assert (BUILD / ours[1] / "Dockerfile").is_file()
        assert re.search(rf"(?<![\w/-]){re.escape(ours[1] if ours else image)}(?![\w/-])", text), image


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("sftp", "openssh", "apt install openssh-server"),
        ("s3", "minio", "servers.md"),
        ("rest", "rest-server", "servers.md"),
    ],
)
def test_a_missing_program_is_told_with_a_way_to_it(
    kind: RepositoryType, name: str, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("backupchaos.services.programs.SYSTEM", ())
    with pytest.raises(MissingCapability, match=hint) as missing:
        registry.service_for(kind, name)
    assert missing.value.capability == name
