"""What ``doctor`` finds out about the official image of Toxiproxy, where it is here."""

from __future__ import annotations

import pytest

from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos_cli import trials

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]


def test_the_official_image_works_where_it_is() -> None:
    (finding,) = [one for one in trials.links(LocalEnvironment()) if one.name == "official image"]
    assert finding.good, finding
