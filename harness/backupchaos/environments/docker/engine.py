"""The Docker daemon: only a local one, asked by the official SDK, and swept by our labels."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backupchaos.environments.docker.names import LABEL, OWNER, RUN, is_dead
from backupchaos.errors import MissingCapability

if TYPE_CHECKING:
    from docker import DockerClient

REMOTE = "BACKUPCHAOS_ALLOW_REMOTE_DOCKER"
_TIMEOUT = 60


def connect() -> DockerClient:
    """A client of the daemon that this user's Docker would use; raises ``MissingCapability`` with the reason.

    A daemon behind a network is refused unless BACKUPCHAOS_ALLOW_REMOTE_DOCKER is set, for the faults would
    strike a machine that nobody has named; the sandboxes need a local one anyway, they share a socket with it.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        raise MissingCapability(
            "docker", "the Python package is missing", "pip install 'backupchaos[docker]'"
        ) from None
    client = None
    try:
        _knock()
        client = docker.from_env(timeout=_TIMEOUT)
        endpoint = str(client.api.base_url)
        client.ping()
    except (DockerException, OSError) as problem:
        if client is not None:
            client.close()
        reason = f"no Docker daemon answers: {_first_line(problem)}"
        raise MissingCapability("docker", reason, "start Docker, or set DOCKER_HOST") from None
    if not endpoint.startswith(("http+docker://", "http+unix://")) and not os.environ.get(REMOTE):
        client.close()
        raise MissingCapability(
            "docker",
            f"the daemon at {endpoint} is not on this machine",
            "use a local daemon (unset DOCKER_HOST, docker context use default)",
        )
    return client


def _knock() -> None:
    """Raise OSError where nobody listens: the SDK would forget the socket of an attempt that failed."""
    from docker.utils import parse_host

    scheme, _, path = str(parse_host(os.environ.get("DOCKER_HOST"))).partition("://")
    if scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT)
            sock.connect("/" + path.lstrip("/"))


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0][:200]


def describe(client: DockerClient) -> str:
    """The daemon in words for reports: version, storage, whether it is rootless."""
    info = client.info()
    words = [f"Docker {info.get('ServerVersion', '?')}", str(info.get("Driver", ""))]
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        words.append("rootless")
    return ", ".join(filter(None, words))


def ours(client: DockerClient, run: str | None = None) -> Iterator[tuple[str, str, str, Callable[[], None]]]:
    """(kind, name, owner label, how to remove it) of everything that bears our label, containers first."""
    wanted: dict[str, str | list[str] | bool] = {"label": f"{RUN}={run}" if run else LABEL}
    for container in client.containers.list(all=True, filters=wanted, ignore_removed=True):
        yield "container", str(container.name), _owner(container), _remover(container, force=True, v=True)
    for network in client.networks.list(filters=wanted):
        yield "network", str(network.name), network.attrs["Labels"].get(OWNER, ""), _remover(network)
    for volume in client.volumes.list(filters=wanted):
        labels = volume.attrs.get("Labels") or {}
        yield "volume", str(volume.name), labels.get(OWNER, ""), _remover(volume, force=True)


def _owner(container: Any) -> str:
    return str(container.labels.get(OWNER, ""))


def _remover(thing: Any, **how: bool) -> Callable[[], None]:
    return lambda: thing.remove(**how)


def remove(client: DockerClient, run: str) -> list[str]:
    """Remove one sandbox's objects; each is tried, what stays is returned in words."""
    return _remove(ours(client, run))


def sweep(client: DockerClient, *, everything: bool = False) -> tuple[list[str], list[str]]:
    """Remove what dead harnesses left (or all of ours); returns what was removed, and what could not be."""
    found = [item for item in ours(client) if everything or is_dead(item[2])]
    problems = _remove(iter(found))
    return [f"{kind} {name}" for kind, name, _, _ in found], problems


def _remove(found: Iterator[tuple[str, str, str, Callable[[], None]]]) -> list[str]:
    from docker.errors import APIError, NotFound

    problems = []
    for kind, name, _, away in list(found):
        with suppress(NotFound):
            try:
                away()
            except APIError as problem:
                if problem.response is not None and problem.response.status_code in {404, 409}:
                    continue  # gone, or being removed by somebody else
                problems.append(f"{kind} {name}: {_first_line(problem)}")
    return problems
