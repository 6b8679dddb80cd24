"""Whether a scenario's trees fit where the volumes lie: in memory, or below a directory of the machine.

A volume costs what is written to it. Nobody is warned when tmpfs takes the last of the memory: the kernel ends
processes, and they need not be ours.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from backupchaos.environments.base import InContainers, Place, Sandbox
from backupchaos.errors import MissingCapability
from backupchaos.model.scenario import Scenario
from backupchaos.units import format_size

_RESERVE = 10
"""One part in so many of what is free stays so: for the tool, for us, and for everybody else."""
_UNIFIED = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_OLDER = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def needed(scenario: Scenario) -> int:
    """Bytes that the run will write at once, at least: the source, the first whole copy of it in the repository, and
    what is restored. No volume holds more than its size. Raises ``UsageProblem`` for a real source that is not there."""
    from backupchaos.engine.prepare import source_size, volume_sizes

    size = source_size(scenario)
    sizes = volume_sizes(scenario, size)
    tree = size + (scenario.source.files * 4096 if scenario.source.path is None else 0)
    return (
        min(tree, sizes[Place.SOURCE]) + min(size, sizes[Place.REPOSITORY]) + min(tree, sizes[Place.RESTORE])
    )


def check_memory(scenario: Scenario, *, limited: bool = True) -> None:
    """For volumes in memory; raises ``MissingCapability``. ``limited``: they count for our own control group."""
    free = [_machine(), *(_groups() if limited else ())]
    left = min((one for one in free if one is not None), default=None)
    if left is not None:
        _check(scenario, left, "of memory, in which the volumes lie")


def check_room(scenario: Scenario, sandbox: Sandbox) -> None:
    """For the volumes of this sandbox, as long as they are empty; raises ``MissingCapability``."""
    if "volumes" in sandbox.capabilities:
        check_memory(scenario, limited=not isinstance(sandbox, InContainers))
    else:
        free = shutil.disk_usage(sandbox.path(Place.SOURCE)).free
        _check(scenario, free, "of the disk, on which the plain sandbox lies")


def _check(scenario: Scenario, left: int, what: str) -> None:
    want = needed(scenario)
    allowed = left - left // _RESERVE
    if want > allowed:
        raise MissingCapability(
            "space",
            f"source, repository and restore would take {format_size(want)} {what}; {format_size(allowed)} may be "
            f"taken here, a tenth of what is free kept back",
            "lower 'source: size' and 'new', or name a smaller 'source: path'",
        )


def _machine() -> int | None:
    """Bytes that the kernel would give without swapping; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _groups(proc: str = "/proc/self/cgroup", top: str = "/sys/fs/cgroup") -> Iterator[int]:
    """Bytes left to each control group around us that has a limit, of both versions.

    Inside a container the group's path may be the host's, which is not to be seen there: its root is what we have.
    """
    try:
        lines = Path(proc).read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = Path(top, "memory") if controllers else Path(top)
        group = Path(os.path.normpath(f"{root}/{path}"))
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (left := _left(folder, bool(controllers))) is not None:
                yield left


def _left(folder: Path, older: bool) -> int | None:
    """Limit less use; the pages of files on disks can be had again."""
    limit, current, caches = _OLDER if older else _UNIFIED
    try:
        most, used = int((folder / limit).read_text()), int((folder / current).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None  # no such group, or "max"
    return max(0, most - used + sum(int(stat.get(one, 0)) for one in caches))
