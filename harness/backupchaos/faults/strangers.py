"""Networks that a run shares with strangers: whose connects were refused there, nobody can tell."""

from __future__ import annotations

from typing import Any

from backupchaos.environments.base import Sandbox
from backupchaos.errors import MissingCapability
from backupchaos.history import Event

MIDDLE = "let it begin in the middle of the upload, such as 'when: {at: 50%}'"
"""What to write in such a network: connections that are cut are sure to be the job's."""


def surely_ours(refused: Event) -> bool:
    """Whether a refused connect was one of the run's, and at that link; ``links.counters`` marks those that may not be."""
    return "shared" not in refused.data and "strangers" not in refused.data


def need_own_refusals(kind: str, sandbox: Sandbox, link: Any, way_out: str = MIDDLE) -> None:
    """Raise ``MissingCapability`` where connects that are refused cannot be told from those of strangers.

    Who may watch packets sees them at the link's port; else the kernel counts them for the whole network.
    """
    if "network" not in sandbox.capabilities and not link.sees_refusals():
        reason = (
            f"{kind}: on a network that is shared with strangers nobody can tell whose connections were refused, "
            "and no live one was there to be cut"
        )
        raise MissingCapability("network", reason, way_out)
