"""Faults of the job's processes, their resources and their clock."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from backupchaos.model.faults.amounts import at_least
from backupchaos.model.faults.base import REPOSITORY, FaultSpec
from backupchaos.model.words import Mistake
from backupchaos.units import Duration, Percent, Size


def _off(value: float) -> float:
    if value >= 1:
        return value
    raise Mistake("expected at least 1s: nobody would notice less", code="zero", hint="Write such as 1h.")


Off = Annotated[Duration, AfterValidator(_off)]
Portion = Annotated[Percent, at_least(0.01, "1%", "10%")]


class _OnJob(FaultSpec):
    layer = "process"


AnySignal = Literal[
    "ABRT", "ALRM", "BUS", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "STOP", "SYS", "TERM", "TRAP",
    "TSTP", "USR1", "USR2", "XCPU", "XFSZ",
]  # fmt: skip
"""Signals that somebody may send to a backup job; the real-time ones and those of terminals are left out."""


class ProcessKill(_OnJob):
    """A signal to the backup job, only to a process that it has started, or only to the server's that serves it.

    A job that KILL ends cannot log, and the law *loud* then asks for its exit status alone. Whoever dies of another
    signal could have caught it, and must say so.
    """

    kind = "process.kill"
    instant = True
    needs_progress = True
    place: Literal["target"] = Field(alias="process.kill", description="Where")
    signal: AnySignal = Field(default="KILL", description="Which signal")
    who: Literal["job", "helper", "server"] = Field(
        default="job",
        description="The job; only the first process that it has started, such as its ssh; or only the process of "
        "the repository's server that serves it, which is started again if that was the server itself",
    )

    @property
    def on_link(self) -> str:
        """Of these only the server's process stands behind a link."""
        return REPOSITORY if self.who == "server" else ""

    @property
    def kills_job(self) -> bool:
        """KILL cannot be caught, and a job that had ended before was not hit."""
        return self.strikes_dumb and not self.when.exit

    @property
    def strikes_dumb(self) -> bool:
        """Only KILL gives the job no chance to say a word."""
        return self.who == "job" and self.signal == "KILL"

    @model_validator(mode="after")
    def _goes_on(self) -> ProcessKill:
        if self.who == "job" and self.signal in {"STOP", "TSTP"}:
            message = f"a job that stands still after SIG{self.signal} is never continued: it could not end by itself"
            hint = "Use process.pause with 'for', which continues it."
            raise Mistake(message, code="for-good", hint=hint, key="signal")
        if self.who == "server" and self.signal in {"STOP", "TSTP"}:
            message = f"a server that stands still after SIG{self.signal} is never continued: no later job could work"
            hint = "Use network.blackhole with 'for', which ends."
            raise Mistake(message, code="for-good", hint=hint, key="signal")
        return self


class ProcessPause(_OnJob):
    """The job's processes are stopped (SIGSTOP) and later continued."""

    kind = "process.pause"
    needs_progress = True
    place: Literal["target"] = Field(alias="process.pause", description="Where")


class ProcessOom(_OnJob):
    """The job may use no more memory than this; the kernel kills it otherwise."""

    kind = "process.oom"
    whole_job = True
    lethal = True
    place: Literal["target"] = Field(alias="process.oom", description="Where")
    memory: Size = Field(default=24 * 2**20, description="How much memory the job may use")


class ProcessFds(_OnJob):
    """The job may open no more files at once."""

    kind = "process.fds"
    whole_job = True
    place: Literal["target"] = Field(alias="process.fds", description="Where")
    limit: int = Field(default=8, ge=3, le=1_000_000, description="How many descriptors the job may have")


class ProcessPids(_OnJob):
    """The job can start no more processes and threads."""

    kind = "process.pids"
    whole_job = True
    place: Literal["target"] = Field(alias="process.pids", description="Where")
    limit: int = Field(
        default=0, ge=0, le=1_000_000, description="How many processes and threads the job may start"
    )


class ProcessCpu(_OnJob):
    """The job gets only a share of one processor."""

    kind = "process.cpu"
    place: Literal["target"] = Field(alias="process.cpu", description="Where")
    share: Portion = Field(default=0.10, description="Which share of one processor")


class ProcessMinimalEnv(_OnJob):
    """The job runs as under cron: no HOME, a short PATH, no terminal, another directory."""

    kind = "process.minimal_env"
    whole_job = True
    place: Literal["target"] = Field(alias="process.minimal_env", description="Where")


class ProcessConcurrent(_OnJob):
    """Somebody else works on the same repository at the same time."""

    kind = "process.concurrent"
    needs_progress = True
    instant = True
    place: Literal["target"] = Field(alias="process.concurrent", description="Where")
    what: Literal["backup", "prune", "check"] = Field(
        default="backup", description="What is started beside the job"
    )
    patience: Duration = Field(
        default=60.0,
        description="How long the other may go on after the job has ended; to be ended then counts as a hang",
    )


class ProcessStdinDies(_OnJob):
    """The job stores the output of another program instead of the source, and that program dies half way."""

    kind = "process.stdin_dies"
    whole_job = True
    place: Literal["target"] = Field(alias="process.stdin_dies", description="Where")
    share: Percent = Field(default=0.5, description="After which share of its output the other program dies")


class ClockJump(FaultSpec):
    """The clock of the job is set while it runs."""

    kind = "clock.jump"
    layer = "clock"
    needs_progress = True
    place: Literal["target"] = Field(alias="clock.jump", description="Where")
    by: Off = Field(default=3600.0, description="How far")
    direction: Literal["forward", "back"] = Field(default="forward", description="Which way")


class ClockSkew(FaultSpec):
    """The clock of the job is wrong all the time."""

    kind = "clock.skew"
    layer = "clock"
    whole_job = True
    place: Literal["target"] = Field(alias="clock.skew", description="Where")
    by: Off = Field(default=86400.0, description="How far")
    direction: Literal["forward", "back"] = Field(default="back", description="Which way")


KINDS: tuple[type[FaultSpec], ...] = (
    ProcessKill,
    ProcessPause,
    ProcessOom,
    ProcessFds,
    ProcessPids,
    ProcessCpu,
    ProcessMinimalEnv,
    ProcessConcurrent,
    ProcessStdinDies,
    ClockJump,
    ClockSkew,
)
