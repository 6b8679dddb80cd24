"""Every server as the real program: it comes up, keeps strangers out, stores, and ends."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.survivors import wait_until
from tests.targets.serving import EVERY, marked, processes, rclone, served, stored
from tests.targets.test_services import upload

from backupchaos.services.health import serves
from backupchaos.targets.base import RepositoryType


@pytest.mark.slow
@pytest.mark.needs("rclone")
@pytest.mark.parametrize(("kind", "name"), marked([one for one in EVERY if one[0] != "rest"]))
def test_what_a_client_stores_lies_in_the_served_directory(
    kind: RepositoryType, name: str, tmp_path: Path
) -> None:
    (tmp_path / "one").write_bytes(os.urandom(300_000))
    with served(kind, name, tmp_path) as (service, location):
        done = rclone(tmp_path, location, "copyto", str(tmp_path / "one"), f"repo:{location.path}/folder/one")
        assert done.returncode == 0, done.stderr
        sizes = stored(tmp_path, service)
    assert set(sizes) == {"repository/folder/one"}
    assert 300_000 <= sizes["repository/folder/one"] < 301_000


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), marked([one for one in EVERY if one[0] == "rest"]))
def test_what_restic_stores_lies_there_too(kind: RepositoryType, name: str, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "repository/repository/data").mkdir(parents=True)
    with served(kind, name, tmp_path) as (service, location):
        with upload(location, content, len(content)) as connection:
            assert connection.recv(100).split()[1] == b"200"
        assert list(stored(tmp_path, service).values()) == [300_000]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), marked([one for one in EVERY if one[0] != "sftp"]))
def test_a_wrong_password_is_refused(kind: RepositoryType, name: str, tmp_path: Path) -> None:
    if kind != "s3":  # there the bucket has to be there by itself
        (tmp_path / "repository/repository").mkdir(parents=True)
    with served(kind, name, tmp_path) as (_, location):
        wrong = replace(location, password="x" * 40)
        if kind == "rest":
            with upload(wrong, b"1", 1) as connection:
                assert connection.recv(100).split()[1] == b"401"
        else:
            refused = rclone(tmp_path, wrong, "lsf", f"repo:{location.path}")
            assert refused.returncode != 0
            assert re.search(r"\b40[13]\b", refused.stderr), refused.stderr
            assert rclone(tmp_path, location, "lsf", f"repo:{location.path}").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), marked(EVERY))
def test_it_ends_without_residue(kind: RepositoryType, name: str, tmp_path: Path) -> None:
    with served(kind, name, tmp_path) as (service, location):
        with socket.create_connection((location.host, location.port), 5) as connection:
            assert serves(service, connection)
        assert processes(tmp_path)
    assert wait_until(lambda: not processes(tmp_path), 5), processes(tmp_path)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((location.host, location.port), 5)
    assert not list((tmp_path / "home").iterdir())
    assert stored(tmp_path, service) == {}
    assert not [path for path in tmp_path.iterdir() if path.name not in {"repository", "home", "service"}]
