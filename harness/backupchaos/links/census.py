"""What the link process holds on to: tests prove with it that nothing is left when everything has ended."""

from __future__ import annotations

import asyncio
import gc
import os
from asyncio import AbstractEventLoop

from backupchaos.links.connection import Connection
from backupchaos.links.dialling import Dial
from backupchaos.links.flow import Flow
from backupchaos.links.stage import Stage

_COUNTED = (Connection, Dial, Flow, Stage)


def count(loop: AbstractEventLoop) -> dict[str, int]:
    """Open descriptors, tasks, and objects that belong to a connection. Nobody tidies up first: a circle is a leak."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
        "tasks": len(asyncio.all_tasks(loop)),
        "objects": sum(isinstance(item, _COUNTED) for item in gc.get_objects()),
    }
