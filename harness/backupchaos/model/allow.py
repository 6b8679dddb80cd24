"""What a scenario may touch although no run made it; the user repeats each on the command line."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backupchaos.model.base import Model
from backupchaos.model.words import Mistake, shown

SYSTEM = (
    *("/backupchaos", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/lost+found", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/lib", "/var/log"),
)
"""Never, nor anything below: a machine without these is broken."""
TOPS = (
    *("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var"),  # noqa: S108 - names only
    *("/var/backups", "/var/cache", "/var/mail", "/var/opt", "/var/spool", "/var/tmp", "/var/www"),  # noqa: S108
)
"""Never as a whole; a folder below may be allowed."""
_HOME = re.compile(r"/home/[^/]+")
_HOST = re.compile(r"(?:\[[0-9a-f:]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?):([0-9]{1,5})")
_ITSELF = re.compile(r"(?:localhost|127\.[0-9.]*|\[::1\]|0\.0\.0\.0|\[::\]):")


def check_path(path: str) -> str:
    """The path itself; raises ``Mistake`` if it is not plainly one folder that may be given away."""
    hint = "Write a folder of its own for tests, such as /srv/backup-test."
    if not path.startswith("/") or not path.isprintable():
        raise Mistake(f"expected an absolute path, not {shown(path)}", code="bad-path", hint=hint)
    plain = "/" + posixpath.normpath(path).lstrip("/")
    if plain != path:
        raise Mistake(f"{shown(path)} is not written plainly", code="bad-path", hint=f"Write {shown(plain)}.")
    if any(path == one or path.startswith(f"{one}/") for one in SYSTEM):
        raise Mistake(f"{shown(path)} belongs to the system and is never allowed", code="bad-path", hint=hint)
    if path in TOPS or _HOME.fullmatch(path):
        raise Mistake(f"{shown(path)} as a whole is never allowed", code="bad-path", hint=hint)
    return path


def check_host(host: str) -> str:
    """The address itself; raises ``Mistake`` if it is not HOST:PORT with a port from 1 to 65535."""
    hint = "Write such as 10.0.0.5:22 or '[fd00::5]:22'."
    found = _HOST.fullmatch(host)
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise Mistake(f"expected HOST:PORT in lower case, not {shown(host)}", code="bad-host", hint=hint)
    if _ITSELF.match(host):
        raise Mistake(f"{shown(host)} is the sandbox itself", code="bad-host", hint=hint)
    return host


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Paths = Annotated[
    tuple[
        Annotated[
            str,
            AfterValidator(check_path),
            Field(min_length=1, max_length=4096, json_schema_extra={"pattern": "^/."}),
        ],
        ...,
    ],
    BeforeValidator(_tuple, json_schema_input_type=list[str]),
]
Hosts = Annotated[
    tuple[
        Annotated[
            str,
            AfterValidator(check_host),
            Field(min_length=1, max_length=300, json_schema_extra={"pattern": ":[0-9]+$"}),
        ],
        ...,
    ],
    BeforeValidator(_tuple, json_schema_input_type=list[str]),
]


class Allow(Model):
    """What may be changed or destroyed although the run did not make it."""

    paths: Paths = Field(
        default=(), description="Folders of this machine that become writable in the sandbox, where they are"
    )
    hosts: Hosts = Field(default=(), description="HOST:PORT that the job may reach")

    @model_validator(mode="after")
    def _something(self) -> Allow:
        if not self.paths and not self.hosts:
            raise Mistake(
                "it allows nothing", code="empty", hint="Write such as {paths: [/srv/backup-test]}."
            )
        return self

    def entries(self) -> tuple[str, ...]:
        """Everything, as it must be repeated on the command line."""
        return self.paths + self.hosts
