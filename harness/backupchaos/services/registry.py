"""Which server is started for which kind of repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from backupchaos.errors import BackupChaosError, UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.services.base import Service
from backupchaos.targets.base import RepositoryType

GROUP = "backupchaos.services"
"""Entry points of third parties: a name, and a callable that takes the kind and returns a ``Service``."""
Factory = Callable[[RepositoryType], Service]
_OURS: dict[str, tuple[tuple[RepositoryType, ...], str, str]] = {
    "asyncssh": (("sftp",), "asyncssh_sftp", "AsyncsshService"),
    "openssh": (("sftp",), "openssh", "OpensshService"),
    "minio": (("s3",), "minio", "Minio"),
    "rest-server": (("rest",), "rest_server", "RestServer"),
    "rclone": (("sftp", "s3", "rest", "webdav"), "rclone_serve", "RcloneService"),
}
"""Name -> the kinds that it serves, and where it is; nothing is imported before it is wanted."""
_DEFAULT: dict[RepositoryType, str] = {
    "sftp": "asyncssh",
    "s3": "rclone",
    "rest": "rclone",
    "webdav": "rclone",
}


def service_names() -> list[str]:
    """All names that ``prefer`` takes; nothing is imported for it."""
    return sorted({*_OURS, *entry_points(group=GROUP).names})


def kinds() -> tuple[RepositoryType, ...]:
    """The kinds of repository that have servers."""
    return tuple(_DEFAULT)


def default_name(kind: RepositoryType) -> str:
    """The server that a kind gets if nobody asks for another; raises ``UsageProblem`` for a kind without servers."""
    if kind not in _DEFAULT:
        raise UsageProblem(f"a {kind!r} repository needs no server; servers exist for {', '.join(_DEFAULT)}")
    return _DEFAULT[kind]


def kinds_of(name: str) -> tuple[RepositoryType, ...]:
    """The kinds that a server serves; those of third parties are asked. Raises ``UsageProblem``."""
    if name in _OURS:
        return _OURS[name][0]
    factory = _third_party(name)

    def serves(kind: RepositoryType) -> bool:
        try:
            return factory(kind).kind == kind
        except BackupChaosError:
            return False
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            raise UsageProblem(f"the service {name!r} cannot be made: {words}") from error

    return tuple(kind for kind in _DEFAULT if serves(kind))


def servers_for(kind: RepositoryType) -> Iterator[str]:
    """The names of all servers for a kind, the default one first; a third party that is broken has none."""
    yield _DEFAULT[kind]
    for name in service_names():
        try:
            if name != _DEFAULT[kind] and kind in kinds_of(name):
                yield name
        except UsageProblem:
            continue


def service_for(kind: RepositoryType, prefer: str | None = None) -> Service:
    """A fresh service for this kind of repository, with secrets of its own, which can be run on this machine.

    ``prefer`` names one; else SFTP is served by asyncssh, everything else by rclone. Raises
    ``UsageProblem`` for a kind or name that is not known, or a name that does not serve the kind,
    and ``MissingCapability`` when its program is not installed.
    """
    service = make_service(kind, prefer)
    service.available()
    return service


def make_service(kind: RepositoryType, prefer: str | None = None) -> Service:
    """The same, wherever it is to be run: in a container (``Imaged``) its program need not be on this machine."""
    usual = default_name(kind)
    name = prefer or usual
    service = _ours(name, kind) if name in _OURS else _third_party(name)(kind)
    if service.kind != kind:
        raise UsageProblem(f"the service {name!r} serves {service.kind}, not {kind}")
    return service


def _ours(name: str, kind: RepositoryType) -> Service:
    serves, module, factory = _OURS[name]
    if kind not in serves:
        raise UsageProblem(f"the service {name!r} serves {', '.join(serves)}, not {kind}")
    made: Any = getattr(import_module(f"backupchaos.services.{module}"), factory)
    return cast("Service", made(kind) if len(serves) > 1 else made())


def _third_party(name: str) -> Factory:
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded: Any = point.load()
        except Exception as error:
            raise UsageProblem(f"the service {name!r} ({point.value}) cannot be loaded: {error}") from error
        return cast("Factory", loaded)
    raise UsageProblem(
        f"there is no service {shown(name)}. {choices(name, service_names(), 'Known services')}"
    )
