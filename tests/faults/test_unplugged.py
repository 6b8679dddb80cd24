"""Where the job's network cannot be taken away, or not with what else a scenario wants, the reason is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.faults.bench import python, tried
from tests.faults.echo import NOTHING, echo_service

from backupchaos.environments.base import Sandbox
from backupchaos.errors import MissingCapability
from backupchaos.faults.base import Ground
from backupchaos.faults.network import Down
from backupchaos.faults.network_unplugged import Unplugged
from backupchaos.links.names import give_names
from backupchaos.model.faults.network import NetworkDown

__all__ = ["echo_service"]
SPEC = NetworkDown.model_validate({"network.down": "repository", "mode": "unreachable"})


class Away:
    """A sandbox whose network can be taken away."""

    mechanism = "test"
    unplugging = "somebody pulls the cable"

    def outlet(self) -> str:
        return "192.0.2.2"

    def front(self) -> tuple[str, str]:
        return "192.0.2.2", "192.0.2.2"

    def unplug(self, away: bool) -> None: ...

    there = True

    def plugged(self) -> bool:
        return self.there


def ground(**more: Any) -> Ground:
    return cast(
        Ground, SimpleNamespace(sandbox=Away(), link_to=lambda _: SimpleNamespace(host="192.0.2.2"), **more)
    )


@pytest.mark.needs("namespaces", "seccomp")
def test_a_local_sandbox_says_where_it_can_be_had(tmp_path: Path) -> None:
    fault = {"network.down": "repository", "mode": "unreachable"}
    with pytest.raises(MissingCapability, match=r"no network that could be taken away.*--backup-env=docker"):
        tried(tmp_path, fault, python(NOTHING), repository="rest")


def test_the_mode_decides_who_does_it() -> None:
    fault = Down("pulled", SPEC, ground(tiers={}))
    assert isinstance(fault, Unplugged)
    fault.available()
    assert fault.mechanism == "somebody pulls the cable"


def test_with_several_links_it_would_take_all_of_them() -> None:
    with pytest.raises(MissingCapability, match="more links than one"):
        Down("pulled", SPEC, ground(tiers={"catalog": object()})).available()


def test_a_link_that_can_become_unreachable_has_no_name() -> None:
    with pytest.raises(MissingCapability, match="unreachable has no name"):
        give_names(cast(Sandbox, Away()), cast(Any, None), ["repository"])


def test_what_it_leaves_behind_calls_for_a_fair_server() -> None:
    assert SPEC.leaves_stranded
    assert not NetworkDown.model_validate({"network.down": "repository"}).leaves_stranded


def test_it_is_noticed_if_the_network_is_away_again() -> None:
    here = ground(tiers={})
    fault = Down("pulled", SPEC, here)
    fault.windows = [(1.0, 2.0)]
    cast(Any, here.sandbox).there = False
    (stray,) = fault.strays()
    assert "in force again at the end of the run: the kernel still has no address 192.0.2.2" in stray
