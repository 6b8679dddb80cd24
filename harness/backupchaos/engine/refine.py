"""A target's profile refines the tool-neutral expectations of a scenario, openly."""

from __future__ import annotations

from backupchaos.model.expectations import Expectations
from backupchaos.model.scenario import Scenario
from backupchaos.targets.base import Profile


def refined(scenario: Scenario, profile: Profile) -> tuple[Scenario, list[str]]:
    """The scenario as this target is held to it, and notes that say what was changed and why."""
    refinement = profile.refinements.get(scenario.scenario)
    if refinement is None:
        return scenario, []
    expect = scenario.expect.model_dump(by_alias=True)
    expect.update(refinement.expect)
    changed = scenario.model_copy(
        update={
            "expect": Expectations.model_validate(expect, strict=False),
            "waive": {**scenario.waive, **dict(refinement.waive)},
        }
    )
    what = ", ".join([*refinement.expect, *(f"waives {law}" for law in refinement.waive)])
    return changed, [f"refined by the target's profile ({what}): {refinement.reason}"]
