"""Finding a server's program on this machine."""

from __future__ import annotations

import os
import shutil

from backupchaos.errors import MissingCapability

SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where programs of the system lie that an ordinary user's PATH often leaves out."""


def find_program(name: str, hint: str, capability: str = "") -> str:
    """The full path of a program: the first on PATH, else in the system's folders; raises ``MissingCapability``."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM))
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingCapability(capability or name, f"there is no {name} program here", hint)
    return os.path.abspath(found)
