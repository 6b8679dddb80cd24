"""A scenario: source, repository, faults, and what must hold."""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from backupchaos.model.allow import Allow
from backupchaos.model.base import Model
from backupchaos.model.expectations import Expectations, Law
from backupchaos.model.faults import AnyFault
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.words import Mistake, nearest, shown
from backupchaos.units import Duration, Percent, Size

Envelope = Literal["must_survive", "must_fail_loudly", "either"]
RepositoryKind = Literal["any", "remote", "local", "sftp", "s3", "rest", "webdav"]
ServiceKind = Literal["any", "redis", "postgres", "mariadb"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=80)]


STDLIB = "{stdlib}"
"""As ``source.path``: the standard library of the Python that runs the harness."""


KERNELS = ("/proc", "/sys", "/dev")
"""What the kernel makes up when it is read; whole copies of it cannot be made, and would mean nothing."""


def no_tree(path: str) -> str:
    """Why an absolute path cannot be a source, or nothing; ``..`` and doubled slashes hide no place."""
    plain = "/" + posixpath.normpath(path).lstrip("/")
    if plain == "/":
        return "would copy the whole machine"
    if any(plain == one or plain.startswith(f"{one}/") for one in KERNELS):
        return "holds what the kernel and its devices show, not files"
    return ""


OTHER_SOURCE = "Name a folder with files, such as /usr/share/doc, or leave 'path' out for a generated source."


def _real_path(path: str) -> str:
    """Only what means the same from every working directory, and nothing that expands by itself."""
    if path == STDLIB:
        return path
    if path.startswith("/") and path.isprintable():
        if reason := no_tree(path):
            raise Mistake(f"{shown(path)} {reason}", code="bad-path", hint=OTHER_SOURCE)
        return path
    hint = f"Write it from the root, such as /usr/share/doc, or {STDLIB}."
    if path.startswith("{") and nearest(path, [STDLIB]):
        hint = f"Did you mean '{STDLIB}'?"
    raise Mistake(f"expected an absolute path, not {shown(path)}", code="bad-path", hint=hint)


SourcePath = Annotated[
    str,
    AfterValidator(_real_path),
    Field(min_length=1, max_length=4096, json_schema_extra={"pattern": r"^(/|\{stdlib\}$)"}),
]


class Source(Model):
    """What is backed up: a tree generated from the seed, or a copy of a real one."""

    path: SourcePath | None = Field(
        default=None,
        description="A real directory to copy into the sandbox first: an absolute path, or {stdlib} for the "
        "standard library of the running Python",
    )
    files: int = Field(default=100, ge=1, le=1_000_000, description="How many files to generate")
    size: Size = Field(default=4 * 2**20, description="Total size of the generated files")
    change: Percent = Field(default=0.10, description="How many of the files change before the second job")
    new: Size = Field(
        default=2 * 2**20, description="Fresh incompressible data that the second job must transfer"
    )
    names: Literal["any", "portable"] = Field(
        default="any", description="'portable' leaves out names that some protocols cannot carry"
    )
    swap_types: bool = Field(
        default=False, description="Between the jobs a file becomes a directory, and a directory a file"
    )


class Volumes(Model):
    """Sizes of the sandbox's volumes; chosen from the source's size if left out."""

    source: Size | None = Field(default=None, description="What is backed up")
    repository: Size | None = Field(default=None, description="Where the snapshots are stored")
    cache: Size | None = Field(default=None, description="The tool's cache")
    temp: Size | None = Field(default=None, description="The tool's temporary files")


class Recovery(Model):
    """What a person may do before the recovery job; nothing, if left out."""

    unlock: bool = Field(default=False, description="Run the tool's unlock command first")


Tags = Annotated[
    tuple[Name, ...],
    BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v, json_schema_input_type=list[Name]),
]


def _reason(text: str) -> str:
    if text.strip():
        return text
    raise Mistake(
        "expected the reason why this law does not hold here", code="no-reason", hint="The report prints it."
    )


Reason = Annotated[str, AfterValidator(_reason), Field(max_length=300, json_schema_extra={"pattern": r"\S"})]
FaultName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
RESERVED = (REPOSITORY, "source", "cache", "temp", "restore", "state", "target", "reference")
"""No names for services: they mean another place, or would hide a variable of the reference job."""


class Scenario(Model):
    """One story: a world, what breaks in it, and what a good backup tool does then."""

    scenario: Name = Field(description="The name; unique, used on the command line")
    title: str = Field(min_length=1, max_length=200, description="One sentence for people")
    envelope: Envelope = Field(
        default="either", description="Whether the job must survive, must fail loudly, or may do either"
    )
    tags: Tags = Field(default=(), description="Words to select scenarios by")
    source: Source = Field(default=Source(), description="What is backed up, and how it changes")
    repository: RepositoryKind = Field(
        default="any", description="What kind of repository: 'any' takes what the target prefers"
    )
    services: dict[ServiceName, ServiceKind] = Field(
        default_factory=dict,
        description="Other services that the job needs, such as {catalog: postgres}, each behind a link of its "
        "own that faults can name; 'any' takes what the target prefers",
    )
    volumes: Volumes = Field(default=Volumes(), description="Sizes of the sandbox's volumes")
    faults: dict[FaultName, AnyFault] = Field(
        default_factory=dict, description="What breaks, each with a name of its own"
    )
    expect: Expectations = Field(
        default=Expectations(), description="What must be observed, besides the laws"
    )
    recover: Recovery = Field(default=Recovery(), description="What a person may do before the recovery job")
    waive: dict[Law, Reason] = Field(
        default_factory=dict, description="Laws that do not hold in this scenario, each with the reason"
    )
    allow: Allow | None = Field(
        default=None,
        description="What may be touched although the run did not make it; to be repeated on the command line",
    )
    deadline: Duration = Field(default=120.0, description="The job is ended after this time")
    silence: Duration = Field(default=60.0, description="No output and no progress for so long is a hang")

    @model_validator(mode="after")
    def _none_undoes_another(self, info: ValidationInfo) -> Scenario:
        """What the loader says of a file, with its line, Python is told too: a wrong undo would blame the job."""
        if not (info.context or {}).get("from_file"):
            from backupchaos.model.sense_together import together  # which is about scenarios

            for found in together(self, ()):
                raise Mistake(f"{found.draft.message}. {found.draft.hint}", code=found.draft.code)
        return self

    @property
    def needs_link(self) -> bool:
        """A fault of this scenario acts on the link to the repository."""
        return any(fault.needs_link and not fault.tier for fault in self.faults.values())

    @property
    def needs_remote(self) -> bool:
        """The repository must be reached over a link."""
        served = any(fault.on_link == REPOSITORY for fault in self.faults.values())
        return served or self.repository in {"remote", "sftp", "s3", "rest", "webdav"}

    @property
    def links(self) -> tuple[str, ...]:
        """The places that a fault of a link or a server can name."""
        return (REPOSITORY, *self.services)

    def to_yaml_dict(self) -> dict[str, Any]:
        """The scenario as a YAML author would write it, defaults filled in."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
