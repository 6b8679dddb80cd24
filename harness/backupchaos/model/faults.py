"""The vocabulary of faults as the scenario author writes it: ``{network.down: repository, for: 5s}``.

Each kind is one model whose place carries the kind as its YAML key. The mechanisms behind
them live in ``backupchaos.faults``; this module only says what can be asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from backupchaos.model.base import Model
from backupchaos.model.triggers import START, When
from backupchaos.model.words import Mistake
from backupchaos.units import Duration, Rate, Size

Signal = Literal["KILL", "TERM", "INT", "HUP", "STOP"]
Pick = Literal["random", "largest", "newest", "oldest"]


class FaultSpec(Model):
    """What all faults share: when they start, and how long they last."""

    kind: ClassVar[str]
    layer: ClassVar[str]
    instant: ClassVar[bool] = False
    """The fault is a blow, not a state: it has no end (a kill, a flipped bit)."""
    needs_progress: ClassVar[bool] = False
    """At the start there is nothing yet that it could hit: a process, a connection."""

    when: When = Field(default=START, description="What starts the fault; 'start' if left out")
    for_: Duration | None = Field(
        default=None, alias="for", description="How long it lasts; until the job has ended if left out"
    )
    until: When | None = Field(default=None, description="What ends the fault, instead of 'for'")

    @model_validator(mode="after")
    def _one_end(self) -> FaultSpec:
        if self.for_ is not None and self.until is not None:
            hint = "Give one of them; 'for' counts from the fault's start."
            raise Mistake("'for' and 'until' exclude each other", code="two-ends", hint=hint, key="until")
        if self.instant and (self.for_ is not None or self.until is not None):
            key = "for" if self.for_ is not None else "until"
            message = "it happens at one instant and takes neither 'for' nor 'until'"
            raise Mistake(message, code="instant", hint=f"Remove '{key}'.", key=key)
        return self

    @property
    def picks_source(self) -> bool:
        """It acts on picked files of the source."""
        return "pick" in type(self).model_fields and getattr(self, "place", "") == "source"

    @property
    def picks_files(self) -> bool:
        """It acts on picked files, whose names ``{path}`` stands for."""
        return self.picks_source or self.layer == "repository"

    @property
    def transient(self) -> bool:
        """The fault ends by itself while the job may still run."""
        return self.for_ is not None or self.until is not None


class _OnLink(FaultSpec):
    layer = "network"


class NetworkDown(_OnLink):
    """The link is gone: live connections are cut, new ones are refused (or reset)."""

    kind = "network.down"
    place: Literal["repository"] = Field(alias="network.down", description="Where")
    mode: Literal["refused", "reset"] = Field(default="refused", description="How new connections fail")


class NetworkBlackhole(_OnLink):
    """The link is silent: nothing arrives, nothing is refused."""

    kind = "network.blackhole"
    place: Literal["repository"] = Field(alias="network.blackhole", description="Where")


class NetworkReset(_OnLink):
    """Live connections are reset once; new ones work."""

    kind = "network.reset"
    instant = True
    needs_progress = True
    place: Literal["repository"] = Field(alias="network.reset", description="Where")


class NetworkSlow(_OnLink):
    """The link carries no more than a rate, in each direction and per connection."""

    kind = "network.slow"
    place: Literal["repository"] = Field(alias="network.slow", description="Where")
    rate: Rate = Field(description="Bytes per second")


class NetworkLatency(_OnLink):
    """Every byte arrives later; jitter varies the delay."""

    kind = "network.latency"
    place: Literal["repository"] = Field(alias="network.latency", description="Where")
    delay: Duration = Field(description="How much later each byte arrives")
    jitter: Duration = Field(default=0.0, description="The delay varies by so much either way")


class DiskFull(FaultSpec):
    """A volume has almost nothing left: what the job still writes does not fit."""

    kind = "disk.full"
    layer = "storage"
    place: Literal["repository", "cache", "temp"] = Field(alias="disk.full", description="Where")
    headroom: Size = Field(default=64 * 1024, description="What is still free when the fault starts")


class FileLocked(FaultSpec):
    """Opening a source file is refused, as by a mandatory lock (advisory locks stop no tool on Linux)."""

    kind = "file.locked"
    layer = "files"
    place: Literal["source"] = Field(alias="file.locked", description="Where")
    pick: Pick = Field(default="random", description="Which changed file")
    files: int = Field(default=1, ge=1, le=1000, description="How many files")
    refusals: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="How many opens of each file are refused; all if left out",
    )
    error: Literal["EBUSY", "EAGAIN", "ETXTBSY", "EACCES"] = Field(
        default="EBUSY", description="The error number that the refused open returns"
    )


class PermissionDenied(FaultSpec):
    """Files or the whole repository may not be opened any more; root's override is taken away too."""

    kind = "permission.denied"
    layer = "permissions"
    place: Literal["source", "repository"] = Field(alias="permission.denied", description="Where")
    pick: Pick = Field(default="random", description="Which changed file")
    files: int = Field(default=1, ge=1, le=1000, description="How many files")


class ProcessKill(FaultSpec):
    """A signal to the backup job."""

    kind = "process.kill"
    layer = "process"
    instant = True
    needs_progress = True
    place: Literal["target"] = Field(alias="process.kill", description="Where")
    signal: Signal = Field(default="KILL", description="Which signal")


class ProcessPause(FaultSpec):
    """The job's processes are stopped (SIGSTOP) and later continued."""

    kind = "process.pause"
    layer = "process"
    needs_progress = True
    place: Literal["target"] = Field(alias="process.pause", description="Where")


class _Damage(FaultSpec):
    layer = "repository"
    instant = True
    pick: Pick = Field(default="largest", description="Which repository file")
    files: int = Field(default=1, ge=1, le=1000, description="How many files")


class RepositoryBitflip(_Damage):
    """One bit of a repository file flips: the medium rots."""

    kind = "repository.bitflip"
    place: Literal["repository"] = Field(alias="repository.bitflip", description="Where")


class RepositoryTruncate(_Damage):
    """A repository file loses its second half."""

    kind = "repository.truncate"
    place: Literal["repository"] = Field(alias="repository.truncate", description="Where")


class RepositoryDelete(_Damage):
    """A repository file is gone."""

    kind = "repository.delete"
    place: Literal["repository"] = Field(alias="repository.delete", description="Where")


KINDS: dict[str, type[FaultSpec]] = {
    spec.kind: spec
    for spec in (
        NetworkDown,
        NetworkBlackhole,
        NetworkReset,
        NetworkSlow,
        NetworkLatency,
        DiskFull,
        FileLocked,
        PermissionDenied,
        ProcessKill,
        ProcessPause,
        RepositoryBitflip,
        RepositoryTruncate,
        RepositoryDelete,
    )
}


def _which(value: Any) -> str | None:
    if isinstance(value, FaultSpec):
        return value.kind
    if isinstance(value, dict):
        found = [key for key in value if key in KINDS]
        return found[0] if len(found) == 1 else None
    return None


AnyFault = Annotated[
    Annotated[NetworkDown, Tag("network.down")]
    | Annotated[NetworkBlackhole, Tag("network.blackhole")]
    | Annotated[NetworkReset, Tag("network.reset")]
    | Annotated[NetworkSlow, Tag("network.slow")]
    | Annotated[NetworkLatency, Tag("network.latency")]
    | Annotated[DiskFull, Tag("disk.full")]
    | Annotated[FileLocked, Tag("file.locked")]
    | Annotated[PermissionDenied, Tag("permission.denied")]
    | Annotated[ProcessKill, Tag("process.kill")]
    | Annotated[ProcessPause, Tag("process.pause")]
    | Annotated[RepositoryBitflip, Tag("repository.bitflip")]
    | Annotated[RepositoryTruncate, Tag("repository.truncate")]
    | Annotated[RepositoryDelete, Tag("repository.delete")],
    Discriminator(
        _which, custom_error_type="fault_kind", custom_error_message="expected exactly one fault kind"
    ),
]
