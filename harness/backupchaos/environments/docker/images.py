"""Images: which are needed, whether they are here, and whether they may be pulled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from backupchaos.errors import MissingCapability, UsageProblem

if TYPE_CHECKING:
    from docker import DockerClient

Pull = Literal["never", "missing"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLICY = "BACKUPCHAOS_PULL"
"""The environment variable that allows pulling."""


def pull_policy() -> Pull:
    """What the user allows: ``missing`` pulls what is not here, ``never`` pulls nothing (the default)."""
    chosen = os.environ.get(POLICY, "never")
    if chosen not in ("never", "missing"):
        raise UsageProblem(f"{POLICY}: expected never or missing, not {chosen!r}")
    return "missing" if chosen == "missing" else "never"


def search_path(config: Mapping[str, Any]) -> str:
    """Where an image has its programs: its own PATH, and the folder of the program that it runs if not told otherwise.

    ``config`` is what the engine says of the image. Small images have their only program in a folder of its own.
    """
    own = next((line[5:] for line in config.get("Env") or () if line.startswith("PATH=")), "")
    folders = (own or PATH).split(":")
    for words in (config.get("Entrypoint"), config.get("Cmd")):
        if words and words[0].startswith("/"):
            folders.append(os.path.dirname(words[0]))
    return ":".join(dict.fromkeys(filter(None, folders)))


def present(client: DockerClient, image: str) -> bool:
    """Whether the daemon has the image."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def need(client: DockerClient, image: str, policy: Pull | None = None) -> None:
    """Make sure of an image; raises ``MissingCapability`` that says how to get it.

    Without a ``policy`` the environment variable decides.
    """
    if present(client, image):
        return
    own = image.startswith("backupchaos/")
    if (policy or pull_policy()) == "never" or own:
        hint = (
            "run docker/build in a checkout"
            if own
            else f"docker pull {image}, or --backup-pull=missing ({POLICY}=missing)"
        )
        raise MissingCapability("image", f"the image {image} is not here", hint)
    from docker.errors import APIError

    try:
        client.images.pull(image)
    except APIError as problem:
        raise MissingCapability(
            "image", f"the image {image} could not be pulled: {problem.explanation or problem}"
        ) from None
