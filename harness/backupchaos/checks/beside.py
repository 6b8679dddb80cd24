"""What is asked of a job of the same tool that ran beside the job under judgement."""

from __future__ import annotations

from backupchaos.checks.case import Case
from backupchaos.checks.laws import describe_restore
from backupchaos.checks.rows import row
from backupchaos.durations import format_duration
from backupchaos.results import CheckResult, Evidence


def beside(case: Case) -> list[CheckResult]:
    """It ends, too; and what it leaves in the list of snapshots is whole. No rows if there was none."""
    ends = case.of("beside.end")
    if not ends:
        return []
    rows = []
    stuck = [event for event in ends if event["killed"]]
    what = str(ends[0]["what"])
    limit = f"within {format_duration(ends[0]['patience'])} after the job"
    observed = "; ".join(
        f"{event['what']}: "
        + ("still running; ended by the harness" if event["killed"] else f"exit {event['returncode']}")
        for event in ends
    )
    rows.append(
        row(
            "bounded.beside",
            f"the {what} beside the job ends in time",
            limit,
            observed,
            not stuck,
            law="bounded",
        )
    )
    restore = case.restore("beside")
    if restore is not None:
        rows.append(
            row(
                "honest.beside",
                "the other snapshot of two jobs at the same time",
                "none, or one that restores to the source",
                describe_restore(restore),
                bool(restore.equal) if restore.performed else None,
                law="honest",
                evidence=[Evidence(difference) for difference in restore.differences[:10]],
            )
        )
    return rows
