"""Volumes that are hidden for a while, and are back afterwards with all they held."""

from __future__ import annotations

import pytest

from backupchaos.environments.base import Place
from backupchaos.environments.local.environment import LocalEnvironment

pytestmark = pytest.mark.needs("namespaces")
HIDDEN = (Place.SOURCE, Place.CACHE)


@pytest.mark.parametrize("mechanism", ["auto", "userns", "plain"])
def test_a_concealed_volume_is_empty_and_comes_back(mechanism: str) -> None:
    with LocalEnvironment(mechanism).sandbox({}) as sandbox:
        paths = {place: sandbox.path(place) for place in HIDDEN}
        for path in paths.values():
            sandbox.call("write_file", path=f"{path}/kept", text="kept")
        sandbox.conceal(HIDDEN, True)
        sandbox.conceal(HIDDEN, True)
        for path in paths.values():
            assert sandbox.call("list_files", root=path)["entries"] == []
        sandbox.call("write_file", path=f"{paths[Place.CACHE]}/new", text="lost")
        sandbox.conceal(HIDDEN, False)
        sandbox.conceal(HIDDEN, False)
        for path in paths.values():
            assert [entry[0] for entry in sandbox.call("list_files", root=path)["entries"]] == ["kept"]


@pytest.mark.parametrize("mechanism", ["auto", "userns"])
def test_nothing_can_be_planted_where_the_source_will_be_again(mechanism: str) -> None:
    with LocalEnvironment(mechanism).sandbox({}) as sandbox:
        sandbox.conceal((Place.SOURCE,), True)
        with pytest.raises(OSError, match="Read-only"):
            sandbox.call("write_file", path=f"{sandbox.path(Place.SOURCE)}/planted", text="x")
