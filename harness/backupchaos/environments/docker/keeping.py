"""The agent's server in a container. The keeper's also limits volumes; what needs a mount of its own it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupchaos.environments.local.answers import Refused
from backupchaos.environments.local.channel import Channel, Message
from backupchaos.environments.local.supervised import SupervisedServer

_SHARED = "containers share a volume by bind mounts: one of them cannot take it from the others"


class ContainerServer(SupervisedServer):
    """Serves one container. ``keeps`` says that it may remount the volumes (it has the capability for it)."""

    def __init__(
        self, requests: Channel, events: Channel, volumes: Mapping[str, str], *, keeps: bool
    ) -> None:
        super().__init__(requests, events, None, volumes)
        self._keeps = keeps

    def _tmpfs(self, place: str) -> str:
        if not self._keeps:
            raise Refused("HarnessBroken", "only the keeper of the volumes changes them")
        return self._volumes[place]

    def do_freeze(self, message: Message, fds: list[int]) -> float:
        """Refused."""
        raise Refused("MissingCapability", _SHARED)

    def do_vanish(self, message: Message, fds: list[int]) -> dict[str, int]:
        """Refused."""
        raise Refused("MissingCapability", _SHARED)

    def do_image(self, message: Message, fds: list[int]) -> None:
        """Refused."""
        raise Refused("MissingCapability", "a disk image needs loop devices, which containers have not")

    def do_conceal(self, message: Message, fds: list[int]) -> Any:
        """Refused: restores run in a container that has never seen the source."""
        raise Refused("HarnessBroken", "containers conceal nothing")
