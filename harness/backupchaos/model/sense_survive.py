"""Faults that no job survives: refused beside a promise to survive, before a run blames the tool for it.

Only what is sure is refused. A job may do with less than anybody thinks: append to a file that it has open, find its
blocks in a cache, leave a server alone that it does not need. So nothing is said of a fault that ends, comes again or
hits a number of times; of another place than source and repository; of a service, which a job may do without; nor of
one that may come when the job has stored all that it has to (``log``, ``call``, ``attempt``, a time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from backupchaos.durations import format_duration
from backupchaos.model.faults import FaultSpec
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.faults.processes import ProcessKill
from backupchaos.model.positions import Path
from backupchaos.model.scenario import Scenario
from backupchaos.model.sense_base import Contradiction, Written, clash
from backupchaos.units import format_size

_OUTCOME: Path = ("expect", "outcome")


@dataclass(frozen=True)
class _Begun:
    """When a fault begins, as far as the scenario tells."""

    share: float
    """Of the new data at most so much has been moved by then."""
    at_start: bool
    """The job has opened nothing yet, and holds nothing that keeps working."""


Reason = Callable[[Scenario, Any, _Begun], str]
"""Why no job with new data gets past such a fault; empty if one may."""


def _always(words: str) -> Reason:
    return lambda scenario, fault, begun: words


def _from_start(words: str, when: Callable[[Any], bool] = lambda fault: True) -> Reason:
    """For what a job does not meet that has opened its files, or its connections, before."""
    return lambda scenario, fault, begun: words if begun.at_start and when(fault) else ""


def _all_of_them(words: str) -> Reason:
    return lambda scenario, fault, begun: words if fault.share >= 1 else ""


def _no_room(scenario: Scenario, fault: Any, begun: _Begun) -> str:
    """Fresh data neither compress nor deduplicate; but a mirror may delete first, about as much as changes."""
    room = fault.headroom if fault.kind == "disk.full" else fault.left
    source = scenario.source
    if fault.place != REPOSITORY or source.path is not None:
        return ""
    needed = source.new * (1 - begun.share) - source.size * source.change
    fresh = format_size(source.new)
    return f"{format_size(room)} stay free of what {fresh} of new data need" if room < needed else ""


def _too_late(scenario: Scenario, fault: Any, begun: _Begun) -> str:
    if not begun.at_start or fault.delay < scenario.deadline or fault.place not in (REPOSITORY, "source"):
        return ""
    return f"the first answer is due after the deadline of {format_duration(scenario.deadline)}"


def _dying(fault: Any) -> bool:
    """Every call that brings data in or out fails; a job may do without the others."""
    useful = {"source": {"open", "read"}, REPOSITORY: {"open", "write"}}.get(fault.place, set())
    return fault.call in useful and fault.path == "**" and fault.nth == 1 and fault.calls is None


_REASONS: dict[str, Reason] = {
    "network.down": _always("the link stays away"),
    "network.blackhole": _always("the link stays away"),
    "network.loss": _all_of_them("no packet arrives"),
    "network.latency": _too_late,
    "dns.failure": _from_start("nobody ever learns the server's address"),
    "dns.slow": _too_late,
    "service.kill": _always("the server stays away"),
    "service.credentials_expire": _always("nobody is let in"),
    "service.errors": _all_of_them("every request fails"),
    "service.throttle": _all_of_them("every request is put off"),
    "service.slow": _too_late,
    "disk.full": _no_room,
    "disk.nearly_full": _no_room,
    "disk.readonly": lambda scenario, fault, begun: (
        "nothing can be stored" if fault.place == REPOSITORY else ""
    ),
    "disk.slow": _too_late,
    "disk.io_error": _from_start("every such call fails", _dying),
    "disk.vanishes": _from_start(
        "the volume stays away", lambda fault: fault.place in (REPOSITORY, "source")
    ),
    "permission.denied": _from_start(
        "it cannot be opened by anybody", lambda fault: fault.place in (REPOSITORY, "source")
    ),
    "file.locked": _from_start(
        "a file that it owes cannot be opened",
        lambda fault: fault.mode == "enforced" and fault.refusals is None,
    ),
    "file.unreadable": _from_start("a file that it owes cannot be read", lambda fault: fault.nth == 1),
    "process.stdin_dies": lambda scenario, fault, begun: (
        "what it is to store never comes" if fault.share < 1 else ""
    ),
    "repository.wrong_password": _always("the repository stays closed"),
}
"""Kind -> why; kinds that are not here, or whose reason is empty, can be survived.

Left out on purpose: ``disk.inodes`` and ``disk.quota`` (who appends to one file, or keeps small ones, stores on),
``disk.vanishes`` in mid-run (open files keep working), ``file.vanishes`` (a file that is gone is owed by nobody), limits
of the process (how little is enough, only the tool knows), ``process.oom`` (only a helper may die of it),
``repository.swapped`` (a full backup into the other one is true as long as that is there), and damage.
"""


def survivable(scenario: Scenario, name: str, fault: FaultSpec, written: Written) -> Iterator[Contradiction]:
    """A job that is to end well under what ends every job, or what keeps every job from its end."""
    promised = _promise(scenario)
    if promised is None or fault.transient:
        return
    path: Path = ("faults", name)
    if fault.kills_job:
        how = "SIGKILL ends the job" if isinstance(fault, ProcessKill) else "the job dies with the machine"
        message = f"{how}, and the job must survive that"
        hint = "Write 'envelope: must_fail_loudly': that the next job works is judged anyway"
        hint += ". Or hit 'who: helper' or 'who: server'." if isinstance(fault, ProcessKill) else "."
        yield clash(path, "not-survivable", message, hint, promised)
        return
    begun = _begin(scenario, fault)
    if begun is None or not _owes_data(scenario) or fault.tier:
        return
    reason = _REASONS.get(fault.kind)
    why = reason(scenario, fault, begun) if reason else ""
    if not why:
        return
    message = f"{why} until the job has ended, and the job must survive that"
    hint = _hint(fault, promised)
    yield clash(path, "not-survivable", message, hint, promised, ("source",), ("deadline",), ("waive",))


def _promise(scenario: Scenario) -> Path | None:
    """Where the author says that the job must end well."""
    if scenario.envelope == "must_survive":
        return ("envelope",)
    return _OUTCOME if scenario.expect.outcome == ("success",) else None


def _owes_data(scenario: Scenario) -> bool:
    """There is something new without which its restore would be none, and that restore is asked for."""
    source, expect = scenario.source, scenario.expect
    something = source.new > 0 or source.change > 0
    return something and expect.restore == "equal" and "honest" not in scenario.waive


def _begin(scenario: Scenario, fault: FaultSpec) -> _Begun | None:
    """None for one that may come when all is stored already."""
    when, new = fault.when, scenario.source.new
    if when.start or fault.whole_job:
        return _Begun(0.0, at_start=True)
    if when.at is not None and when.at < 1:
        return _Begun(when.at, at_start=False)
    if when.bytes is not None and when.bytes < new:
        return _Begun(when.bytes / new, at_start=False)
    return _Begun(0.0, at_start=False) if when.state == "RUNNING" else None


def _hint(fault: FaultSpec, promised: Path) -> str:
    change = "change 'envelope'" if promised == ("envelope",) else "allow 'failure' too"
    if fault.whole_job:
        return f"{change[0].upper()}{change[1:]}: it lasts as long as the job."
    room = {"disk.full": "raise 'headroom'", "disk.nearly_full": "raise 'left'"}.get(fault.kind)
    return f"Add such as 'for: 5s', {f'{room}, ' if room else ''}or {change}."
