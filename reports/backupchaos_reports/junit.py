"""Properties for pytest's own JUnit writer: what a CI tab should know about a run."""

from __future__ import annotations

import platform

from backupchaos._version import __version__
from backupchaos.results import RunResult
from backupchaos_reports import words
from backupchaos_reports.text import visible

LONGEST = 500


def properties(result: RunResult, *, report: str | None = None) -> list[tuple[str, str]]:
    """Name and value pairs for ``user_properties``; every value is a string that XML 1.0 can carry.

    The log is left out on purpose: CI servers choke on huge nodes. ``report`` is where the HTML is.
    """
    faults = [f"{fault.name}={fault.kind}:{fault.place}" for fault in result.faults]
    pairs: list[tuple[str, object]] = [
        ("backupchaos.scenario", result.scenario),
        ("backupchaos.target", result.target),
        ("backupchaos.target_version", result.target_version),
        ("backupchaos.verdict", result.verdict.value),
        ("backupchaos.severity", result.severity),
        ("backupchaos.outcome", result.outcome or "unknown"),
        ("backupchaos.retries", len(result.retries)),
        ("backupchaos.final_state", words.final_state(result)),
        ("backupchaos.faults", " ".join(faults) or "none"),
        ("backupchaos.waived", " ".join(result.waived) or "none"),
        ("backupchaos.seed", result.seed),
        ("backupchaos.run_id", result.run_id),
        ("backupchaos.version", result.environment.get("backupchaos", __version__)),
        ("backupchaos.python", result.environment.get("python", platform.python_version())),
        ("backupchaos.reproduce", result.reproduce),
    ]
    if report:
        pairs.append(("backupchaos.report", report))
    return [(name, visible(value, LONGEST)) for name, value in pairs]
