"""The expectations table of a scenario: what must be observed, besides the laws."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from backupchaos.model.base import Model
from backupchaos.model.patterns import check_log_pattern
from backupchaos.model.triggers import StateName
from backupchaos.units import CountRange, Duration

Outcome = Literal["success", "partial", "failure"]
Law = Literal["honest", "no_collateral", "loud", "bounded", "recoverable", "clean", "as_declared"]
Level = Literal["info", "warning", "error"]
TRANSITIONS: dict[StateName, frozenset[StateName]] = {
    "PENDING": frozenset({"RUNNING", "FAILED"}),
    "RUNNING": frozenset({"RETRYING", "SUCCESS", "FAILED"}),
    "RETRYING": frozenset({"RUNNING", "FAILED"}),
    "SUCCESS": frozenset(),
    "FAILED": frozenset(),
}
"""Where a job may go from each state; it begins with PENDING."""


def _listed(value: Any) -> Any:
    """YAML lists become tuples."""
    return tuple(value) if isinstance(value, list) else value


def _one_or_listed(value: Any) -> Any:
    """One word may be written without brackets."""
    return (value,) if isinstance(value, str) else _listed(value)


Outcomes = Annotated[
    tuple[Outcome, ...],
    BeforeValidator(
        _one_or_listed, json_schema_input_type=Outcome | Annotated[list[Outcome], Field(min_length=1)]
    ),
    Field(min_length=1),
]
States = Annotated[
    tuple[StateName, ...],
    BeforeValidator(_listed, json_schema_input_type=Annotated[list[StateName], Field(min_length=1)]),
    Field(min_length=1),
]


LogPattern = Annotated[str, AfterValidator(check_log_pattern), Field(min_length=1, max_length=500)]


class LogExpectation(Model):
    """At least one record of the job's log at this level or above matches.

    With level warning or error it must come after the first fault, and not be written by the control job as well.
    """

    level: Level = Field(default="info", description="The record has this level or a graver one")
    matches: LogPattern = Field(
        description="A regular expression found anywhere in the record, ignoring case; "
        "{path} stands for the name of a faulted file"
    )


LogExpectations = Annotated[
    tuple[LogExpectation, ...], BeforeValidator(_listed, json_schema_input_type=list[LogExpectation])
]


Tool = Literal["list", "restore", "check", "unlock", "prune"]


class Expectations(Model):
    """Rows left out are not checked, except the outcome, which follows from the envelope."""

    outcome: Outcomes | None = Field(
        default=None, description="What the job must claim; follows from the envelope"
    )
    states: States | None = Field(
        default=None, description="The job's states in order; a repeated RUNNING, RETRYING counts once"
    )
    retries: CountRange | None = Field(default=None, description="How often the job tried again")
    backoff: Literal["growing"] | None = Field(default=None, description="The gaps between retries grow")
    within: Duration | None = Field(default=None, description="The job ends within this time")
    log: LogExpectations = Field(default=(), description="Records that the job's log must hold")
    under_fault: dict[Tool, Literal["works", "fails", "any"]] = Field(
        default_factory=dict,
        description="What the tool's other commands do after the job, while the faults are still in force",
    )
    silent: Duration | None = Field(
        default=None, description="The job is never without output and progress for longer than this"
    )
    restore: Literal["equal", "loud"] = Field(
        default="equal",
        description="Of what was claimed: equal to the source, or at least failing loudly instead of lying",
    )
    older: Literal["equal", "loud"] = Field(
        default="equal", description="Of the snapshot from before the fault: the same"
    )
    check: Literal["passes", "fails", "any"] = Field(
        default="passes", description="What the tool's own check of the repository says afterwards"
    )
