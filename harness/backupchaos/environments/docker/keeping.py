"""The agent's server in a container: the local one, with the container's own mounts and control groups.

Each container has mounts of its own for the shared volumes. What changes a file system (its size, its inodes) the
keeper does once for all; what changes a mount (read-only, vanished) the agent of each container does for its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from backupchaos.environments.local import kernel
from backupchaos.environments.local.answers import Refused
from backupchaos.environments.local.channel import Channel, Message
from backupchaos.environments.local.isolation import BASE
from backupchaos.environments.local.launch import CannotRun, find_program
from backupchaos.environments.local.supervised import SupervisedServer

GROUPS = "/sys/fs/cgroup"
_FIRST_TO_GO = "500"
"""What processes get on their score when memory runs out, so that the kernel ends them and not the agent."""


class ContainerServer(SupervisedServer):
    """Serves one container. ``mounts`` says that it may mount (it has the capability for it)."""

    def __init__(
        self, requests: Channel, events: Channel, volumes: Mapping[str, str], *, mounts: bool
    ) -> None:
        super().__init__(requests, events, None, volumes)
        self._mounts = mounts
        if mounts:  # as in the local sandbox: nobody writes beside the volumes
            flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
            kernel.mount("none", BASE, None, flags)

    def _tmpfs(self, place: str) -> str:
        if not self._mounts:
            raise Refused("HarnessBroken", "this container may not change its mounts")
        return self._volumes[place]

    def do_spawn(self, message: Message, fds: list[int]) -> int:
        """Start a process; when the container's memory runs out, it goes before the agent."""
        pid = super().do_spawn(message, fds)
        with suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(_FIRST_TO_GO)
        return pid

    def do_group(self, message: Message, fds: list[int]) -> dict[str, Any]:
        """What the kernel says of a controller of this container: version, limit, hits, and what is in use."""
        from backupchaos.environments.local.cgroups import Group

        controller = message["controller"]
        version = 2 if os.path.exists(f"{GROUPS}/cgroup.controllers") else 1
        folder = GROUPS if version == 2 else f"{GROUPS}/{controller}"
        group = Group(folder, version, controller)
        return {
            "mechanism": group.mechanism,
            "limited": group.limited(),
            "hits": group.hits(),
            "used": _used(folder, version, controller),
        }

    def do_which(self, message: Message, fds: list[int]) -> str:
        """Where a program is: at its very path, else by its name on the image's PATH; empty if nowhere.

        Without a process of its own, for which a job's limit may leave no room.
        """
        for name in (message["program"], os.path.basename(message["program"])):
            with suppress(CannotRun):
                return find_program(name, message["path"], "/")
        return ""

    def do_image(self, message: Message, fds: list[int]) -> None:
        """Refused."""
        raise Refused("MissingCapability", "a disk image needs loop devices, which containers have not")

    def do_conceal(self, message: Message, fds: list[int]) -> Any:
        """Refused: restores run in a container that has never seen the source."""
        raise Refused("HarnessBroken", "containers conceal nothing")


def _used(folder: str, version: int, controller: str) -> int:
    """What counts against a limit and cannot be given back at once: the agent, and what is on the volumes."""
    if controller == "cpu":
        return 0
    if controller == "pids":
        return _number(f"{folder}/pids.current")
    used = _number(f"{folder}/{'memory.current' if version == 2 else 'memory.usage_in_bytes'}")
    with open(f"{folder}/memory.stat", encoding="ascii") as file:
        stat = dict(line.split() for line in file)
    return used - int(stat["inactive_file"]) - int(stat["active_file"])


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())
