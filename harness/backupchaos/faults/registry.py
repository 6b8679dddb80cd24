"""From the vocabulary to the mechanisms."""

from __future__ import annotations

from typing import Any

from backupchaos.errors import MissingCapability
from backupchaos.faults import files, network, processes, repository, storage
from backupchaos.faults.base import Fault, Ground
from backupchaos.model.faults import FaultSpec

MECHANISMS: dict[str, type[Fault[Any]]] = {
    "network.down": network.Down,
    "network.blackhole": network.Blackhole,
    "network.reset": network.Reset,
    "network.slow": network.Slow,
    "network.latency": network.Latency,
    "disk.full": storage.Full,
    "file.locked": files.Locked,
    "permission.denied": files.Denied,
    "process.kill": processes.Kill,
    "process.pause": processes.Pause,
    "repository.bitflip": repository.Bitflip,
    "repository.truncate": repository.Truncate,
    "repository.delete": repository.Delete,
}


def make_fault(name: str, spec: FaultSpec, ground: Ground) -> Fault[Any]:
    """The mechanism for a fault; raises ``MissingCapability`` if the sandbox cannot have it."""
    mechanism = MECHANISMS[spec.kind]
    missing = sorted(mechanism.needs - ground.sandbox.capabilities)
    if missing:
        raise MissingCapability(
            missing[0],
            f"fault {spec.kind} needs it, and the {ground.sandbox.mechanism} sandbox has it not",
            "see: backupchaos doctor",
        )
    return mechanism(name, spec, ground)
