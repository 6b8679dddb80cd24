"""Faults of files in the source, and of permissions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from backupchaos.model.faults.base import FaultSpec, Pick
from backupchaos.model.words import Mistake
from backupchaos.units import Size

Special = Literal["fifo", "socket", "device", "long_name", "non_utf8", "link_loop"]


class _OnFiles(FaultSpec):
    layer = "files"
    pick: Pick = Field(default="random", description="Which changed file")
    files: int = Field(default=1, ge=1, le=1000, description="How many files")


class FileLocked(_OnFiles):
    """Opening a source file is refused, as by a mandatory lock (advisory locks stop no tool on Linux)."""

    kind = "file.locked"
    place: Literal["source"] = Field(alias="file.locked", description="Where")
    mode: Literal["enforced", "advisory"] = Field(
        default="enforced", description="Whether the open is refused, or a lock is merely held"
    )
    refusals: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="How many opens of each file are refused; all if left out",
    )
    error: Literal["EBUSY", "EAGAIN", "ETXTBSY", "EACCES"] = Field(
        default="EBUSY", description="The error number that the refused open returns"
    )

    @model_validator(mode="after")
    def _nothing_refused(self) -> FileLocked:
        if self.mode == "advisory":
            for key in ("refusals", "error"):
                if key in self.model_fields_set:
                    message = f"an advisory lock refuses no open, so '{key}' means nothing"
                    hint = f"Remove '{key}', or write 'mode: enforced'."
                    raise Mistake(message, code="advisory", hint=hint, key=key)
        return self


class FileUnreadable(_OnFiles):
    """A source file can be opened, and reading it fails."""

    kind = "file.unreadable"
    place: Literal["source"] = Field(alias="file.unreadable", description="Where")
    nth: int = Field(default=1, ge=1, le=1_000_000, description="The first read of each file that fails")
    error: Literal["EIO", "EACCES", "ESTALE"] = Field(
        default="EIO", description="The error number that the read returns"
    )


class _WhileRead(_OnFiles):
    whole_job = True
    """It waits for the job to come by, and is taken back when the job has ended."""


class FileVanishes(_WhileRead):
    """A source file is deleted when the job is about to open it."""

    kind = "file.vanishes"
    place: Literal["source"] = Field(alias="file.vanishes", description="Where")


class FileTruncated(_WhileRead):
    """A source file loses its second half while the job reads it."""

    kind = "file.truncated"
    place: Literal["source"] = Field(alias="file.truncated", description="Where")


class FileGrows(_WhileRead):
    """A source file grows while the job reads it."""

    kind = "file.grows"
    place: Literal["source"] = Field(alias="file.grows", description="Where")
    by: Size = Field(default=64 * 1024, ge=1, description="How much is appended")


class FileReplaced(_WhileRead):
    """A source file is replaced by another of the same name while the job reads it."""

    kind = "file.replaced"
    place: Literal["source"] = Field(alias="file.replaced", description="Where")


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class FileSpecial(FaultSpec):
    """The source gets things that are no plain files, or have hard names."""

    kind = "file.special"
    layer = "files"
    whole_job = True
    place: Literal["source"] = Field(alias="file.special", description="Where")
    types: Annotated[
        tuple[Special, ...],
        BeforeValidator(
            _listed, json_schema_input_type=Special | Annotated[list[Special], Field(min_length=1)]
        ),
        Field(min_length=1),
    ] = Field(
        default=("fifo", "socket", "device", "long_name", "non_utf8", "link_loop"),
        description="What is put into the source",
    )

    @model_validator(mode="after")
    def _each_once(self) -> FileSpecial:
        if len(set(self.types)) != len(self.types):
            raise Mistake("a type is given twice", code="twice", hint="Remove one.", key="types")
        return self


class PermissionDenied(FaultSpec):
    """Files or a whole volume may not be opened any more; root's override is taken away too."""

    kind = "permission.denied"
    layer = "permissions"
    place: Literal["source", "repository", "cache", "temp"] = Field(
        alias="permission.denied", description="Where"
    )
    pick: Pick = Field(default="random", description="Which changed file")
    files: int = Field(default=1, ge=1, le=1000, description="How many files")
    by: Literal["root", "user"] = Field(
        default="root", description="Who the job is: root without its overrides, or an ordinary user"
    )

    @model_validator(mode="after")
    def _files_of_the_source(self) -> PermissionDenied:
        for key in ("pick", "files"):
            if self.place != "source" and key in self.model_fields_set:
                message = f"the {self.place} is denied as a whole, so '{key}' means nothing"
                raise Mistake(message, code="as-a-whole", hint=f"Remove '{key}'.", key=key)
        return self


KINDS: tuple[type[FaultSpec], ...] = (
    FileLocked,
    FileUnreadable,
    FileVanishes,
    FileTruncated,
    FileGrows,
    FileReplaced,
    FileSpecial,
    PermissionDenied,
)
