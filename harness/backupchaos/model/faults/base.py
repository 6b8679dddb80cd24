"""What all faults of a scenario share: when they start, how long they last, how often they come."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from backupchaos.model.base import Model
from backupchaos.model.triggers import START, When
from backupchaos.model.words import Mistake
from backupchaos.units import Duration

Signal = Literal["KILL", "TERM", "INT", "HUP", "STOP"]
Pick = Literal["random", "largest", "newest", "oldest"]
REPOSITORY = "repository"
"""The place of a link that every remote repository has; the others are named by the scenario's ``services``."""
LinkPlace = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]*$", max_length=40, json_schema_extra={"examples": [REPOSITORY, "catalog"]}
    ),
]
"""``repository`` or a service of the scenario; which ones there are only the whole scenario knows (``sense``)."""


class FaultSpec(Model):
    """What all faults share: when they start, and how long they last."""

    kind: ClassVar[str]
    layer: ClassVar[str]
    instant: ClassVar[bool] = False
    """The fault is a blow, not a state: it has no end (a kill, a flipped bit)."""
    whole_job: ClassVar[bool] = False
    """It shapes how the job is started, and holds until the job has ended: a limit, an environment."""
    before_job: ClassVar[bool] = False
    """It is there before the job starts, once, and nothing else can be said of when."""
    needs_progress: ClassVar[bool] = False
    """At the start there is nothing yet that it could hit: a process, a connection."""
    needs_link: ClassVar[bool] = False
    """It acts on a link; where that is the repository's, the repository must be remote."""
    needs_service: ClassVar[bool] = False
    """It acts on a server; where that is the repository's, the repository must be remote."""
    strands: ClassVar[bool] = False
    """A connection that its client has given up may live on at the server, and end much later."""
    lethal: ClassVar[bool] = False
    """It may end the job's own process by SIGKILL, which nobody can catch."""
    outlasts: ClassVar[bool] = False
    """It stays after the job, until what the job claims has been restored and compared."""

    when: When = Field(default=START, description="What starts the fault; 'start' if left out")
    for_: Duration | None = Field(
        default=None, alias="for", description="How long it lasts; until the job has ended if left out"
    )
    until: When | None = Field(default=None, description="What ends the fault, instead of 'for'")
    every: Duration | None = Field(
        default=None, description="It comes again so long after its start, until the job has ended"
    )
    times: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="How often it comes in all: at each 'every', or without it each time when the log line or the "
        "state of 'when' comes again",
    )

    @model_validator(mode="after")
    def _one_end(self) -> FaultSpec:
        if self.for_ is not None and self.until is not None:
            hint = "Give one of them; 'for' counts from the fault's start."
            raise Mistake("'for' and 'until' exclude each other", code="two-ends", hint=hint, key="until")
        if self.instant or self.whole_job:
            for key, value in (("for", self.for_), ("until", self.until)):
                if value is not None:
                    message = "it happens at one instant" if self.instant else "it lasts as long as the job"
                    message += " and takes neither 'for' nor 'until'"
                    raise Mistake(message, code="instant", hint=f"Remove '{key}'.", key=key)
        self._repetition()
        return self

    def _repetition(self) -> None:
        if self.times is not None and self.every is None and not self.when.recurs:
            hint = "Add such as 'every: 5s', or let it wait for what can come again: 'when: {log: ...}' or a state."
            raise Mistake("'times' needs 'every'", code="no-interval", hint=hint, key="times")
        if not self.comes_again:
            return
        key = "times" if self.every is None else "every"
        if self.whole_job:
            message = "it lasts as long as the job and cannot come again"
            raise Mistake(message, code="no-repetition", hint=f"Remove '{key}'.", key=key)
        if not self.instant and self.for_ is None and (self.every or not self.until or not self.until.recurs):
            hint = "Write such as 'for: 1s'" + (", shorter than 'every'." if self.every else ".")
            raise Mistake("a fault that comes again needs 'for'", code="no-duration", hint=hint, key=key)
        if self.every is not None and self.every <= (self.for_ or 0.0):
            message = "'every' counts from start to start and must be longer than 'for'"
            raise Mistake(message, code="overlap", hint="Raise 'every', or shorten 'for'.", key="every")

    @property
    def kills_job(self) -> bool:
        """Whether no job can end well under it. After an exit, or a last line of the log, one may have done so before."""
        return self.lethal and self.layer == "power" and not (self.when.exit or self.when.log)

    @property
    def strikes_dumb(self) -> bool:
        """Whether a job that dies of it by SIGKILL can have logged nothing of it."""
        return self.lethal

    @property
    def comes_again(self) -> bool:
        """It may start more than once: after a time, or when its condition holds anew."""
        return self.every is not None or self.times is not None

    @property
    def on_link(self) -> str:
        """The link or server that it acts on: ``repository`` or a service of the scenario; empty if on none."""
        return str(getattr(self, "place", "")) if self.needs_link or self.needs_service else ""

    @property
    def unplugs(self) -> bool:
        """It takes the job's network itself away, so that its link must stand on one that can be taken away."""
        return False

    @property
    def leaves_stranded(self) -> bool:
        """A connection that its client has given up may live on at the server."""
        return self.strands

    @property
    def tier(self) -> str:
        """The service, other than the repository's, that it acts on; empty if on none."""
        return "" if self.on_link == REPOSITORY else self.on_link

    @property
    def picks_source(self) -> bool:
        """It acts on picked files of the source."""
        return "pick" in type(self).model_fields and getattr(self, "place", "") == "source"

    @property
    def picks_files(self) -> bool:
        """It acts on picked files, whose names ``{path}`` stands for."""
        return self.picks_source or (self.layer == "repository" and "pick" in type(self).model_fields)

    @property
    def transient(self) -> bool:
        """The fault ends by itself while the job may still run."""
        return self.for_ is not None or self.until is not None
