"""What tests ask of a Docker daemon."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupchaos.environments.docker import engine, names

if TYPE_CHECKING:
    from backupchaos.environments.docker.environment import DockerEnvironment as Environment
else:
    Environment = Any

__all__ = ["Daemon", "Environment"]


class Daemon:
    """The daemon, and what of one process of ours is on it."""

    def __init__(self) -> None:
        self.client: Any = engine.connect()

    def close(self) -> None:
        self.client.close()

    def left(self, pid: int | None = None) -> list[str]:
        """Containers, networks, volumes and folders of a process (this one), by their labels and names."""
        pid = pid or os.getpid()
        found = [
            f"{kind} {name}"
            for kind, name, owner, _ in engine.ours(self.client)
            if owner.split("/")[2:3] == [str(pid)]
        ]
        return found + [str(path) for path in Path(tempfile.gettempdir()).glob(f"{names.FOLDER}{pid}-*")]

    def containers(self, pid: int | None = None) -> list[Any]:
        """The containers of a process (this one)."""
        mine = str(pid or os.getpid())
        everything = self.client.containers.list(
            all=True, filters={"label": names.LABEL}, ignore_removed=True
        )
        return [c for c in everything if c.labels.get(names.OWNER, "").split("/")[2:3] == [mine]]
