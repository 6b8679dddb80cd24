"""The volume with the agent's own Python, which containers of any image run on."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from backupchaos.environments.docker.names import AGENT_IMAGE, LABEL, OWNER, RUNTIME, owner

if TYPE_CHECKING:
    from docker import DockerClient


def filled(client: DockerClient) -> str:
    """The name of the volume, one for all sandboxes; the engine fills it from the image if it is not there yet.

    One process of a machine at a time: a volume that is half full looks like a full one to whoever comes second.
    """
    from docker.errors import NotFound

    name = f"backupchaos-runtime-{client.images.get(AGENT_IMAGE).short_id.rpartition(':')[2]}"
    lock = os.open(
        os.path.dirname(__file__), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    )  # leaves no file behind
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            client.volumes.get(name)
        except NotFound:
            _fill(client, name)
    finally:
        os.close(lock)
    return name


def _fill(client: DockerClient, name: str) -> None:
    from docker.errors import APIError

    for older in client.volumes.list(filters={"label": f"{LABEL}=runtime"}):
        with suppress(APIError):  # in use by another version of this package
            older.remove()
    client.volumes.create(name, labels={LABEL: "runtime"})
    marks = {LABEL: "filling", OWNER: owner()}
    where = {name: {"bind": RUNTIME, "mode": "ro"}}
    client.containers.create(AGENT_IMAGE, ["true"], volumes=where, labels=marks).remove()
