"""The law *loud*: a failure has an exit code that is not 0, and a log record that names its cause.

With several faults a record may name the cause of one that the job survived, and say nothing of the one that ended
it. Where the supervisor saw which fault struck last, the failure must tell of that one; if it tells only of others
nobody knows whether it was loud, and the row is ``unverified``. A job that the fault killed by SIGKILL had no chance
to log: its exit status must do, if nobody was told of success.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backupchaos.checks.case import Case
from backupchaos.checks.rows import row
from backupchaos.history import Event
from backupchaos.results import CheckResult, Evidence

TITLE = "a failure is told, with its cause"
BLOWS = frozenset({"unfit", "over", "refused"})
"""What rules are called that only watch, and report a call which the kernel itself is about to refuse."""
FEIGNED = frozenset({"lost"})
"""What rules are called that answer a call as if it had been made: nobody is struck by it."""
AT_ONCE = 0.05
"""Seconds between blows whose order means nothing: threads, and the time it takes to report one."""


def loud(case: Case) -> list[CheckResult]:
    """On failure or partial success: exit code not 0, and a log record that names the cause."""
    job = case.job()
    if job is None:
        return [row("loud", TITLE, "an error record", "the job never ended", None, law="loud")]
    if job.outcome == "success":
        return [row("loud", TITLE, "nothing to tell", "it claims success", True, law="loud")]
    killer = case.killed_by()
    if killer is not None and not case.claims_success:
        seen = f"exit {job.returncode}: killed by the fault {killer.name}, cannot log"
        return [row("loud", TITLE, "exit code not 0", seen, True, law="loud", evidence=killer.proof)]
    levels = {"error"} if job.outcome == "failure" else {"error", "warning"}
    records = [event for event in case.logs() if event["level"] in levels]
    wanted = case.causes()
    # The failure must be an error record; its cause may stand in a warning before it.
    spoken = [event for event in case.logs() if records and event["level"] in {"error", "warning"}]
    named = _naming(spoken, [pattern for _, pattern in wanted])
    expected = f"exit code not 0, {' or '.join(sorted(levels))} record naming the cause"
    if job.returncode == 0:
        return [row("loud", TITLE, expected, "exit code 0", False, law="loud")]
    if not wanted:
        return [row("loud", TITLE, expected, f"{len(records)} records", bool(records), law="loud")]
    last = _last_blows(case, job.ended) if named else {}
    told = _naming(named, list(last.values())) if last else named
    shown = told or named or records
    evidence = [Evidence(event["text"][:300], (event.seq,), event.t) for event in shown[:5]]
    if not named:
        observed = f"exit {job.returncode}; {len(records)} records, none names the cause"
    elif not told:
        observed = (
            f"exit {job.returncode}; nothing is said of what struck last ({', '.join(sorted(last))}), "
            f"only of others: {_best(named)!r}"
        )
    else:
        observed = f"exit {job.returncode}; {_best(told)!r}"
    holds = None if named and not told else bool(named)
    return [row("loud", TITLE, expected, observed, holds, law="loud", evidence=evidence)]


def _naming(events: Sequence[Event], patterns: Sequence[str]) -> list[Event]:
    return [e for e in events if any(re.search(pattern, e["text"], re.IGNORECASE) for pattern in patterns)]


def _best(events: Sequence[Event]) -> str:
    """The last error, which is what ended the job; the last warning if there is none."""
    errors = [event for event in events if event["level"] == "error"]
    return str((errors or list(events))[-1]["text"])[:300]


def _last_blows(case: Case, end: float) -> dict[str, str]:
    """Name and pattern of each fault that struck last before the job's end; empty if that does not matter or nobody saw it."""
    causes = dict(case.causes())
    if len(set(causes.values())) < 2:
        return {}
    when: dict[str, float] = {}
    for event in case.of("syscall"):
        name, _, part = event["rule"].rpartition(".")
        struck = part in BLOWS or (event["action"] == "errno" and part not in FEIGNED)
        if name in causes and struck and event.t <= end:
            when[name] = max(event.t, when.get(name, 0.0))
    latest = max(when.values(), default=0.0)
    return {name: causes[name] for name, t in when.items() if t >= latest - AT_ONCE}
