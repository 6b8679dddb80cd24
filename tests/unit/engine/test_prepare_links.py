"""Which server works behind the links of a run, and what of Docker it may use."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupchaos.engine.options import LinkServer, RunOptions
from backupchaos.engine.prepare import open_links
from backupchaos.errors import MissingCapability


def opened(monkeypatch: pytest.MonkeyPatch, *kinds: str, **options: Any) -> tuple[Any, ...]:
    """What ``Links`` was made with, after sandbox and seed."""
    seen: list[tuple[Any, ...]] = []

    def links(*arguments: Any) -> object:
        seen.append(arguments)
        return object()

    monkeypatch.setattr("backupchaos.links.links.Links", links)
    world: Any = SimpleNamespace(links=None, sandbox=None)
    world.use_links = lambda made: setattr(world, "links", made)
    scenario: Any = SimpleNamespace(faults={kind: SimpleNamespace(kind=kind) for kind in kinds})
    environment: Any = None
    open_links(world, scenario, RunOptions(environment, Path(), 7, **options))
    (arguments,) = seen
    return arguments[2:]


@pytest.mark.parametrize("server", ["auto", "embedded", "toxiproxy", "container"])
def test_what_the_user_asked_for(server: LinkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(monkeypatch, "network.latency", link_server=server, pull="missing", remote_docker=True)
    assert found == (server, ("missing", True))


def test_a_fault_that_the_server_must_tell_of_picks_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(monkeypatch, "network.latency", "network.slice")[0] == "embedded"


@pytest.mark.parametrize("server", ["toxiproxy", "container"])
def test_or_is_skipped_with_the_reason(server: LinkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingCapability, match=r"network\.slice: Toxiproxy does not tell"):
        opened(monkeypatch, "network.slice", link_server=server)
