"""One container of a sandbox: made by testcontainers, with our agent as its first process."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupchaos.environments.base import Place
from backupchaos.environments.docker.images import search_path
from backupchaos.environments.docker.names import LABEL, OWNER, RUN, RUNTIME, owner
from backupchaos.environments.local.channel import Channel
from backupchaos.environments.local.isolation import BASE
from backupchaos.environments.local.sandbox import LocalSandbox
from backupchaos.errors import HarnessBroken

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

START_SECONDS = 60.0
CODE = f"{RUNTIME}-code"
"""Where containers see our own packages, each by a bind mount of its own."""
_PACKAGES = Path(__file__).parents[2]
_SCRATCH = {"/tmp": "size=64m,mode=1777", "/var/tmp": "size=64m,mode=1777", "/run": "size=16m,mode=755"}  # noqa: S108
PYTHON = (f"{RUNTIME}/lib/ld.so", "--library-path", f"{RUNTIME}/lib", f"{RUNTIME}/bin/python3")
"""The agent's own, which runs in any image."""


@dataclass(frozen=True)
class Plan:
    """What a member is made of. ``binds`` are (path of the machine, path inside), read-only."""

    name: str
    image: str
    run: str
    runtime: str
    """The volume that holds the agent's Python."""
    sockets: Path
    """A directory of the machine that the container sees as well."""
    volumes: Mapping[Place, str]
    """Place -> name of its volume."""
    paths: Mapping[Place, str]
    network: str = "none"
    network_of: str = ""
    """The id of a member whose network this one shares."""
    capabilities: Sequence[str] = ()
    binds: Sequence[tuple[str, str]] = ()
    mounts: bool = False
    """It may mount: its agent, and nobody that the agent starts."""
    security: Sequence[str] = ()
    read_only: bool = False
    """Of the image nothing can be changed; there are empty folders for temporary files."""
    empty: Sequence[Place] = ()
    """Places that hold nothing here: a small file system of the container's own."""
    limits: Mapping[str, Any] = field(default_factory=dict)


class ContainerProcess:
    """Lets a container be waited for and killed as if it were a child process."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Until the container has ended; raises ``subprocess.TimeoutExpired``."""
        from docker.errors import APIError
        from requests.exceptions import RequestException

        try:
            self.returncode = int(self._container.wait(timeout=timeout)["StatusCode"])
        except APIError:
            self.returncode = 0  # removed already
        except RequestException:
            raise subprocess.TimeoutExpired("container", timeout or 0.0) from None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL to the agent, and with it to everything in the container."""
        from docker.errors import APIError

        with suppress(APIError):
            self._container.kill()


class Member(LocalSandbox):
    """The agent in one container."""

    def __init__(
        self, plan: Plan, container: DockerContainer, connection: tuple[Channel, Channel, int]
    ) -> None:
        self.wrapped = container.get_wrapped_container()
        process: Any = ContainerProcess(self.wrapped)
        image = self.wrapped.image
        path = search_path(image.attrs.get("Config") or {} if image else {})
        super().__init__(process, connection, "container", plan.paths, path)
        self.plan = plan
        self._search_path = path

    @property
    def address(self) -> str:
        """Its address on the sandbox's network; empty without one."""
        self.wrapped.reload()
        networks = self.wrapped.attrs["NetworkSettings"]["Networks"]
        return next((net["IPAddress"] for net in networks.values() if net.get("IPAddress")), "")

    def group(self, controller: str) -> dict[str, Any]:
        """What the kernel says inside of a controller of this container."""
        return dict(self._ask("group", controller=controller))

    def which(self, program: str) -> str:
        """Where the image has a program: at its very path, else by its name on the PATH; empty if nowhere."""
        return str(self._ask("which", program=program, path=self._search_path))

    def close(self) -> None:
        """End the agent, and remove the container."""
        from docker.errors import APIError

        if not self._closed:
            with suppress(APIError):
                self.wrapped.kill()
        super().close()
        with suppress(APIError):
            self.wrapped.remove(force=True, v=True)


def start(plan: Plan) -> Member:
    """Start the container and wait until its agent serves; raises ``HarnessBroken`` with its own words."""
    path = plan.sockets / plan.name
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o777)  # the directory above is ours alone; a user inside must reach it
        listener.listen(2)
        container = _container(plan)
        try:
            container.start()
            requests, events = _accept(listener, container)
        except BaseException:
            with suppress(Exception):  # the first problem is the one to tell
                container.stop()
            raise
        finally:
            path.unlink(missing_ok=True)
    log = os.memfd_create("agent log")
    channels = Channel(requests), Channel(events)
    channels[0].send(
        {"volumes": {str(place): plan.paths[place] for place in plan.volumes}, "mounts": plan.mounts}
    )
    channels[0].receive()
    return Member(plan, container, (*channels, log))


def _container(plan: Plan) -> DockerContainer:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True  # our own reaper works without pulling another image
    agent = f"{CODE}/backupchaos/environments/docker/inside.py"
    container = DockerContainer(plan.image)
    container.with_command([*PYTHON[1:], "-ISB", agent, f"{RUNTIME}-sockets/{plan.name}"])
    container.with_volume_mapping(plan.runtime, RUNTIME, "ro")
    container.with_volume_mapping(str(_PACKAGES), f"{CODE}/backupchaos", "ro")
    container.with_volume_mapping(str(plan.sockets), f"{RUNTIME}-sockets", "rw")
    for place, volume in plan.volumes.items():
        container.with_volume_mapping(volume, plan.paths[place], "rw")
    for outside, inside in plan.binds:
        container.with_volume_mapping(outside, inside, "ro")
    container.with_tmpfs_mount(BASE, "size=1m,mode=755")
    for path, options in _SCRATCH.items() if plan.read_only else ():
        container.with_tmpfs_mount(path, options)
    for place in plan.empty:
        container.with_tmpfs_mount(plan.paths[place], "size=64m")
    container.with_name(f"backupchaos-{plan.run}-{plan.name}")
    container.with_kwargs(
        entrypoint=[PYTHON[0]],  # an empty one would take Docker off the image's own, and not Podman
        user="0:0",
        labels={LABEL: plan.name, RUN: plan.run, OWNER: owner()},
        network=f"container:{plan.network_of}" if plan.network_of else plan.network,
        cap_add=list(plan.capabilities),
        security_opt=list(plan.security),
        read_only=plan.read_only,
        **({} if plan.network_of else {"hostname": plan.name}),
        **plan.limits,
    )
    return container


def _accept(listener: socket.socket, container: DockerContainer) -> tuple[socket.socket, socket.socket]:
    """Both connections of the agent, looking after the container meanwhile."""
    found: dict[bytes, socket.socket] = {}
    end = time.monotonic() + START_SECONDS
    listener.settimeout(0.5)
    wrapped = container.get_wrapped_container()
    while len(found) < 2:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            wrapped.reload()
            if wrapped.status in {"exited", "dead"} or time.monotonic() > end:
                words = wrapped.logs(tail=20).decode(errors="backslashreplace").strip()
                raise HarnessBroken(
                    f"the container of {container.image} is {wrapped.status}; its agent said: {words or 'nothing'}"
                ) from None
            continue
        connection.settimeout(None)
        found[connection.recv(1)] = connection
    return found[b"r"], found[b"e"]
