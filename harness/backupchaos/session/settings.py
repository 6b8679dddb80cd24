"""How the runs of one session are made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from backupchaos.errors import UsageProblem
from backupchaos.services.servers import DEFAULT, Servers

if TYPE_CHECKING:
    from backupchaos.environments.base import Environment

EnvironmentName = Literal["local", "docker", "auto"]
KeepWord = Literal["never", "failed", "always"]
PullWord = Literal["never", "missing"]
LinkWord = Literal["auto", "embedded", "toxiproxy", "container"]
ENVIRONMENTS: tuple[EnvironmentName, ...] = get_args(EnvironmentName)
KEEP: tuple[KeepWord, ...] = get_args(KeepWord)
PULL: tuple[PullWord, ...] = get_args(PullWord)
LINKS: tuple[LinkWord, ...] = get_args(LinkWord)
DEFAULT_TARGET = "reference"
EVERYTHING = "all"
"""As a required capability: nothing may be missing."""


@dataclass(frozen=True)
class Settings:
    """``runs`` is the folder in which every run gets a folder of its own; ``require`` names the
    capabilities whose absence fails instead of skipping. ``allow`` is what the user repeated of the
    scenarios' ``allow``, by means of ``allow_option``. ``pull`` says what may be done about an image that is not
    here, ``remote_docker`` that a Docker daemon behind a network is meant; else environment variables decide.
    ``servers`` are those that the user wants for repositories.
    """

    runs: Path
    seed: int
    env: EnvironmentName = "auto"
    keep: KeepWord = "never"
    link: LinkWord = "auto"
    require: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()
    allow_option: str = "--allow"
    pull: PullWord | None = None
    remote_docker: bool = False
    servers: Servers = DEFAULT

    def requires(self, capability: str) -> bool:
        """The absence of this capability is a failure."""
        return EVERYTHING in self.require or capability in self.require


def check_report(path: Path, option: str, *, anywhere: bool = False) -> None:
    """Raise ``UsageProblem`` if no file can be written there, as far as can be told without writing it.

    One missing folder will be made; more of them are a slip of the pen, unless ``anywhere`` says they are ours.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:  # those that are missing will be made
        folder = folder.parent
    reason = ""
    if path.is_dir():
        reason = "that is a folder; give the path of a file"
    elif not folder.is_dir():
        reason = f"{folder} is no folder"
    elif not anywhere and not path.parent.parent.exists():
        reason = f"there is no folder {path.parent.parent}; make it first"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        reason = "it could not be written there"
    if reason:
        raise UsageProblem(f"{option} {path}: {reason}")


def make_environment(name: str, *, pull: PullWord | None = None, remote_docker: bool = False) -> Environment:
    """The environment of that name; raises ``MissingCapability`` or ``UsageProblem``."""
    if name == "docker":
        from backupchaos.environments.docker.environment import DockerEnvironment

        return DockerEnvironment(pull=pull, remote=remote_docker)
    if name not in ENVIRONMENTS:
        raise UsageProblem(f"there is no environment {name!r}. Known: {', '.join(ENVIRONMENTS)}.")
    from backupchaos.environments.local.environment import LocalEnvironment

    return LocalEnvironment()
