"""Processes of a job that outlived it."""

from __future__ import annotations

import signal

from backupchaos.engine.world import World
from backupchaos.environments.base import ProcessInfo
from backupchaos.errors import HarnessBroken

LINGER = 0.5
"""Seconds that children of an ended job have to end by themselves."""
PATIENCE = 5.0


def end_leftovers(world: World) -> list[str]:
    """End what is left of the target; returns what it was, for the residue record.

    Raises ``HarnessBroken`` if something survives SIGKILL.
    """

    def alive() -> list[ProcessInfo]:
        return [process for process in world.sandbox.processes() if process.role in {"target", "orphan"}]

    world.loop.pump_until(lambda: not alive(), LINGER)
    found = alive()
    for process in found:
        world.sandbox.signal(process.pid, signal.SIGKILL, tree=True)
    if found and not world.loop.pump_until(lambda: not alive(), PATIENCE):
        raise HarnessBroken("processes of the job survived SIGKILL")
    return [f"{process.pid} {process.command[:120]}" for process in found]
