"""How the fault job is started: the wishes of several faults as one set of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backupchaos.commands import Command
from backupchaos.faults.base import JobShape


def shaped(command: Command, shapes: Sequence[JobShape]) -> tuple[Command, dict[str, Any]]:
    """The command with its environment and directory changed, and arguments for ``Sandbox.spawn``.

    Where two faults want the same thing otherwise, the lower limit and the later word win.
    """
    env = dict(command.env)
    arguments: dict[str, Any] = {}
    limits: dict[str, int] = {}
    groups: list[str] = []
    cwd = command.cwd
    for shape in shapes:
        for name, value in shape.env.items():
            env.pop(name, None)
            if value is not None:
                env[name] = value
        for name, limit in shape.rlimits.items():
            limits[name] = min(limit, limits.get(name, limit))
        cwd = shape.cwd or cwd
        if shape.only_env:
            arguments["only_env"] = True
        if shape.hide_vdso:
            arguments["hide_vdso"] = True
        for key in ("hostname", "stdin"):
            if getattr(shape, key) is not None:
                arguments[key] = getattr(shape, key)
        if shape.cgroup is not None and shape.cgroup not in groups:
            groups.append(shape.cgroup)
    if limits:
        arguments["rlimits"] = limits
    if groups:
        arguments["cgroup"] = "\n".join(groups)
    return Command(command.argv, env, cwd, command.stdin, command.secrets), arguments
