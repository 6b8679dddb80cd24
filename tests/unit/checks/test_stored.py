"""A claim whose data never came to the repository, made up: over a link, onto a volume, and where nobody can tell."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupchaos.checks import judge
from backupchaos.checks.case import Case
from backupchaos.checks.stored import stored
from backupchaos.history import Event
from backupchaos.results import Verdict

_SPEC = importlib.util.spec_from_file_location("cases", Path(__file__).with_name("cases.py"))
assert _SPEC is not None and _SPEC.loader is not None
cases: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)

MIB = 2**20


def told(end: dict[str, Any], story: Any = None, *, leniency: bool = False) -> Case:
    """A claim of success after a change of 2 MiB, with these measures at the job's end."""
    case: Case = (story or cases.Story()).case()
    events = [
        replace(e, data={**e.data, **end}) if e.kind == "job.end" and e["job"] == "fault" else e
        for e in case.events
    ]
    events.append(Event(len(events), 0.0, "change", {"new_bytes": 2 * MIB, "fresh": 3}))
    if leniency:
        events.append(Event(len(events), 0.0, "source.leniency", {"paths": ["a (gone)"]}))
    return replace(case, events=events)


def verdict(case: Case) -> Verdict:
    rows = stored(case)
    return rows[0].verdict if rows else Verdict.PASS


def test_what_never_went_up_the_link_is_not_in_the_repository() -> None:
    case = told({"link_bytes": MIB})
    assert verdict(case) is Verdict.FAIL
    rows = judge.evaluate(case)
    assert judge.severity(case, rows) == "misleading"
    assert verdict(told({"link_bytes": 2 * MIB})) is Verdict.PASS


def test_what_did_not_come_to_the_volume_may_have_had_its_room_before() -> None:
    assert verdict(told({"grown": MIB, "held": 9 * MIB})) is Verdict.UNVERIFIED
    assert verdict(told({"grown": 2 * MIB, "held": 9 * MIB})) is Verdict.PASS


def test_a_mirror_also_removes() -> None:
    story = cases.Story()
    story.profile = replace(story.profile, history=False)
    assert verdict(told({"grown": 0, "held": 2 * MIB}, story)) is Verdict.PASS
    assert verdict(told({"grown": 0, "held": MIB}, story)) is Verdict.UNVERIFIED


@pytest.mark.parametrize(
    "case",
    [
        told({"grown": 0}),
        told({"grown": 0, "held": None}),
        told({"link_bytes": 0}, leniency=True),
        told({"link_bytes": 0}, cases.Story(allow={"hosts": ["10.0.0.5:22"]})),
        told({"link_bytes": 0}, cases.Story(faults={"cut": {"disk.vanishes": "source"}})),
        told({"link_bytes": 0}, cases.Story(faults={"cut": {"repository.stale_lock": "repository"}})),
        told({"link_bytes": 0}, cases.Story(faults={"cut": {"process.stdin_dies": "target"}})),
        told({"link_bytes": 0}, cases.Story().fails()),
    ],
    ids=["old history", "shared disk", "changed", "allowed", "source", "dead job", "stream", "failure"],
)
def test_where_nobody_can_tell_nothing_is_said(case: Case) -> None:
    assert not stored(case)


def test_a_restore_that_differs_has_been_judged_already() -> None:
    story = cases.Story()
    story.restores[0] = cases.restored("newest", different=1)
    assert not stored(told({"link_bytes": 0}, story))
