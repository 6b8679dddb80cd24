"""From the vocabulary to the mechanisms."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.base import Fault, Ground
from backupchaos.model.faults import FaultSpec

MODULES = (
    "network",
    "network_shaping",
    "dns",
    "storage",
    "storage_calls",
    "power",
    "files",
    "files_changing",
    "permissions",
    "processes",
    "resources",
    "company",
    "clock",
    "repository",
    "repository_state",
    "environment",
    "service",
)
"""Each holds ``MECHANISMS``: kind -> class."""


@cache
def mechanisms() -> dict[str, type[Fault[Any]]]:
    """The mechanism of every kind; imports them all."""
    found: dict[str, type[Fault[Any]]] = {}
    for name in MODULES:
        found.update(import_module(f"backupchaos.faults.{name}").MECHANISMS)
    return found


def make_fault(name: str, spec: FaultSpec, ground: Ground, *, way: str | None = None) -> Fault[Any]:
    """The mechanism for a fault; raises ``MissingCapability`` if the sandbox or the target cannot have it.

    ``way`` is the only one of its ``ways`` that may be taken, whatever the scenario says; else it chooses.
    """
    mechanism = mechanisms().get(spec.kind)
    if mechanism is None:
        raise HarnessBroken(f"no mechanism for {spec.kind}")
    missing = sorted(mechanism.needs - ground.sandbox.capabilities)
    if missing:
        raise MissingCapability(
            missing[0],
            f"fault {spec.kind} needs it, and the {ground.sandbox.mechanism} sandbox has it not",
            "see: backupchaos doctor",
        )
    if way is not None and mechanism.way_key:
        spec = spec.model_copy(update={mechanism.way_key: way})
    fault = mechanism(name, spec, ground)
    fault.way = way
    fault.available()
    return fault
