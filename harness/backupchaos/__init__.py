"""backupchaos: break the world around a backup tool, restore, and see whether it kept its word.

Importing this package is cheap: names are resolved on first use, so that a test run
without scenarios pays nothing for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backupchaos._version import __version__

if TYPE_CHECKING:
    from backupchaos.engine.run import Run, run_scenario
    from backupchaos.model.loader import load_scenario
    from backupchaos.model.scenario import Scenario
    from backupchaos.results import Verdict

_LAZY = {
    "Run": "backupchaos.engine.run",
    "Scenario": "backupchaos.model.scenario",
    "Verdict": "backupchaos.results",
    "load_scenario": "backupchaos.model.loader",
    "run_scenario": "backupchaos.engine.run",
}

__all__ = ["Run", "Scenario", "Verdict", "__version__", "load_scenario", "run_scenario"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
