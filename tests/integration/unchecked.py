"""Scenarios put together unchecked: two faults of one family are refused in a file, and in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupchaos.model.scenario import Scenario


def unchecked(fields: Mapping[str, Any], faults: Mapping[str, Any], **more: Any) -> Scenario:
    """Each fault is checked in a scenario of its own; ``more`` belongs to the whole."""
    alone = [
        Scenario.model_validate({**fields, "faults": {name: faults[name]}}, strict=False) for name in faults
    ]
    together = {name: fault for one in alone for name, fault in one.faults.items()}
    return Scenario.model_validate({**fields, **more}, strict=False).model_copy(update={"faults": together})
