"""Which server is started for which kind of repository."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, cast

from backupchaos.errors import UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.services.base import Service
from backupchaos.targets.base import RepositoryType

GROUP = "backupchaos.services"
"""Entry points of third parties: a name, and a callable that takes the kind and returns a ``Service``."""


def _asyncssh(kind: RepositoryType) -> Service:
    from backupchaos.services.asyncssh_sftp import AsyncsshService

    if kind != "sftp":
        raise UsageProblem(f"the service 'asyncssh' serves sftp, not {kind}")
    return AsyncsshService()


def _rclone(kind: RepositoryType) -> Service:
    from backupchaos.services.rclone_serve import RcloneService

    return RcloneService(kind)


_OURS: dict[str, Callable[[RepositoryType], Service]] = {"asyncssh": _asyncssh, "rclone": _rclone}
_DEFAULT: dict[RepositoryType, str] = {
    "sftp": "asyncssh",
    "s3": "rclone",
    "rest": "rclone",
    "webdav": "rclone",
}


def service_names() -> list[str]:
    """All names that ``prefer`` takes; nothing is imported for it."""
    return sorted({*_OURS, *entry_points(group=GROUP).names})


def service_for(kind: RepositoryType, prefer: str | None = None) -> Service:
    """A fresh service for this kind of repository, with secrets of its own.

    ``prefer`` names one; else SFTP is served by asyncssh, everything else by rclone. Raises
    ``UsageProblem`` for a kind or name that is not known, or a name that does not serve the kind,
    and ``MissingCapability`` when its program is not installed.
    """
    if kind not in _DEFAULT:
        raise UsageProblem(f"a {kind!r} repository needs no server; servers exist for {', '.join(_DEFAULT)}")
    name = prefer or _DEFAULT[kind]
    factory = _OURS.get(name) or _third_party(name)
    service = factory(kind)
    if service.kind != kind:
        raise UsageProblem(f"the service {name!r} serves {service.kind}, not {kind}")
    service.available()
    return service


def _third_party(name: str) -> Callable[[RepositoryType], Service]:
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded: Any = point.load()
        except Exception as error:
            raise UsageProblem(f"the service {name!r} ({point.value}) cannot be loaded: {error}") from error
        return cast("Callable[[RepositoryType], Service]", loaded)
    raise UsageProblem(
        f"there is no service {shown(name)}. {choices(name, service_names(), 'Known services')}"
    )
