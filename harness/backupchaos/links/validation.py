"""What must not reach any Toxiproxy server, told to the caller as a usage problem."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backupchaos.errors import UsageProblem
from backupchaos.links import toxics

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STREAMS = ("upstream", "downstream")


def check_name(name: str, what: str = "name") -> None:
    """Names the server could not address again are refused with ``UsageProblem``."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise UsageProblem(f"{what} {name!r}: use letters, digits, '_', '.' and '-' only")


def check(kind: str, stream: str, toxicity: float, attributes: Mapping[str, Any]) -> None:
    """Raise ``UsageProblem`` for a toxic that no server should get."""
    if kind not in toxics.KINDS:
        raise UsageProblem(f"unknown toxic {kind!r}: one of {', '.join(toxics.KINDS)}")
    if stream not in _STREAMS:
        raise UsageProblem(f"toxic {kind}: stream must be upstream or downstream, not {stream!r}")
    if not isinstance(toxicity, int | float) or isinstance(toxicity, bool) or not 0 <= toxicity <= 1:
        raise UsageProblem(f"toxic {kind}: toxicity must be between 0 and 1, not {toxicity!r}")
    for name, value in attributes.items():
        if name not in toxics.KINDS[kind]:
            known = ", ".join(toxics.KINDS[kind]) or "none"
            raise UsageProblem(f"toxic {kind}: unknown attribute {name!r}: it has {known}")
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageProblem(f"toxic {kind}: {name} must be a whole number, not {value!r}")
    if why := toxics.problem(kind, attributes):
        raise UsageProblem(f"toxic {why}")
