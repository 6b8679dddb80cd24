"""When a fault starts or ends: anchored to progress first, to wall time last."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_serializer, model_validator

from backupchaos.model.base import Model
from backupchaos.model.patterns import check_pattern
from backupchaos.model.words import Mistake
from backupchaos.units import Duration, Percent, Size

Pattern = Annotated[str, AfterValidator(check_pattern), Field(min_length=1, max_length=500)]
StateName = Literal["PENDING", "RUNNING", "RETRYING", "SUCCESS", "FAILED"]


class CallPoint(Model):
    """The n-th system call of one kind on one volume."""

    name: Literal["open", "read", "write", "fsync", "rename", "unlink", "mkdir"] = Field(
        description="Which system call"
    )
    place: Literal["source", "repository", "cache", "temp"] = Field(description="On which volume")
    nth: int = Field(default=1, ge=1, le=10_000_000, description="Which of them, counted from 1")


class Trigger(Model):
    """Exactly one condition. ``start`` fires before the job's process exists."""

    start: bool | None = Field(
        default=None, description="Before the job starts", json_schema_extra={"const": True}
    )
    at: Percent | None = Field(
        default=None, description="When this share of the job's new data has gone to the repository"
    )
    bytes: Size | None = Field(
        default=None,
        description="When so many bytes have gone over the link that the fault names, else to the repository",
    )
    after: Duration | None = Field(
        default=None, description="So long after the job's start (the last choice)"
    )
    attempt: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="When the job makes its n-th attempt, that is after n-1 retries",
    )
    log: Pattern | None = Field(
        default=None, description="When a line of the job's log matches, ignoring case"
    )
    state: StateName | None = Field(default=None, description="When the job enters this state")
    call: CallPoint | None = Field(
        default=None, description="When the job is about to make the n-th system call of a kind"
    )
    exit: bool | None = Field(
        default=None,
        description="When the job has exited, before anything else is done",
        json_schema_extra={"const": True},
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Trigger:
        values = {name: getattr(self, name) for name in type(self).model_fields}
        given = [name for name, value in values.items() if value is not None and value is not False]
        if len(given) != 1:
            hint = (
                "Write start, {at: 50%}, {bytes: 1MiB}, {after: 2s}, {attempt: 2}, {log: 'text'}, "
                "{state: RETRYING}, {call: {name: write, place: repository}} or exit."
            )
            many = f"there are {len(given)}" if given else "there is none"
            raise Mistake(f"expected exactly one condition, and {many}", code="one-condition", hint=hint)
        return self

    @model_serializer(mode="wrap")
    def _short(self, handler: Any) -> Any:
        return {key: value for key, value in handler(self).items() if value is not None}

    @property
    def kind(self) -> str:
        """The name of the condition that is set."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def recurs(self) -> bool:
        """It can hold anew later in the same job; what counts from the job's start cannot."""
        return self.log is not None or self.state is not None

    def describe(self) -> str:
        """The condition in words, for progress lines and reports."""
        shown = self.model_dump(mode="json")
        if self.exit:
            return "when the job has exited"
        if self.call:
            return f"at {self.call.name} number {self.call.nth} on the {self.call.place}"
        return "at the start" if self.start else f"{self.kind} {shown[self.kind]}"


def _one_word(value: object) -> object:
    return {value: True} if isinstance(value, str) and value in {"start", "exit"} else value


When = Annotated[
    Trigger, BeforeValidator(_one_word, json_schema_input_type=Literal["start", "exit"] | Trigger)
]
START = Trigger(start=True)
