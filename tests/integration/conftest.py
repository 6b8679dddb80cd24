"""Real runs, small and quick: one helper that all integration tests use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import Run, run_scenario
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.model.scenario import Scenario
from backupchaos.targets.base import Target

RunHere = Callable[..., Run]


@pytest.fixture
def run_here(tmp_path: Path) -> RunHere:
    """Run a scenario against a target in a sandbox of this machine; keywords go to ``RunOptions``."""

    def run(scenario: Scenario, target: Target, **options: Any) -> Run:
        chosen = {"environment": LocalEnvironment(), "results": tmp_path / "runs", "seed": 7, **options}
        return run_scenario(scenario, target, RunOptions(**chosen))

    return run


@pytest.fixture(scope="session")
def controls() -> dict[str, bool]:
    """The control restores of this session, as runs of one command share them."""
    return {}


@pytest.fixture
def run_of_many(run_here: RunHere, controls: dict[str, bool]) -> RunHere:
    """As ``run_here``, but the control restore of a target, source and repository is made once for all of these runs.

    Not for targets that make a sound control restore once and not another time under the same name.
    """
    return partial(run_here, control_cache=controls)
