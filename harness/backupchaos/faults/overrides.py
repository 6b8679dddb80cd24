"""Whether somebody passes over file modes, by doing it: root does, unless it has lost CAP_DAC_OVERRIDE.

A mode of 000 is no obstacle to a process with that capability, and ``/proc`` tells of capabilities in a name space of
users that may mean nothing for the file. So a shell opens the file, with the very rights of the one who is denied.
"""

from __future__ import annotations

from collections.abc import Callable

from backupchaos.commands import Command
from backupchaos.environments.base import Place, Sandbox
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem

REFUSED = 13
_OPEN = f'true <"$1" || exit {REFUSED}'

Runs = Callable[[Command], int | None]
"""Runs a command as the one who is denied; its return code, None if it does not end."""


def can_open(path: str, run: Runs) -> bool:
    """Whether a file or directory can be opened to read; raises ``HarnessBroken`` if it cannot even be tried."""
    code = run(Command(("/bin/sh", "-c", _OPEN, "sh", path)))
    if code not in (0, REFUSED):
        raise HarnessBroken(f"whether {path} can be opened could not be tried: the shell ended with {code}")
    return code == 0


def need_obedience(sandbox: Sandbox, name: str, run: Runs, who: str) -> None:
    """Raise ``MissingCapability`` if a file with mode 000 can be opened all the same; one that may be read must open."""
    folder = f"{sandbox.path(Place.STATE)}/.backupchaos-{name}-mode"
    path = f"{folder}/file"
    sandbox.call("write_file", path=path, text="", mode=0o400)
    try:
        if not can_open(path, run):
            raise HarnessBroken(f"{who} cannot open a file that it may read, so that modes cannot be tried")
        sandbox.call("chmod", path=path, mode=0)
        if can_open(path, run):
            reason = f"{who} opens a file with mode 000: it keeps CAP_DAC_OVERRIDE, so that modes mean nothing to it"
            raise MissingCapability("file modes", reason, "see: backupchaos doctor")
    except UsageProblem as problem:
        reason = f"whether {who} passes over file modes cannot be tried here: {problem}"
        raise MissingCapability("file modes", reason) from None
    finally:
        sandbox.call("remove_tree", path=folder, keep_top=False)
