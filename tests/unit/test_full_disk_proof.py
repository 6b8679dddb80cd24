"""What proves that a job met a full disk, and what only sounds like it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backupchaos.faults.base import Ground
from backupchaos.faults.storage import Full
from backupchaos.history import History
from backupchaos.model.faults.storage import DiskFull


@pytest.mark.parametrize(
    ("text", "at", "proves"),
    [
        ("write failed: No space left on device", 12.0, True),
        ("starting full backup", 12.0, False),
        ("write failed: No space left on device", 20.0, False),
        ("write failed: No space left on device", 5.0, False),
    ],
    ids=["the kernel's words", "another full", "after the fault", "before the fault"],
)
def test_only_the_kernels_words_in_time_prove_a_full_disk(text: str, at: float, proves: bool) -> None:
    history = History(clock=lambda: 0.0)
    history.append("log", at=at, job="fault", text=text)
    ground = Ground(sandbox=cast("Any", None), history=history, seed=1, source="", repository="")
    fault = Full("full", DiskFull(place="repository"), ground)
    fault.windows = [(10.0, 15.0)]
    assert bool(fault.bite()) is proves
