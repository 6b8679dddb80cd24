"""Faults that can never strike, or never end as declared."""

from __future__ import annotations

from collections.abc import Iterator

from backupchaos.durations import format_duration
from backupchaos.model.faults import FaultSpec
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.faults.network import NetworkLatency, NetworkSlow
from backupchaos.model.faults.storage import DiskQuota
from backupchaos.model.positions import Path
from backupchaos.model.scenario import Scenario
from backupchaos.model.sense_base import Contradiction, Written, clash, given
from backupchaos.model.sense_survive import survivable
from backupchaos.model.sense_together import family
from backupchaos.model.triggers import Trigger
from backupchaos.model.words import choices, shown
from backupchaos.units import format_range, format_size

_SILENT = {"network.down", "network.blackhole", "process.pause", "service.kill"}
"""While one of these lasts, no byte arrives."""
LEAST_FILE = 1024
"""Bytes below which a limit on files leaves nothing to test."""

_STILL = {
    "process.pause": "the pause",
    "network.blackhole": "the silent link",
    "network.half_open": "the silent connections",
}
"""What makes an honest job say nothing and move nothing as long as it lasts."""


def _trigger(scenario: Scenario, name: str, fault: FaultSpec, written: Written) -> Iterator[Contradiction]:
    path: Path = ("faults", name)
    if fault.when.start:
        if fault.needs_progress:
            at = (*path, "when") if given(written, "faults", name, "when") else path
            message = f"{fault.kind} at the start strikes nothing: the job does not run yet"
            yield clash(at, "too-early", message, "Add such as 'when: {at: 50%}'.", path)
        return
    if fault.whole_job:
        message = f"{fault.kind} shapes how the job is started; it cannot begin later"
        yield clash((*path, "when"), "whole-job", message, "Remove 'when'.", path)
        return
    if fault.layer == "repository" and (fault.when.at is not None or fault.when.bytes is not None):
        message = f"{fault.kind} damages what is already stored; it does not count the job's bytes"
        yield clash(
            (*path, "when"), "damage-trigger", message, "Remove 'when': damage comes before the job.", path
        )
    if fault.when.exit and not fault.instant and not scenario.expect.under_fault:
        message = "the job has ended then, and the fault is undone before anything meets it"
        hint = "Write 'expect: under_fault' to try other commands meanwhile, or choose another condition."
        yield clash((*path, "when"), "too-late", message, hint, ("expect", "under_fault"))
    if fault.when.state in {"PENDING", "SUCCESS", "FAILED"}:
        early = fault.when.state == "PENDING"
        message = (
            "the job does not run yet then" if early else "the job has ended then, and nothing is left to hit"
        )
        hint = (
            "Write 'when: start'." if early else "Use RUNNING or RETRYING, or a share of the data: {at: 90%}."
        )
        yield clash((*path, "when", "state"), "too-early" if early else "too-late", message, hint)
    for key, trigger in (("when", fault.when), ("until", fault.until)):
        if trigger is not None:
            yield from _reachable(scenario, (*path, key), trigger, fault.tier)


def _reachable(scenario: Scenario, path: Path, trigger: Trigger, tier: str) -> Iterator[Contradiction]:
    """A condition that this scenario itself rules out."""
    limit, retries = scenario.deadline, scenario.expect.retries
    if trigger.after is not None and trigger.after >= limit:
        message = f"the job is ended at the deadline of {format_duration(limit)}, before that"
        yield clash(
            (*path, "after"), "after-deadline", message, "Shorten it, or raise 'deadline'.", ("deadline",)
        )
    needed = trigger.attempt - 1 if trigger.attempt else 1 if trigger.state == "RETRYING" else 0
    if retries is not None and retries[1] is not None and retries[1] < needed:
        key = "attempt" if trigger.attempt else "state"
        count = "one retry" if needed == 1 else f"{needed} retries"
        message = f"that takes {count}, and 'expect: retries' is {format_range(retries)}"
        hint = "Raise 'retries', or choose another condition."
        yield clash((*path, key), "never", message, hint, ("expect", "retries"))
    nothing_new = scenario.source.new == 0 and scenario.source.change == 0
    if nothing_new and (trigger.at is not None or (trigger.bytes and not tier)):
        message = "the second job has no new data to count: 'source: new' and 'change' are zero"
        also = (("source", "new"), ("source", "change"))
        yield clash(
            (*path, "at" if trigger.bytes is None else "bytes"), "never", message, "Raise 'new'.", *also
        )


def _end(scenario: Scenario, name: str, fault: FaultSpec, written: Written) -> Iterator[Contradiction]:
    path: Path = ("faults", name)
    if fault.for_ is not None:
        begin, limit = fault.when.after or 0.0, scenario.deadline
        if fault.for_ <= 0:
            yield clash((*path, "for"), "zero", "a fault that lasts no time is none", "Write such as 5s.")
        elif begin + fault.for_ >= limit:
            message = (
                f"the job is ended at the deadline of {format_duration(limit)}, before this fault is over"
            )
            hint = "Shorten it, raise 'deadline', or leave 'for' out: until the job has ended."
            yield clash((*path, "for"), "after-deadline", message, hint, ("deadline",), (*path, "when"))
        elif fault.kind in _STILL and fault.for_ >= scenario.silence:
            limit_text = format_duration(scenario.silence)
            message = f"{_STILL[fault.kind]} would count as a hang: 'silence' is {limit_text}"
            yield clash((*path, "for"), "silence", message, "Shorten it, or raise 'silence'.", ("silence",))
    elif fault.kind == "process.pause" and fault.until is None:
        message = "process.pause needs 'for' or 'until': a job that stands still cannot end by itself"
        yield clash(path, "no-duration", message, "Write such as 'for: 3s'.")
    if fault.until is not None:
        yield from _until(path, fault, fault.until)


def _until(path: Path, fault: FaultSpec, until: Trigger) -> Iterator[Contradiction]:
    at = (*path, "until")
    if until.start:
        yield clash(at, "ends-first", "the fault would end before it starts", "Write such as {after: 10s}.")
    elif until.exit:
        yield clash(at, "ends-first", "every fault ends with the job", "Leave 'until' out.")
    elif until.state in {"PENDING", "SUCCESS", "FAILED"}:
        message = (
            "the job does not run yet then" if until.state == "PENDING" else "every fault ends with the job"
        )
        yield clash((*at, "state"), "ends-first", message, "Leave 'until' out, or use RUNNING or RETRYING.")
    elif fault.kind in _SILENT and (until.bytes is not None or (until.at is not None and not fault.tier)):
        message = f"no byte arrives while {fault.kind} lasts, so it would never end"
        yield clash(at, "never", message, "Write 'for: 5s' or 'until: {attempt: 3}' instead.")
    elif _not_later(fault.when, until):
        message = f"'until' is not later than 'when': both count '{until.kind}' from the job's start"
        yield clash(at, "ends-first", message, "Raise it, or write 'for: 5s'.", (*path, "when"))


def _not_later(when: Trigger, until: Trigger) -> bool:
    kind = until.kind
    counted = kind in {"at", "bytes", "after", "attempt"} and when.kind == kind
    return counted and bool(getattr(until, kind) <= getattr(when, kind))


def _repeated(scenario: Scenario, name: str, fault: FaultSpec, written: Written) -> Iterator[Contradiction]:
    path: Path = ("faults", name)
    if fault.every is None:
        return
    if fault.every >= scenario.deadline:
        message = (
            f"the job is ended at the deadline of {format_duration(scenario.deadline)}, before it comes again"
        )
        hint = "Shorten it, or raise 'deadline'."
        yield clash((*path, "every"), "after-deadline", message, hint, ("deadline",))
    if fault.when.exit:
        message = "a fault that starts when the job has exited cannot come again"
        yield clash((*path, "every"), "too-late", message, "Remove 'every'.", (*path, "when"))


def _place(scenario: Scenario, name: str, fault: FaultSpec, written: Written) -> Iterator[Contradiction]:
    path: Path = ("faults", name)
    if fault.on_link and fault.on_link not in scenario.links:
        hint = choices(fault.on_link, scenario.links, "Places")
        if not scenario.services:
            hint += " Others are named under 'services:', such as services: {catalog: any}."
        message = f"{fault.kind}: there is no place {shown(fault.on_link)}"
        yield clash((*path, fault.kind), "unknown-place", message, hint, ("services",))
    if fault.on_link == REPOSITORY and scenario.repository == "local":
        part = "link" if fault.needs_link else "server"
        message = f"{fault.kind} needs a {part}, and 'repository: local' has none"
        hint = "Write 'repository: remote', or leave it out."
        key = fault.kind if getattr(fault, "place", "") == REPOSITORY else "who"
        yield clash((*path, key), "no-link", message, hint, ("repository",))
    if isinstance(fault, NetworkSlow) and fault.rate <= 0:
        yield clash(
            (*path, "rate"), "zero", "nothing passes at this rate", "Use network.blackhole for silence."
        )
    if isinstance(fault, DiskQuota) and fault.size < LEAST_FILE:
        message = f"not even a lock fits into {format_size(fault.size)}: no job can be that small"
        yield clash((*path, "size"), "too-small", message, f"Write {format_size(LEAST_FILE)} or more.")
    if isinstance(fault, NetworkLatency):
        if fault.delay <= 0:
            yield clash((*path, "delay"), "zero", "a delay of zero is no fault", "Write such as 200ms.")
        elif fault.jitter > fault.delay:
            message = "the jitter is larger than the delay: bytes cannot arrive early"
            yield clash(
                (*path, "jitter"), "too-large", message, "Lower 'jitter', or raise 'delay'.", (*path, "delay")
            )
    files, source = getattr(fault, "files", 0), scenario.source
    if fault.picks_source and source.path is None and files > source.files:
        message = f"{files} files are to be hit, and the source has {source.files}"
        yield clash(
            (*path, "files"), "too-large", message, "Lower it, or raise 'source: files'.", ("source", "files")
        )


def _hidden(scenario: Scenario, name: str, fault: FaultSpec, written: Written) -> Iterator[Contradiction]:
    """While a volume is away there is nothing of it that another fault of the disk could act on."""
    place = getattr(fault, "place", None)
    if not fault.kind.startswith("disk.") or fault.kind == "disk.vanishes":
        return
    for other, spec in scenario.faults.items():
        gone = spec.kind == "disk.vanishes" and spec.when.start and not spec.transient
        if gone and getattr(spec, "place", None) == place and family(fault, spec) is None:
            message = f"the {place} volume is away all the time by the fault '{other}': there is no such disk to act on"
            hint = f"Let '{other}' begin later or end ('for: 5s'), or take one of them away."
            yield clash(("faults", name), "never", message, hint, ("faults", other))


FAULT_RULES = (_trigger, _end, _repeated, survivable, _place, _hidden)
