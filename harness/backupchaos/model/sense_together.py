"""Faults that cannot be in force together: each would take what the other did for the state of before.

A fault notes what it finds, sets its own, and puts back what it found. Two that set the same thing do so rightly
only if one lies within the other, which nobody knows beforehand: a trigger waits for what the job does. Else
the last undo brings the other fault back, finds exactly what it looks for, and the job after it is blamed.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import combinations

from backupchaos.model.faults import FaultSpec
from backupchaos.model.scenario import Scenario
from backupchaos.model.sense_base import Contradiction, clash
from backupchaos.model.triggers import Trigger

FAMILIES: dict[str, frozenset[str]] = {
    "the size of the {place} volume": frozenset({"disk.full", "disk.nearly_full"}),
    "how many files the {place} volume takes": frozenset({"disk.inodes"}),
    "how the {place} volume is mounted": frozenset({"disk.readonly", "disk.vanishes"}),
    "the permissions on the {place}": frozenset({"permission.denied"}),
    "whether the link can be reached": frozenset(
        {
            "network.down",
            "network.blackhole",
            "network.reset",
            "network.flap",
            "service.kill",
            "service.restart",
        }
    ),
    "how many packets are lost": frozenset({"network.loss"}),
    "how the name server answers": frozenset({"dns.failure", "dns.slow"}),
    "whether the server runs": frozenset(
        {"service.kill", "service.restart", "power.cut", "power.lying_disk"}
    ),
    "whether the job's processes run": frozenset({"process.pause", "process.kill"}),
    "the job's limit of memory": frozenset({"process.oom"}),
    "the job's limit of processes": frozenset({"process.pids"}),
    "the job's share of the processor": frozenset({"process.cpu"}),
    "the job's limit of open files": frozenset({"process.fds"}),
    "how large a file may become": frozenset({"disk.quota"}),
}
"""What a fault sets -> the kinds that set it; ``{place}`` is theirs."""

_OF_A_VOLUME = {"disk.full", "disk.nearly_full", "disk.inodes", "disk.readonly", "permission.denied"}
"""They note and put back the state of a volume, which cannot be found while it is away."""

_DISK_OF_ITS_OWN = ("disk.", "power.", "repository.", "permission.")
"""The power is cut on a disk that is made before the run, and is then as it was at the last sync: no fault of
a volume's space finds there what it knows, and what a fault did to the files may be gone with the power."""
_HARMLESS = {"repository.wrong_password"}


def family(one: FaultSpec, other: FaultSpec) -> str | None:
    """What both set, in words; None if they have nothing in common."""
    (kind, place), (other_kind, other_place) = _acts(one), _acts(other)
    if place != other_place:
        return None
    kinds_here = {kind, other_kind}
    if "disk.vanishes" in kinds_here and kinds_here & _OF_A_VOLUME:
        return "what is to be found of the {place} volume"
    return next((what for what, kinds in FAMILIES.items() if kinds_here <= kinds), None)


def _acts(fault: FaultSpec) -> tuple[str, object]:
    """(kind, place); a signal to the server's process is a restart of the server."""
    if fault.kind == "process.kill" and fault.on_link:
        return "service.restart", fault.on_link
    return fault.kind, getattr(fault, "place", None)


def apart(one: FaultSpec, other: FaultSpec) -> bool:
    """Whether they cannot be in force at the same moment, whatever the job does and however late we are.

    Two blows never are. A state is over for certain only if it began before the job did: one that waits for a
    fact may begin late, and in the same step as the other.
    """
    if one.instant and other.instant:
        return True
    return _over_before(one, other) or _over_before(other, one)


def _over_before(first: FaultSpec, then: FaultSpec) -> bool:
    if not first.when.start or then.when.start or first.comes_again or first.whole_job:
        return False
    if first.instant:
        return True
    if first.for_ is not None:
        return then.when.after is not None and then.when.after >= first.for_
    return first.until is not None and _not_before(then.when, first.until)


def _not_before(when: Trigger, until: Trigger) -> bool:
    """Both count the same, and the one is due no sooner than the other; ends come before starts."""
    kind = until.kind
    counted = kind in {"at", "bytes", "after", "attempt"} and when.kind == kind
    return counted and bool(getattr(when, kind) >= getattr(until, kind))


def together(scenario: Scenario, wrong: Container[str]) -> Iterator[Contradiction]:
    """Each pair, at the later one in the file.

    Nothing is said of a fault that is ``wrong`` itself, since when it would be in force is not known then; nor of
    the same fault given twice, of which more can be said.
    """
    good = [(name, fault) for name, fault in scenario.faults.items() if name not in wrong]
    for (other, spec), (name, fault) in combinations(good, 2):
        if spec == fault:
            continue
        if _on_the_disk_of(fault, spec) or _on_the_disk_of(spec, fault):
            message = (
                f"'{name}' and '{other}' ({spec.kind}) act on the {_place(fault)}'s disk, and a cut of its power "
                "leaves nothing to undo"
            )
            hint = "Write a scenario for each, or take one of them away."
            yield clash(("faults", name), "together", message, hint, ("faults", other))
        elif (what := family(fault, spec)) and not apart(fault, spec):
            what = what.format(place=_acts(fault)[1])
            message = f"'{name}' and '{other}' ({spec.kind}) both set {what}, and may be in force at once"
            yield clash(("faults", name), "together", message, _hint(fault, spec), ("faults", other))


def _hint(one: FaultSpec, other: FaultSpec) -> str:
    if one.whole_job or other.whole_job:
        return "Take one of them away: both last as long as the job."
    again = "" if one.kind != other.kind else ", let one come again with 'every'"
    if one.needs_progress and other.needs_progress:
        return f"Write a scenario for each{again}, or take one of them away."
    return (
        "Let one begin at the start and end, such as 'for: 5s', before the other begins, 'when: {after: 5s}'"
        f"{again}, or take one of them away."
    )


def _on_the_disk_of(power: FaultSpec, fault: FaultSpec) -> bool:
    on_it = fault.kind.startswith(_DISK_OF_ITS_OWN) and fault.kind not in _HARMLESS
    return power.layer == "power" and on_it and _place(fault) == _place(power)


def _place(fault: FaultSpec) -> str:
    return str(getattr(fault, "place", ""))
