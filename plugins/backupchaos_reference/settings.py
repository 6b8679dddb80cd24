"""The knobs: from the command line, else from ``BACKUPCHAOS_REFERENCE_*``, else the declared default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIX = "BACKUPCHAOS_REFERENCE_"
DEFAULT_CHUNK_SIZE = 256 * 1024
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A duration such as ``0.25s``, ``250ms``, ``2m`` or a bare number of seconds.  Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 0.25s, 250ms, 2m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def truth(text: str) -> bool:
    """Whether an environment value means yes."""
    return text.strip().lower() in {"1", "yes", "true", "on"}


@dataclass(frozen=True)
class Settings:
    """What every command needs to know.  Durations are in seconds."""

    retries: int = 6
    retry_base: float = 0.25
    retry_cap: float = 8.0
    lock_retries: int = 3
    timeout: float = 10.0
    password: str = field(default="", repr=False)
    sftp_password: str | None = field(default=None, repr=False)
    sftp_key: str | None = None
    """The file of a private key without a passphrase; it is offered before the password."""
    sftp_host_key: str | None = None
    insecure_host_key: bool = False
    catalog_password: str = field(default="", repr=False)
    chunk_size: int | None = None
    """Bytes; None is the repository's own, or the default where one is made."""
    scrypt_n: int = 1 << 14


def variable(environ: Mapping[str, str], name: str, default: str) -> str:
    """The environment's value of a knob, or its default; an empty value counts as unset."""
    return environ.get(PREFIX + name) or default
