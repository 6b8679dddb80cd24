"""How a run is to be made, apart from its scenario and target."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backupchaos.environments.base import Environment
from backupchaos.history import Event
from backupchaos.services.servers import DEFAULT, Servers

Keep = Literal["never", "failed", "always"]
LinkServer = Literal["auto", "embedded", "toxiproxy", "container"]


def new_seed() -> int:
    """A seed short enough to type."""
    return secrets.randbelow(10**6)


@dataclass(frozen=True)
class RunOptions:
    """``results`` is the directory under which each run gets a folder of its own.

    ``control_cache`` holds, per target, source and repository, that the control restore was equal;
    share one dictionary among the runs of a session.
    """

    environment: Environment
    results: Path
    seed: int = field(default_factory=new_seed)
    keep: Keep = "never"
    link_server: LinkServer = "auto"
    pull: Literal["never", "missing"] | None = None
    """For the link server ``container``: may its image be pulled? None leaves it to the environment variable."""
    remote_docker: bool = False
    """For the same: a Docker daemon behind a network will do."""
    scenario_file: str | None = None
    reproduce: str = ""
    progress: Callable[[Event], None] | None = None
    control_cache: dict[str, bool] = field(default_factory=dict)
    allow: frozenset[str] = frozenset()
    """What the user repeated of the scenario's ``allow``; without it the run is refused."""
    servers: Servers = DEFAULT
    """Which servers the user wants for repositories that are reached over a network."""
