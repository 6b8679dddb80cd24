"""Real runs, small and quick: one helper that all integration tests use."""

from __future__ import annotations

from collections.abc import Callable
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
