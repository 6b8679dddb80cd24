"""What the harness can ask for inside a sandbox: small functions, arguments and results as JSON.

``Sandbox.call(name, fds=..., **arguments)`` runs one of ``NAMES`` in a process of its own. Paths are
absolute, inside the sandbox; names that are no UTF-8 travel by ``surrogateescape``. A parameter
called ``fd`` is filled with the (first) descriptor handed over. Standard library only. What an operation
changes must lie in the sandbox's own folders: see ``bounds``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from backupchaos.environments.operations import bounds

_MODULES = {
    "files": "stat chmod digest list_files unread read_since keeps_access_times read_file write_file make_directory remove_tree disk_usage",
    "damaging": "pick_files damage",
    "growing": "build_tree change_tree copy_tree scan_tree",
    "archives": "export_tar",
    "network": "network_stats free_port unanswered",
    "naming": "use_own_names look_up ask_name",
    "probing": "probe_files probe_attributes probe_network probe_syscalls",
    "moving": "set_aside alter put_back prefix_digest",
    "specials": "plant_specials uproot",
    "access": "deny_tree allow_tree held_open lock_state",
}
NAMES = {name: module for module, names in _MODULES.items() for name in names.split()}
"""Operation -> the module of this package that holds it."""


class OperationProblem(Exception):
    """An operation refuses its arguments; the message says why."""


def find(name: str) -> Callable[..., Any]:
    """The function behind a name; raises ``OperationProblem`` for an unknown one."""
    if name not in NAMES:
        raise OperationProblem(f"unknown operation {name!r}; known are {', '.join(sorted(NAMES))}")
    function: Callable[..., Any] = getattr(import_module(f"{__name__}.{NAMES[name]}"), name)
    return function


def run(
    name: str, arguments: Mapping[str, Any], fds: Sequence[int] = (), *, roots: Sequence[str]
) -> dict[str, Any]:
    """Run one and put its result, or what it raised, into an answer for the harness.

    ``roots`` are the real paths below which it may change something.
    """
    try:
        bounds.check(name, arguments, roots)
        extra = {"fd": fds[0]} if fds else {}
        return {"ok": find(name)(**arguments, **extra)}
    except OSError as problem:
        where = f": {problem.filename}" if problem.filename is not None else ""
        return {
            "problem": "OSError",
            "errno": problem.errno or 0,
            "text": f"{name}: {problem.strerror}{where}",
        }
    except bounds.OutOfBounds as problem:
        return {"problem": "HarnessBroken", "text": str(problem)}
    except Exception as problem:
        return {"problem": "HarnessBroken", "text": f"{name}: {type(problem).__name__}: {problem}"}
