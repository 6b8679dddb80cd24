"""What a scenario file may contain, for messages and documentation: sections, their keys, samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backupchaos.model.allow import Allow
from backupchaos.model.base import Model
from backupchaos.model.expectations import Expectations, LogExpectation
from backupchaos.model.faults import KINDS, FaultSpec
from backupchaos.model.scenario import Recovery, Scenario, Source, Volumes
from backupchaos.model.triggers import CallPoint, Trigger

SHARED = ("when", "for", "until", "every", "times")
"""The keys of every fault."""


def keys_of(model: type[Model]) -> tuple[str, ...]:
    """The keys of a model as they are written in YAML."""
    hidden = set()
    if issubclass(model, FaultSpec) and model.instant:
        hidden = {"for", "until"}
    if issubclass(model, FaultSpec) and model.whole_job:
        hidden = {"for", "until", "every", "times"}
    names = [field.alias or name for name, field in model.model_fields.items()]
    if issubclass(model, FaultSpec):
        names.sort(key=lambda name: (name != model.kind, name in SHARED))
    return tuple(name for name in names if name not in hidden)


@dataclass(frozen=True)
class Section:
    """One mapping of the file."""

    title: str
    model: type[Model]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys it may have, as written in YAML."""
        return keys_of(self.model)


TOP = Section("the scenario", Scenario)
_NAMED: dict[str, Section] = {
    "source": Section("'source'", Source),
    "volumes": Section("'volumes'", Volumes),
    "expect": Section("'expect'", Expectations),
    "recover": Section("'recover'", Recovery),
    "allow": Section("'allow'", Allow),
}


def find(loc: tuple[str | int, ...]) -> Section | None:
    """The mapping at a location of the model library (union tags included), if one belongs there."""
    if not loc:
        return TOP
    if len(loc) == 1:
        return _NAMED.get(str(loc[0]))
    if loc[:2] == ("expect", "log") and len(loc) == 3:
        return Section("a record of 'log'", LogExpectation)
    if loc[0] == "faults" and len(loc) == 3:
        kind = str(loc[2])
        return Section(f"the {kind} fault '{loc[1]}'", KINDS[kind])
    if loc[0] == "faults" and len(loc) == 4 and loc[3] in {"when", "until"}:
        return Section(f"'{loc[3]}'", Trigger)
    if loc[0] == "faults" and len(loc) == 5 and loc[4] == "call":
        return Section("'call'", CallPoint)
    return None


def section(loc: tuple[str | int, ...]) -> Section:
    """As ``find``, for the location of a mapping."""
    found = find(loc)
    if found is None:
        raise LookupError(f"no mapping belongs at {loc}")
    return found


def sections() -> Iterator[tuple[str, Section]]:
    """Every mapping that a file may have, with a heading."""
    yield "scenario", TOP
    yield from _NAMED.items()
    yield "log", section(("expect", "log", 0))
    yield "when", Section("'when'", Trigger)
    yield "call", Section("'call'", CallPoint)
    for kind, model in KINDS.items():
        yield kind, Section(kind, model)


def home(key: str) -> str | None:
    """The section where a key that is unknown elsewhere would be right."""
    if key in TOP.keys:
        return None
    return next((name for name, one in _NAMED.items() if key in one.keys), None)


SAMPLES: dict[str, str] = {
    "scenario": "'scenario: my_scenario', the name for the command line.",
    "title": "'title: ...', one sentence for people.",
    "rate": "'rate: 512KiB/s'.",
    "delay": "'delay: 200ms'.",
    "size": "'size: 1MiB'.",
    "name": "'name: write', the system call.",
    "place": "'place: repository', the volume.",
    "matches": "'matches: ...', a regular expression, such as 'connection'.",
}
"""How to write each required key."""

SHAPES: dict[str, str] = {
    "source": "source: {files: 200, size: 16MiB}",
    "services": "services: {catalog: postgres}",
    "volumes": "volumes: {repository: 64MiB}",
    "faults": "faults: {my_fault: {network.down: repository, for: 5s}}",
    "expect": "expect: {outcome: success, retries: 0}",
    "log": "log: [{level: error, matches: 'connection'}]",
    "under_fault": "under_fault: {list: works, restore: works}",
    "set": "set: {LANG: C}",
    "recover": "recover: {unlock: true}",
    "waive": "waive: {clean: 'why this law does not hold here'}",
    "allow": "allow: {paths: [/srv/backup-test]}",
    "when": "when: {at: 50%}",
    "until": "until: {after: 10s}",
    "call": "call: {name: write, place: repository, nth: 5}",
}
"""How to write each mapping."""

LISTS: dict[str, str] = {
    "tags": "tags: [network, quick]",
    "states": "states: [PENDING, RUNNING, SUCCESS]",
    "outcome": "outcome: [failure, partial]",
    "log": "log: [{level: error, matches: 'connection'}]",
    "types": "types: [fifo, socket]",
    "paths": "paths: [/srv/backup-test]",
    "hosts": "hosts: ['10.0.0.5:22']",
}
"""How to write each list."""


def example(kind: str) -> str:
    """The shortest valid fault of a kind, in YAML."""
    place = KINDS[kind].model_fields["place"].annotation
    first = getattr(place, "__args__", ("repository",))[0]
    required = [
        name for name, field in KINDS[kind].model_fields.items() if field.is_required() and name != "place"
    ]
    values = {"rate": "512KiB/s", "delay": "200ms", "size": "1MiB"}
    more = "".join(f", {name}: {values[name]}" for name in required)
    if KINDS[kind].needs_progress:
        more += ", when: {at: 50%}"
    if kind == "process.pause":
        more += ", for: 3s"
    return f"{{{kind}: {first}{more}}}"
