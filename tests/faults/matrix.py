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
HTTP = {"service.errors", "service.throttle", "service.slow", "service.credentials_expire"}
"""What stands behind the link must speak HTTP: these are about its answers."""
DAMAGE = {"repository.bitflip", "repository.truncate", "repository.delete"}
"""Their proof is what comes after the job: a check that fails."""

IDLE = {"when": {"log": "idle"}}
"""As soon as the probe that touches nothing says so."""
OVER = {"when": {"exit": True}}
"""When there is no job any more."""
MISSED: dict[str, dict[str, Any]] = {
    "network.reset": IDLE,
    "network.half_open": IDLE,
    "service.restart": IDLE,
    "service.kill": {**IDLE, "for": 0.1},
    "clock.jump": IDLE,
    "process.cpu": {"when": {"after": 0.1}, "for": 0.1},
    **dict.fromkeys(("process.kill", "process.pause", "process.concurrent"), OVER),
    **dict.fromkeys(("power.cut", "power.lying_disk"), OVER),
    **{kind: {"pick": "largest"} for kind in DAMAGE},
}
"""Other parameters for being in force, and met by nobody: most need none. The largest file is one that nobody needs."""
ALWAYS = {
    "process.minimal_env": "it is how the job is started",
    "version.drift": "it is how the job is started",
    "config.drift": "it is how the job is started",
}
"""Kinds that every job meets, even one that touches nothing, and why."""
SECONDS = {"process.": 0.5, "clock.": 0.3, "network.": 0.6, "dns.": 0.6, "service.": 0.6}
"""How long the probe goes on with what a fault of these layers strikes."""


def fault(kind: str) -> dict[str, Any]:
    """The fault of the table, as in YAML."""
    places = KINDS[kind].model_fields["place"].annotation
    first = getattr(places, "__args__", ("repository",))[0]
    return {kind: PLACE.get(kind, first), **PARAMETERS.get(kind, {})}


def repository(kind: str) -> str:
    """Over a link where the fault needs one."""
    return "rest" if kind.startswith(REMOTE) else "local"


def missed(kind: str) -> dict[str, Any]:
    """The same for a job that touches nothing: in force all the same."""
    return {**fault(kind), **MISSED.get(kind, {})}


def seconds(kind: str) -> float:
    """How long the probe is at work, at least."""
    return next((value for start, value in SECONDS.items() if kind.startswith(start)), 0.0)


PROBED = sorted(KINDS)
NEEDS_ROOT = {"power.cut", "power.lying_disk"}
"""Kinds that an ordinary user does not get on this kernel: each says which right is missing."""
NOT_PLAIN = {
    *("disk.full", "disk.inodes", "disk.nearly_full", "disk.readonly", "disk.vanishes"),
    *("power.cut", "power.lying_disk", "dns.failure", "dns.slow", "network.down"),
}
"""Kinds that nobody gets without namespaces: there are no volumes, and no network of one's own."""
KERNEL_WILLING = {"network.loss", "network.half_open"}
"""Kinds that an ordinary user may get there or not: newer kernels refuse them the filter."""
UNSEEN_PLAIN = {"network.flap", "service.kill", "service.restart"}
"""Kinds that one has there only if a live connection was cut: refusals on a network that is shared prove nothing."""
