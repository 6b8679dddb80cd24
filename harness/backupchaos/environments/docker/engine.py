"""The Docker daemon: only a local one, asked by the official SDK, and swept by our labels."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupchaos.environments.docker.names import FOLDER, LABEL, OWNER, RUN, is_dead, is_dead_folder
from backupchaos.errors import MissingCapability

if TYPE_CHECKING:
    from docker import DockerClient

REMOTE = "BACKUPCHAOS_ALLOW_REMOTE_DOCKER"
_TIMEOUT = 60


def connect(*, remote: bool = False) -> DockerClient:
    """A client of the daemon that this user's Docker would use; raises ``MissingCapability`` with the reason.

    A daemon behind a network is refused unless ``remote`` or BACKUPCHAOS_ALLOW_REMOTE_DOCKER says otherwise, for the
    faults would strike a machine that nobody has named. It must see this machine's files anyway: the sandboxes share
    a folder of sockets with it.
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
    if not endpoint.startswith(("http+docker://", "http+unix://")) and not (remote or os.environ.get(REMOTE)):
        client.close()
        raise MissingCapability(
            "docker",
            f"the daemon at {endpoint} is not on this machine",
            "use a local daemon (unset DOCKER_HOST, docker context use default), or --backup-allow-remote-docker",
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
    parts = [str(part.get("Name", "")) for part in client.version().get("Components") or ()]
    name = "Podman" if any(part.startswith("Podman") for part in parts) else "Docker"
    words = [f"{name} {info.get('ServerVersion', '?')}", str(info.get("Driver", ""))]
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        words.append("rootless")
    return ", ".join(filter(None, words))


def security(client: DockerClient) -> list[str]:
    """Options for containers whose agent mounts: AppArmor's profile forbids that whatever the capabilities."""
    options = client.info().get("SecurityOptions") or ()
    return ["apparmor=unconfined"] if any("apparmor" in option for option in options) else []


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


def sweep(client: DockerClient) -> list[str]:
    """Remove what dead harnesses left; returns what could not be removed, in words."""
    problems = _remove(item for item in ours(client) if is_dead(item[2]))
    for folder in dead_folders():
        shutil.rmtree(folder, ignore_errors=True)
    return problems


def dead_folders() -> list[Path]:
    """Folders with the sockets of harnesses that are gone; only what belongs to this user."""
    found = []
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):
            if is_dead_folder(path.name) and path.lstat().st_uid == os.geteuid() and not path.is_symlink():
                found.append(path)
    return sorted(found)


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
