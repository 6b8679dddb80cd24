"""What a test may need, and why it is missing here; the words of ``pytest.mark.needs``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from functools import cache

PROBED = {"namespaces": "namespaces", "seccomp": "syscalls", "volumes": "volumes", "clock": "clock"}
"""Markers that the environment's own probe answers."""
SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Not always on PATH, and yet servers of the system lie there."""


@cache
def missing(capability: str) -> str:
    """The reason why a capability cannot be had here; empty if it can."""
    if capability == "root":
        return "" if os.geteuid() == 0 else "needs root"
    if capability in PROBED:
        return _probed(PROBED[capability])
    if capability == "ordinary-user":
        return "" if os.geteuid() == 0 else "needs root, to become an ordinary user"
    if capability.startswith("cgroup:"):
        from backupchaos.environments.local.cgroups import probe

        return probe(capability.removeprefix("cgroup:"))
    if capability.startswith("python:"):
        name = capability.removeprefix("python:")
        return "" if importlib.util.find_spec(name) else f"the package {name} is not installed"
    if capability == "docker":
        return _docker()
    if capability == "rclone":
        return _rclone()
    if capability in ("redis", "postgres", "mariadb"):
        return _database(capability)
    if capability == "ipv6":
        return _ipv6()
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM))
    return "" if shutil.which(capability, path=path) else f"the program {capability} is not on PATH"


def _probed(name: str) -> str:
    import importlib.util as u

    from backupchaos.environments.local.environment import LocalEnvironment

    if not u.find_spec("backupchaos.environments.local.probes"):
        return ""
    return LocalEnvironment().probe().get(name, "not probed")


def _docker() -> str:
    """A daemon of this machine answers, and has what ``docker/build`` makes."""
    if not importlib.util.find_spec("docker"):
        return "the package docker is not installed"
    from backupchaos.engine.choosing import image_of
    from backupchaos.environments.docker import engine, images, names
    from backupchaos.errors import MissingCapability
    from backupchaos.services.databases.registry import KINDS, make_database
    from backupchaos.services.minio import Minio
    from backupchaos.services.openssh import OpensshService
    from backupchaos.services.rest_server import RestServer
    from backupchaos.targets.registry import resolve_target

    wanted = [names.AGENT_IMAGE, names.PYTHON_IMAGE, names.TOXIPROXY_IMAGE]
    wanted += [image_of(resolve_target(name)) for name in ("restic", "rclone", "borg")]
    wanted += [OpensshService.image, Minio.image, RestServer.image]
    wanted += [make_database(kind).image for kind in KINDS]
    try:
        client = engine.connect()
    except MissingCapability as error:
        return str(error)
    try:
        lacking = [image for image in wanted if not images.present(client, image)]
    finally:
        client.close()
    return f"images are missing: {', '.join(lacking)}; docker/build makes them" if lacking else ""


def _rclone() -> str:
    from backupchaos.errors import MissingCapability
    from backupchaos.targets.registry import resolve_target

    try:
        resolve_target("rclone").available()
    except MissingCapability as error:
        return str(error)
    return ""


def _database(kind: str) -> str:
    from backupchaos.errors import MissingCapability
    from backupchaos.services.databases.registry import database_for

    try:
        database_for(kind)
    except MissingCapability as error:
        return str(error)
    return ""


def _ipv6() -> str:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        return f"no IPv6 loopback: {error}"
    return ""


def required() -> frozenset[str]:
    """Capabilities that must be there (``BACKUPCHAOS_TESTS_REQUIRE``, comma separated): CI names them all."""
    return frozenset(filter(None, os.environ.get("BACKUPCHAOS_TESTS_REQUIRE", "").split(",")))
