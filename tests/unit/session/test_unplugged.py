"""A network that can be taken away is there only in containers: plans say so before any run."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backupchaos.environments.base import Environment
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.model.scenario import Scenario
from backupchaos.session.capabilities import Here, gap, look, needs
from backupchaos.targets.registry import resolve_target

DOWN = {"network.down": "repository"}


def scenario(*faults: Mapping[str, Any], **fields: Any) -> Scenario:
    named = {f"f{number}": fault for number, fault in enumerate(faults)}
    return Scenario.model_validate({"scenario": "s", "title": "t", "faults": named, **fields}, strict=False)


def here(*capabilities: str) -> Here:
    return Here("local, root", frozenset({"syscalls", *capabilities}), LocalEnvironment())


def why(one: Scenario, *capabilities: str) -> str:
    return gap(one, resolve_target("reference"), here(*capabilities))


def test_it_is_among_what_a_scenario_needs() -> None:
    assert "outlet" in needs(scenario({**DOWN, "mode": "unreachable"}))
    assert "outlet" not in needs(scenario({**DOWN, "mode": "reset"}))


def test_a_sandbox_of_this_machine_has_it_not() -> None:
    pulled = scenario({**DOWN, "mode": "unreachable"})
    assert "only containers have (--env docker)" in why(pulled)
    assert why(pulled, "outlet") == ""
    assert why(scenario({**DOWN, "mode": "refused"})) == ""


@pytest.mark.parametrize(
    ("other", "fields", "answer"),
    [
        ({"dns.slow": "repository"}, {}, "takes the name server away"),
        (
            {"network.latency": "catalog", "delay": 0.2},
            {"services": {"catalog": "any"}},
            "more links than one",
        ),
    ],
)
def test_what_goes_with_it(other: Mapping[str, Any], fields: Mapping[str, Any], answer: str) -> None:
    from backupchaos.session.asking import lacks

    pulled = scenario({**DOWN, "mode": "unreachable"}, other, **fields)
    (line,) = lacks(pulled, resolve_target("reference"), "sftp")
    assert answer in line
    refused = scenario(DOWN, other, **fields)
    assert list(lacks(refused, resolve_target("reference"), "sftp")) == []


@pytest.mark.parametrize("can", [True, False])
def test_it_is_offered_by_a_sandbox_that_can_do_it(can: bool) -> None:
    box = SimpleNamespace(
        name="box", mechanism="test", capabilities=frozenset({"syscalls"}), close=lambda: None
    )
    if can:
        box.unplugging = "somebody pulls the cable"
        box.outlet = box.unplug = box.plugged = lambda *_: None
    there = cast(Environment, SimpleNamespace(sandbox=lambda sizes: box, probe=dict))
    assert ("outlet" in look(there).capabilities) is can
