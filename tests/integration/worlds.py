"""Small scenarios that each bring one kind of misbehaviour to light."""

from __future__ import annotations

from typing import Any

from backupchaos.model.scenario import Scenario

MIB = 2**20
SMALL = {"files": 40, "size": 2 * MIB, "new": 1 * MIB}

FAST = {"BACKUPCHAOS_REFERENCE_RETRY_BASE": "0.05s", "BACKUPCHAOS_REFERENCE_TIMEOUT": "2s"}
"""Knobs of the reference job that make its give-up quick."""


def scenario(name: str, **fields: Any) -> Scenario:
    """A scenario on a small source; keywords are its YAML keys."""
    return Scenario.model_validate(
        {"scenario": name, "title": f"The small world {name}", "source": SMALL, "silence": 10.0, **fields},
        strict=False,
    )


def _fault(kind: str, place: str, **fields: Any) -> dict[str, Any]:
    return {"fault": {kind: place, **fields}}


HALF = {"at": 0.5}

NEEDS_A_LOCK = {"stale"}
"""Worlds that the honest job cannot be in: it keeps no lock."""
NEEDS_REDIS = {"uncatalogued", "full_catalogued"}
"""Worlds with a catalog."""
WORLDS: dict[str, Scenario] = {
    "normal": scenario(
        "normal",
        repository="local",
        envelope="must_survive",
        expect={"outcome": "success", "states": ["PENDING", "RUNNING", "SUCCESS"], "retries": (0, 0)},
    ),
    "full": scenario(
        "full",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("disk.full", "repository", when=HALF),
        expect={
            "outcome": "failure",
            "states": ["PENDING", "RUNNING", "FAILED"],
            "retries": (0, 0),
            "log": [{"level": "error", "matches": "space|full"}],
        },
    ),
    "cut": scenario(
        "cut",
        repository="sftp",
        envelope="must_survive",
        faults=_fault("network.down", "repository", when=HALF, **{"for": 1.0}),
        expect={
            "outcome": "success",
            "states": ["PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS"],
            "retries": (1, 10),
            "log": [{"level": "warning", "matches": "retry"}],
        },
    ),
    "gone": scenario(
        "gone",
        repository="sftp",
        envelope="must_fail_loudly",
        faults=_fault("network.down", "repository", when=HALF),
        expect={
            "outcome": "failure",
            "states": ["PENDING", "RUNNING", "RETRYING", "FAILED"],
            "retries": (1, 6),
            "backoff": "growing",
            "log": [{"level": "error", "matches": "link|connect"}],
        },
        deadline=25.0,
    ),
    "dead": scenario(
        "dead",
        repository="sftp",
        envelope="must_fail_loudly",
        faults=_fault("network.blackhole", "repository", when=HALF),
        expect={"outcome": "failure"},
        deadline=45.0,
        silence=12.0,
    ),
    "locked": scenario(
        "locked",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("file.locked", "source"),
        expect={
            "outcome": ["failure", "partial"],
            "states": ["PENDING", "RUNNING", "RETRYING", "FAILED"],
            "retries": (3, 3),
            "log": [{"level": "error", "matches": "{path}"}],
        },
    ),
    "denied": scenario(
        "denied",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("permission.denied", "source"),
        expect={
            "outcome": ["failure", "partial"],
            "states": ["PENDING", "RUNNING", "FAILED"],
            "retries": (0, 0),
            "log": [{"level": "error", "matches": "{path}"}],
        },
    ),
    "killed": scenario(
        "killed",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("process.kill", "target", when=HALF),
        expect={"outcome": "failure"},
    ),
    "killed_at_success": scenario(
        "killed_at_success",
        repository="sftp",
        faults=_fault("process.kill", "target", when={"state": "SUCCESS"}),
        waive={"loud": "a killed process cannot log"},
    ),
    "terminated": scenario(
        "terminated",
        repository="sftp",
        envelope="must_fail_loudly",
        faults={
            **_fault("process.kill", "target", when=HALF, signal="TERM"),
            "slow": {"network.slow": "repository", "rate": 256 * 1024},
        },
        expect={"outcome": "failure"},
    ),
    "rotten": scenario(
        "rotten",
        repository="local",
        faults=_fault("repository.bitflip", "repository"),
        expect={"restore": "loud", "older": "loud", "check": "fails"},
        waive={"recoverable": "no later job can bring a damaged block back"},
    ),
    "starved": scenario(
        "starved",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("process.fds", "target", limit=6),
        expect={"outcome": "failure"},
    ),
    "piped": scenario(
        "piped",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("process.stdin_dies", "target"),
        expect={"outcome": "failure"},
    ),
    "shut": scenario(
        "shut",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("repository.wrong_password", "repository"),
        expect={"outcome": "failure"},
    ),
    "stale": scenario(
        "stale",
        repository="local",
        faults=_fault("repository.stale_lock", "repository", host="same"),
        expect={"check": "any"},
        waive={"clean": "what lies about was left by the dead job, not by this one"},
    ),
    "served": scenario(
        "served",
        repository="sftp",
        envelope="must_fail_loudly",
        faults=_fault("service.kill", "repository", when=HALF),
        expect={"outcome": "failure"},
        deadline=25.0,
    ),
    "served_again": scenario(
        "served_again",
        repository="sftp",
        envelope="must_survive",
        faults=_fault("service.kill", "repository", when=HALF, **{"for": 0.5}),
        expect={"outcome": "success"},
    ),
    "wrong_clock": scenario(
        "wrong_clock",
        repository="local",
        envelope="must_survive",
        faults=_fault("clock.skew", "target", by=86400.0, direction="forward"),
        expect={"outcome": "success"},
    ),
    "moved": scenario(
        "moved",
        repository="local",
        envelope="must_survive",
        faults=_fault("config.drift", "target"),
        expect={"outcome": "success"},
    ),
    "power_after_success": scenario(
        "power_after_success",
        repository="local",
        faults=_fault("power.cut", "repository", when={"exit": True}),
        expect={"outcome": "success"},
    ),
    "short": scenario(
        "short",
        repository="local",
        envelope="must_survive",
        faults=_fault("disk.short_write", "repository", nth=3, calls=50, size=1000),
        expect={"outcome": "success"},
    ),
    "unmounted": scenario(
        "unmounted",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("disk.vanishes", "repository"),
        expect={"outcome": "failure"},
    ),
    "replaced": scenario(
        "replaced", repository="local", faults=_fault("file.replaced", "source", pick="largest")
    ),
    "truncated": scenario(
        "truncated", repository="local", faults=_fault("file.truncated", "source", pick="largest")
    ),
    "vanished": scenario(
        "vanished",
        repository="local",
        faults=_fault("file.vanishes", "source", files=3),
        expect={"outcome": ["success", "partial"]},
    ),
    "unreadable_late": scenario(
        "unreadable_late",
        repository="local",
        envelope="must_fail_loudly",
        faults=_fault("file.unreadable", "source", pick="largest", nth=2),
        expect={"outcome": ["failure", "partial"]},
    ),
    "locked_advisory": scenario(
        "locked_advisory",
        repository="local",
        envelope="must_survive",
        faults=_fault("file.locked", "source", mode="advisory"),
        expect={"outcome": "success", "retries": (0, 0)},
    ),
    "fifo": scenario(
        "fifo",
        repository="local",
        source={**SMALL, "names": "portable"},
        faults=_fault("file.special", "source", types=["fifo"]),
    ),
    "circle": scenario(
        "circle",
        repository="local",
        source={**SMALL, "names": "portable"},
        faults=_fault("file.special", "source", types=["link_loop"]),
    ),
    "uncatalogued": scenario(
        "uncatalogued",
        repository="local",
        services={"catalog": "redis"},
        envelope="must_fail_loudly",
        faults=_fault("network.down", "catalog"),
        expect={
            "outcome": "failure",
            "states": ["PENDING", "RUNNING", "RETRYING", "FAILED"],
            "retries": (1, 6),
            "backoff": "growing",
            "log": [{"level": "error", "matches": "catalog"}],
        },
    ),
    "full_catalogued": scenario(
        "full_catalogued",
        repository="local",
        services={"catalog": "redis"},
        envelope="must_fail_loudly",
        faults=_fault("disk.full", "repository", when=HALF),
        expect={"outcome": "failure", "retries": (0, 0)},
    ),
    "power_in_the_middle": scenario(
        "power_in_the_middle",
        repository="local",
        faults=_fault("power.cut", "repository", when=HALF),
        expect={"outcome": "failure"},
        waive={"loud": "a machine without power says nothing"},
    ),
}
