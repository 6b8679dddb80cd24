"""Fixtures for the tests of the reference service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reference.remote import Remote
from tests.reference.support import PREFIX, Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """The service with an empty local repository."""
    return Service(tmp_path).ready()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    """A real SFTP server behind a breakable link."""
    folder = tmp_path / "server"
    folder.mkdir()
    with Remote(folder) as remote:
        yield remote


@pytest.fixture
def far(tmp_path: Path, remote: Remote) -> Service:
    """The service with an empty repository behind SFTP."""
    env = {
        PREFIX + "SFTP_PASSWORD": "secret",
        PREFIX + "SFTP_HOST_KEY": remote.public_key,
        PREFIX + "TIMEOUT": "2s",
    }
    return Service(tmp_path, url=remote.url(), env=env).ready()
