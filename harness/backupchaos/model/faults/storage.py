"""Faults of the volumes, and of the power behind them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from backupchaos.model.faults.amounts import SomeBytes, at_least
from backupchaos.model.faults.base import FaultSpec
from backupchaos.model.words import Mistake, shown
from backupchaos.units import Duration, Size

Written = Literal["repository", "cache", "temp"]
Volume = Literal["source", "repository", "cache", "temp"]
DiskCall = Literal["open", "read", "write", "fsync", "rename", "unlink", "mkdir"]


def _below(path: str) -> str:
    if not path.startswith("/") and ".." not in path.split("/"):
        return path
    hint = "Write it from the top of the volume, such as data/**."
    raise Mistake(f"expected a path below the volume, not {shown(path)}", code="bad-path", hint=hint)


Longer = Annotated[Duration, at_least(0.001, "1ms", "20ms")]
PathBelow = Annotated[
    str,
    AfterValidator(_below),
    Field(max_length=500, json_schema_extra={"pattern": r"^(?!/)(?!(.*/)?\.\.(/|$))"}),
]


class _OnVolume(FaultSpec):
    layer = "storage"


class DiskFull(_OnVolume):
    """A volume has almost nothing left: what the job still writes does not fit."""

    kind = "disk.full"
    place: Written = Field(alias="disk.full", description="Where")
    headroom: Size = Field(default=64 * 1024, description="What is still free when the fault starts")


class DiskNearlyFull(_OnVolume):
    """A volume has just enough left: a good job still fits."""

    kind = "disk.nearly_full"
    place: Written = Field(alias="disk.nearly_full", description="Where")
    left: Size = Field(default=8 * 2**20, description="What is free when the fault starts")


class DiskInodes(_OnVolume):
    """No more files can be made on a volume, though it has space."""

    kind = "disk.inodes"
    place: Written = Field(alias="disk.inodes", description="Where")
    left: int = Field(default=0, ge=0, le=1_000_000, description="How many files can still be made")


class DiskQuota(_OnVolume):
    """No file may grow beyond a size (the job's file size limit)."""

    kind = "disk.quota"
    whole_job = True
    place: Literal["target"] = Field(alias="disk.quota", description="Where")
    size: Size = Field(default=64 * 1024, description="How large a file may become")


class DiskReadonly(_OnVolume):
    """A volume becomes read-only, as after an error of its file system."""

    kind = "disk.readonly"
    place: Written = Field(alias="disk.readonly", description="Where")


class DiskSlow(_OnVolume):
    """Each read or write on a volume takes longer."""

    kind = "disk.slow"
    place: Volume = Field(alias="disk.slow", description="Where")
    delay: Longer = Field(default=0.02, description="How much longer each call takes")


class DiskIoError(_OnVolume):
    """Calls on a volume fail as on a dying disk."""

    kind = "disk.io_error"
    place: Volume = Field(alias="disk.io_error", description="Where")
    call: DiskCall = Field(default="read", description="Which calls")
    path: PathBelow = Field(default="**", description="Which files, below the volume; ** stands for any")
    nth: int = Field(default=1, ge=1, le=10_000_000, description="The first call that fails")
    calls: int | None = Field(
        default=None, ge=1, le=10_000_000, description="How many calls fail; all that follow if left out"
    )
    error: Literal["EIO", "EROFS", "EDQUOT", "ESTALE", "ENXIO"] = Field(
        default="EIO", description="The error number that the call returns"
    )


class DiskShortWrite(_OnVolume):
    """Writes on a volume take less than they were given, as the standard allows."""

    kind = "disk.short_write"
    place: Written = Field(alias="disk.short_write", description="Where")
    nth: int = Field(default=1, ge=1, le=10_000_000, description="The first write that is short")
    calls: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="How many writes are short; all that follow if left out",
    )
    size: SomeBytes = Field(default=1000, description="How much such a write takes")


class DiskLostFsync(_OnVolume):
    """The volume says that data are safe without making them so."""

    kind = "disk.lost_fsync"
    place: Written = Field(alias="disk.lost_fsync", description="Where")


class DiskVanishes(_OnVolume):
    """A volume is unmounted: an empty, writable mount point remains. Open files keep working on the volume."""

    kind = "disk.vanishes"
    place: Volume = Field(alias="disk.vanishes", description="Where")


class PowerCut(FaultSpec):
    """The machine loses power: the job dies, and what was not synced is gone from the repository."""

    kind = "power.cut"
    layer = "power"
    instant = True
    lethal = True
    needs_progress = True
    place: Literal["repository"] = Field(alias="power.cut", description="Where")


class PowerLyingDisk(FaultSpec):
    """The disk answers every sync and keeps nothing of what the job wrote, and then the power fails."""

    kind = "power.lying_disk"
    layer = "power"
    instant = True
    lethal = True
    needs_progress = True
    place: Literal["repository"] = Field(alias="power.lying_disk", description="Where")


KINDS: tuple[type[FaultSpec], ...] = (
    DiskFull,
    DiskNearlyFull,
    DiskInodes,
    DiskQuota,
    DiskReadonly,
    DiskSlow,
    DiskIoError,
    DiskShortWrite,
    DiskLostFsync,
    DiskVanishes,
    PowerCut,
    PowerLyingDisk,
)
