"""Small helpers that make check rows."""

from __future__ import annotations

from collections.abc import Iterable

from backupchaos.results import CheckResult, Evidence, Verdict

AS_DECLARED = "as_declared"
"""The law that the rows of the expectations table are under."""


def row(
    identity: str,
    title: str,
    expected: str,
    observed: str,
    holds: bool | None,
    *,
    law: str | None = None,
    reason: str = "",
    evidence: Iterable[Evidence] = (),
) -> CheckResult:
    """A row; ``holds=None`` means the check could not be evaluated."""
    verdict = Verdict.UNVERIFIED if holds is None else Verdict.PASS if holds else Verdict.FAIL
    return CheckResult(identity, title, expected, observed, verdict, law, reason, tuple(evidence))
