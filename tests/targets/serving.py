"""Real servers for tests: all of them, one that runs, what lies on its disk."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from backupchaos.commands import Command
from backupchaos.services import registry
from backupchaos.services.base import Storing
from backupchaos.targets.base import Location, RepositoryType
from backupchaos.targets.bench import environment, running_service

Name = tuple[RepositoryType, str]
EVERY: list[Name] = [(kind, name) for kind in registry.kinds() for name in registry.servers_for(kind)]
NEEDS = {"openssh": "sshd", "minio": "minio", "rest-server": "rest-server", "rclone": "rclone"}


def marked(names: Sequence[Name]) -> list[Any]:
    def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
        return (pytest.mark.needs(NEEDS[name]),) if name in NEEDS else ()

    return [pytest.param(kind, name, id=f"{kind}-{name}", marks=marks(name)) for kind, name in names]


@contextmanager
def served(kind: RepositoryType, name: str, root: Path) -> Iterator[tuple[Any, Location]]:
    for folder in ("repository", "home"):
        (root / folder).mkdir(exist_ok=True)
    service = registry.service_for(kind, name)
    with running_service(service, root) as location:
        yield service, location


def stored(root: Path, service: Any) -> dict[str, int]:
    """Name, as clients know it, -> size of what lies there."""
    found: dict[str, int] = {}
    for path in sorted((root / "repository").rglob("*")):
        below = str(path.relative_to(root / "repository"))
        name = service.client_name(below) if isinstance(service, Storing) else below
        if path.is_file() and name is not None:
            found[name] = found.get(name, 0) + path.stat().st_size
    return found


def rclone(root: Path, location: Location, *words: str) -> subprocess.CompletedProcess[str]:
    from backupchaos.services.rclone_serve import find_rclone
    from backupchaos_targets.rclone import remote_environment

    env = {**remote_environment(location), "RCLONE_CONFIG": os.devnull}
    argv = (find_rclone(), *words, "--retries", "1", "--low-level-retries", "1")
    env = environment(root, Command(argv, env))
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def processes(root: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [text] if str(root) in text else []
    return found


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
