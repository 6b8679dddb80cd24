"""Every kind of fault, with what it needs to meet the universal probe: the table behind ``test_matrix``."""

from __future__ import annotations

from typing import Any

from backupchaos.model.faults import KINDS

BUSY = {"when": {"log": "at work"}}
"""As soon as the probe works."""
LINK = {"network.reset", "network.half_open"}

PARAMETERS: dict[str, dict[str, Any]] = {
    "network.slow": {"rate": 100_000},
    "network.latency": {"delay": 0.05},
    "network.cut_after": {"size": 10_000},
    "network.loss": {"share": 0.3},
    "network.reset": {"when": {"bytes": 100_000}},
    "network.half_open": {"when": {"bytes": 100_000}},
    "disk.full": {"headroom": 0},
    "disk.nearly_full": {"left": 400_000},
    "disk.quota": {"size": 4096},
    "disk.slow": {"delay": 0.001},
    "power.cut": {"when": {"call": {"name": "write", "place": "repository", "nth": 8}}},
    "power.lying_disk": {"when": {"call": {"name": "write", "place": "repository", "nth": 8}}},
    "permission.denied": {"by": "root"},
    "process.kill": BUSY,
    "process.pause": {**BUSY, "for": 0.3},
    "process.oom": {"memory": 48 * 2**20},
    "process.concurrent": BUSY,
    "process.stdin_dies": {"share": 0.5},
    "clock.jump": BUSY,
    "service.restart": {"when": {"bytes": 100_000}},
    "service.kill": {"when": {"bytes": 100_000}, "for": 0.3},
    "service.errors": {"share": 1.0},
}
PLACE = {"disk.slow": "repository", "disk.io_error": "source", "disk.vanishes": "repository"}
REMOTE = ("network.", "dns.", "service.")
SPECIAL_REPOSITORY = {"service.errors", "service.throttle", "service.slow", "service.credentials_expire"}
"""These need a server that speaks HTTP or SFTP: their own tests have one."""
DAMAGE = {"repository.bitflip", "repository.truncate", "repository.delete"}
"""Their proof is a check or a restore that fails, of which a probe has none: their own tests run a tool."""
NEEDS_A_TOOL = {"repository.swapped"}
ALWAYS = {
    "process.minimal_env": "it is how the job is started",
    "version.drift": "it is how the job is started",
    "config.drift": "it is how the job is started",
    "clock.skew": "a Python reads the clock when it starts",
    "process.concurrent": "two processes at once are the fault",
    "process.pause": "a process that stands still is the fault",
    "process.kill": "a process that dies is the fault",
    "process.stdin_dies": "a producer that dies is the fault",
    "power.cut": "the power fails for an idle job as well, once its trigger comes: it never does",
    "power.lying_disk": "the same",
    "process.cpu": "a starved processor starves every process",
}
"""Kinds that strike a job whatever it does, and why."""


def fault(kind: str) -> dict[str, Any]:
    """The fault of the table, as in YAML."""
    places = KINDS[kind].model_fields["place"].annotation
    first = getattr(places, "__args__", ("repository",))[0]
    return {kind: PLACE.get(kind, first), **PARAMETERS.get(kind, {})}


def repository(kind: str) -> str:
    """Over a link where the fault needs one."""
    return "rest" if kind.startswith(REMOTE) else "local"


PROBED = sorted(set(KINDS) - SPECIAL_REPOSITORY - DAMAGE - NEEDS_A_TOOL)
NOT_IDLE = {
    "repository.rollback": "a job that changes nothing cannot be rolled back: test_repository_state",
    "repository.stale_lock": "an idle job leaves no lock: test_repository_lock",
    "repository.wrong_password": "an idle job uses no password: test_repository_state",
}
"""Kinds that ask more of their victim than to touch nothing, and where that case is tested."""
NEEDS_ROOT = {"power.cut", "power.lying_disk"}
"""Kinds that an ordinary user does not get on this kernel: each says which right is missing."""
