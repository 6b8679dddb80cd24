"""The official Toxiproxy image behind the taps: as a container, or its program inside the sandbox's network.

A container on the network of this machine reaches what listens on the machine's loopback, and so serves sandboxes
that share it. A sandbox with a network of its own has a loopback that no container gets to: there the program is
taken out of the image, byte by byte as it is, and started from memory. Nothing of it is written to a disk.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backupchaos.environments.base import Sandbox
from backupchaos.environments.docker import engine, images, names
from backupchaos.errors import MissingCapability
from backupchaos.links import realserver
from backupchaos.links.client import ToxiproxyClient

if TYPE_CHECKING:
    from docker import DockerClient

_ENTRY = "/toxiproxy"
"""The program's path in the official image."""
_PROGRAM_FD = 5
_programs: dict[str, int] = {}
"""Image id -> descriptor of its program; a run need not fetch again what an earlier one has."""


class Official:
    """A server from the official image. ``how`` says in a word what runs.

    Raises ``MissingCapability`` from the constructor: no daemon, no image and none may be pulled, no answer.
    """

    def __init__(self, sandbox: Sandbox, pull: images.Pull | None = None, remote: bool = False) -> None:
        self._docker: DockerClient | None = engine.connect(remote=remote)
        self._container: Any = None
        try:
            engine.sweep(self._docker)
            images.need(self._docker, names.TOXIPROXY_IMAGE, pull)
            if "network" in sandbox.capabilities:
                self.how = "program of the image"
                self.client = _inside(self._docker, sandbox)
            else:
                self.how = "container"
                self.client = self._beside(self._docker)
        except BaseException:
            self.close()
            raise

    def _beside(self, docker: DockerClient) -> ToxiproxyClient:
        from docker.errors import APIError

        port, run = realserver.free_port(), f"link-{secrets.token_hex(4)}"
        try:
            self._container = docker.containers.create(
                names.TOXIPROXY_IMAGE,
                ["-host", "127.0.0.1", "-port", str(port)],
                name=f"backupchaos-{run}",
                labels={names.LABEL: "toxiproxy", names.RUN: run, names.OWNER: names.owner()},
                network_mode="host",
                user="65534:65534",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
            )
            self._container.start()
        except APIError as problem:
            why = f"{names.TOXIPROXY_IMAGE}: {problem.explanation or problem}"
            raise realserver.Unusable(realserver.PROGRAM, why, realserver.HINT) from None
        return realserver.answering(port, None, names.TOXIPROXY_IMAGE)

    def close(self) -> None:
        """Remove the container; idempotent. A program inside ends with its sandbox."""
        if self._docker is None:
            return
        from docker.errors import APIError
        from requests.exceptions import RequestException

        docker, self._docker = self._docker, None
        with suppress(
            APIError, RequestException
        ):  # whatever stays bears our label: the next start removes it
            if self._container is not None:
                self._container.remove(force=True, v=True)
        docker.close()


def _inside(docker: DockerClient, sandbox: Sandbox) -> ToxiproxyClient:
    image = str(docker.images.get(names.TOXIPROXY_IMAGE).id)
    if image not in _programs:
        _programs[image] = _taken_out(docker)
    command = ("env", f"/proc/self/fd/{_PROGRAM_FD}")  # the number means another file to whoever starts it
    handed = ((_programs[image], _PROGRAM_FD),)
    return realserver.start(command, sandbox, names.TOXIPROXY_IMAGE, pass_fds=handed)


def _taken_out(docker: DockerClient) -> int:
    """The program of the image, in a file that has no name."""
    from docker.errors import APIError

    marks = {names.LABEL: "toxiproxy", names.OWNER: names.owner()}
    try:
        container = docker.containers.create(names.TOXIPROXY_IMAGE, labels=marks)
        try:
            chunks, _ = container.get_archive(_ENTRY)
            archive = io.BytesIO(b"".join(chunks))
        finally:
            container.remove(v=True)
        with tarfile.open(fileobj=archive) as packed:
            found = packed.extractfile(_ENTRY.removeprefix("/"))
            program = found.read() if found is not None else b""
    except (APIError, KeyError, tarfile.TarError) as problem:
        raise MissingCapability(
            realserver.PROGRAM,
            f"{_ENTRY} could not be taken out of the image {names.TOXIPROXY_IMAGE}: {problem}",
            realserver.HINT,
        ) from None
    memory = os.memfd_create("toxiproxy", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        file.write(program)
    return memory
