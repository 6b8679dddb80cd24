"""A target that refines a scenario by a misspelt name is told so; one of somebody's own is left alone."""

from __future__ import annotations

import dataclasses

from backupchaos.session.refined import misspelt
from backupchaos.targets.base import Refinement
from backupchaos.targets.registry import resolve_target

KNOWN = ("disk_full", "file_locked", "normal")


def said(*names: str, known: tuple[str, ...] = KNOWN) -> list[str]:
    target = resolve_target("reference")
    refinements = dict.fromkeys(names, Refinement("it is so", {}))
    target.profile = dataclasses.replace(target.profile, refinements=refinements)
    return misspelt([target], known)


def test_a_misspelt_scenario() -> None:
    (line,) = said("file_locked", "file_lockd", "my_own_tape_robot", "disk_full_nas")
    assert "'file_lockd'" in line
    assert line.endswith("Did you mean 'file_locked'?")


def test_an_own_scenario_that_is_selected() -> None:
    assert said("file_lockd", known=(*KNOWN, "file_lockd")) == []
