"""Faults of what is stored already: the repository, the tool's cache, its version and configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from backupchaos.model.faults.base import FaultSpec, Pick
from backupchaos.model.words import Mistake
from backupchaos.units import Percent


class _Stored(FaultSpec):
    layer = "repository"
    instant = True


class _Damage(_Stored):
    pick: Pick = Field(default="largest", description="Which repository file")
    files: int = Field(default=1, ge=1, le=1000, description="How many files")


class _BeforeJob(_Stored):
    """What lies between two jobs: there is no sense in it while one of them runs."""

    before_job = True

    @model_validator(mode="after")
    def _at_the_start(self) -> _BeforeJob:
        for key, given in (("when", not self.when.start), ("every", self.every is not None)):
            if given:
                message = "it is there before the job starts, and happens once"
                raise Mistake(message, code="before-job", hint=f"Remove '{key}'.", key=key)
        return self


class RepositoryBitflip(_Damage):
    """The content of a repository file changes: the medium rots."""

    kind = "repository.bitflip"
    place: Literal["repository"] = Field(alias="repository.bitflip", description="Where")
    how: Literal["bit", "zeros", "swapped"] = Field(
        default="bit",
        description="One bit flips; a block of 4 KiB reads as zeros; two files have each other's content",
    )


class RepositoryTruncate(_Damage):
    """A repository file loses its end."""

    kind = "repository.truncate"
    place: Literal["repository"] = Field(alias="repository.truncate", description="Where")
    keep: Percent = Field(default=0.5, description="Which share of the file stays; 0% leaves an empty file")

    @model_validator(mode="after")
    def _something_goes(self) -> RepositoryTruncate:
        if self.keep >= 1:
            raise Mistake("nothing is cut off", code="no-fault", hint="Write such as 50%.", key="keep")
        return self


class RepositoryDelete(_Damage):
    """A repository file is gone."""

    kind = "repository.delete"
    place: Literal["repository"] = Field(alias="repository.delete", description="Where")


class RepositoryRollback(_BeforeJob):
    """The repository is an older copy of itself: the tool remembers a job that the repository knows nothing of."""

    kind = "repository.rollback"
    place: Literal["repository"] = Field(alias="repository.rollback", description="Where")


class RepositoryStaleLock(_BeforeJob):
    """A job that was killed has left its lock."""

    kind = "repository.stale_lock"
    place: Literal["repository"] = Field(alias="repository.stale_lock", description="Where")
    host: Literal["same", "other"] = Field(
        default="same", description="Whether the dead job ran on this machine or on another"
    )


class RepositoryWrongPassword(_Stored):
    """The job is given a wrong password."""

    kind = "repository.wrong_password"
    instant = False
    whole_job = True
    place: Literal["repository"] = Field(alias="repository.wrong_password", description="Where")


class RepositorySwapped(_Stored):
    """Another, empty repository stands in the repository's place, until what the job claims has been judged."""

    kind = "repository.swapped"
    instant = False
    whole_job = True
    outlasts = True
    place: Literal["repository"] = Field(alias="repository.swapped", description="Where")


class CacheCorrupt(_BeforeJob):
    """Every file of the tool's cache is damaged."""

    kind = "cache.corrupt"
    place: Literal["cache"] = Field(alias="cache.corrupt", description="Where")
    how: Literal["bit", "zeros", "half", "empty"] = Field(
        default="zeros",
        description="In each file one bit flips, or a block of 4 KiB reads as zeros; or its second half is gone, "
        "or all of it",
    )


class CacheLost(_BeforeJob):
    """The tool's cache is gone."""

    kind = "cache.lost"
    place: Literal["cache"] = Field(alias="cache.lost", description="Where")


class VersionDrift(FaultSpec):
    """Another version of the tool does the second job."""

    kind = "version.drift"
    layer = "environment"
    whole_job = True
    place: Literal["target"] = Field(alias="version.drift", description="Where")
    program: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="The program of the other version, an absolute path or a name on PATH; the target's own "
        "choice if left out",
    )

    @model_validator(mode="after")
    def _found_from_anywhere(self) -> VersionDrift:
        if self.program is not None and "/" in self.program and not self.program.startswith("/"):
            hint = "Write it from the root, such as /opt/restic-0.18/restic."
            raise Mistake("expected an absolute path", code="bad-path", hint=hint, key="program")
        return self


class ConfigDrift(FaultSpec):
    """The second job finds another home, language, time zone and umask; its cache and configuration are elsewhere."""

    kind = "config.drift"
    layer = "environment"
    whole_job = True
    place: Literal["target"] = Field(alias="config.drift", description="Where")
    set: dict[str, str] = Field(default_factory=dict, description="Environment variables that change besides")

    @model_validator(mode="after")
    def _names(self) -> ConfigDrift:
        for name, value in self.set.items():
            if not name or "=" in name or "\0" in name + value:
                raise Mistake(
                    "expected names of variables, without '='",
                    code="bad-name",
                    hint="Such as {TZ: UTC}.",
                    key="set",
                )
        return self


KINDS: tuple[type[FaultSpec], ...] = (
    RepositoryBitflip,
    RepositoryTruncate,
    RepositoryDelete,
    RepositoryRollback,
    RepositoryStaleLock,
    RepositoryWrongPassword,
    RepositorySwapped,
    CacheCorrupt,
    CacheLost,
    VersionDrift,
    ConfigDrift,
)
