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
        waive={"loud": "a killed process cannot log"},
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
}
