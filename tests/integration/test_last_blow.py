"""Several faults, one of which the job survives: who tells of that one alone has not told what ended it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backupchaos.engine.run import Run
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos_targets.reference import ReferenceTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
FAST = {"BACKUPCHAOS_REFERENCE_RETRY_BASE": "0.05s", "BACKUPCHAOS_REFERENCE_TIMEOUT": "2s"}
ONCE = {"network.cut_after": "repository", "size": 256 * 1024, "connections": 1}
"""The first connection that gets so far is reset, and no other."""
LATE = {"at": 0.6}
GONE = {"network.down": "repository", "when": LATE}

TOGETHER: dict[str, dict[str, Any]] = {
    "link, then link": {"cut": ONCE, "gone": GONE},
    "link, then silence": {"cut": ONCE, "dead": {"network.blackhole": "repository", "when": LATE}},
    "link, then names": {
        "cut": ONCE,
        "names": {"dns.failure": "repository", "when": {"at": 0.5}},
        "again": {"network.reset": "repository", "when": LATE},
    },
    "names, then link": {
        "cut": ONCE,
        "names": {"dns.failure": "repository", "when": {"state": "RETRYING"}, "for": 0.2},
        "gone": GONE,
    },
    "link, then server": {"cut": ONCE, "expired": {"service.credentials_expire": "repository", "when": LATE}},
    "server, then link": {
        "upgrade": {"service.restart": "repository", "when": {"at": 0.2}},
        "cut": {"network.cut_after": "repository", "size": 512, "when": LATE},
    },
    "link, then rights": {"cut": ONCE, "denied": {"permission.denied": "repository", "when": LATE}},
    "link, then disk": {"cut": ONCE, "full": {"disk.full": "repository", "when": LATE}},
    "link, then the job": {"cut": ONCE, "stop": {"process.kill": "target", "signal": "TERM", "when": LATE}},
    "disk, then link": {
        "lock": {"file.locked": "source", "pick": "oldest", "refusals": 1},
        "gone": GONE,
    },
}
"""What passes, then what ends the job."""


def story(name: str) -> Scenario:
    return Scenario.model_validate(
        {
            "scenario": "together",
            "title": "Two faults, one of which passes",
            "repository": "sftp",
            "source": {"files": 40, "size": 2 * 2**20, "new": 2**20},
            "faults": TOGETHER[name],
            "deadline": 60.0,
        },
        strict=False,
    )


def shown(run: Run) -> str:
    return "\n".join([run.result.headline, *(f"{c.verdict} {c.id}: {c.observed}" for c in run.checks)])


def verdict(run: Run, law: str) -> Verdict:
    return next(check.verdict for check in run.checks if check.id == law)


@pytest.mark.parametrize("name", sorted(TOGETHER))
def test_who_names_only_what_it_survived_is_not_seen_to_be_loud(
    name: str, run_of_many: Callable[..., Run]
) -> None:
    liar = ReferenceTarget(misbehave=("names_only_what_it_survived",), extra_env=FAST)
    run = run_of_many(story(name), liar)
    assert run.outcome == "failure", shown(run)
    assert verdict(run, "loud") is Verdict.UNVERIFIED, shown(run)
    assert run.verdict is Verdict.UNVERIFIED, shown(run)


@pytest.mark.parametrize(("name", "seed"), [(name, 1 + n % 2) for n, name in enumerate(sorted(TOGETHER))])
def test_who_names_what_ended_it_is_loud(name: str, seed: int, run_of_many: Callable[..., Run]) -> None:
    run = run_of_many(story(name), ReferenceTarget(extra_env=FAST), seed=seed)
    assert run.outcome == "failure", shown(run)
    assert run.verdict is Verdict.PASS, shown(run)
