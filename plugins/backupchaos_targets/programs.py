"""Finding the programs that adapters run."""

from __future__ import annotations

import os
import shutil
import sys

from backupchaos.errors import MissingCapability


def find_program(name: str) -> str | None:
    """The absolute path of a program: beside this interpreter first (pip puts it there), then on PATH."""
    # Not the resolved interpreter: in a virtual environment programs are beside the link, not its target.
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), name)
    return beside if os.access(beside, os.X_OK) else shutil.which(name)


def need_program(name: str, hint: str) -> str:
    """The same; raises ``MissingCapability`` with ``hint`` when there is none."""
    found = find_program(name)
    if found is None:
        raise MissingCapability(name, f"there is no {name} program here", hint)
    return found


def program(name: str) -> str:
    """The program for a command line; its bare name if it is not on this machine, for it may be in a container's image."""
    return find_program(name) or name


def program_path(name: str) -> tuple[str, ...]:
    """What must be visible in the sandbox for the program: itself, with the file it is a link to."""
    found = find_program(name)
    return () if found is None else tuple(sorted({found, os.path.realpath(found)}))
