"""The law *loud*: a failure has an exit code that is not 0, and a log record that names its cause.

With several faults a record may name the cause of one that the job survived, and say nothing of the one that ended
it. The failure must tell of the one that struck last (``order``), in a record from after its first blow; if it tells only
of others, or not of one whose blows nobody could time, nobody knows whether it was loud, and the row is ``unverified``.
What was said before any fault came, or is said by the control job as well, names no cause. Who names all causes there are
has named none either (``guesses``), but may know no better: ``unverified``.
A job that the fault killed by SIGKILL had no chance to log: its exit status must do, if nobody was told of success.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backupchaos.checks.case import Case
from backupchaos.checks.guesses import without_guesses
from backupchaos.checks.heard import since_the_faults, unusual
from backupchaos.checks.order import AT_ONCE, last_blows
from backupchaos.checks.rows import row
from backupchaos.history import Event
from backupchaos.results import CheckResult, Evidence, JobResult

TITLE = "a failure is told, with its cause"


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
    graver = [event for event in case.logs() if records and event["level"] in {"error", "warning"}]
    spoken = unusual(case, since_the_faults(case, graver, {name for name, _ in wanted}))
    patterns = [pattern for _, pattern in wanted]
    guessed, spoken = _naming(spoken, patterns), without_guesses(spoken)
    named = _naming(spoken, patterns)
    expected = f"exit code not 0, {' or '.join(sorted(levels))} record naming the cause"
    if job.returncode == 0:
        return [row("loud", TITLE, expected, "exit code 0", False, law="loud")]
    if not wanted:
        return [row("loud", TITLE, expected, f"{len(records)} records", bool(records), law="loud")]
    silent, told = _of_the_last(case, job, spoken) if named else ("", [])
    shown = told or named or guessed or records
    evidence = [Evidence(event["text"][:300], (event.seq,), event.t) for event in shown[:5]]
    if guessed and not named:
        silent = "so many causes are named that none is"
        observed = f"exit {job.returncode}; {silent}: {_best(guessed)!r}"
    elif not named:
        observed = f"exit {job.returncode}; {len(records)} records, none names the cause"
    elif silent:
        observed = f"exit {job.returncode}; {silent}: {_best(told or named)!r}"
    else:
        observed = f"exit {job.returncode}; {_best(told or named)!r}"
    holds = None if silent else bool(named)
    return [row("loud", TITLE, expected, observed, holds, law="loud", evidence=evidence)]


def _of_the_last(case: Case, job: JobResult, spoken: Sequence[Event]) -> tuple[str, list[Event]]:
    """(what is missing, in words; records that tell of what struck last). Empty both, if that does not matter."""
    last = last_blows(case, job)
    if last is None:
        return "", []
    telling = {
        fault.name: _naming([e for e in spoken if e.t >= fault.first - AT_ONCE], [fault.pattern])
        for fault in (*last.timed, *last.perhaps)
    }
    told = sorted({event.seq: event for events in telling.values() for event in events}.items())
    events = [event for _, event in told]
    if last.timed and not any(telling[fault.name] for fault in last.timed):
        names = ", ".join(sorted(fault.name for fault in last.timed))
        return f"nothing is said of what struck last ({names}), only of others", events
    if untold := sorted(fault.name for fault in last.perhaps if not telling[fault.name]):
        return (
            f"nobody knows whether it was {' or '.join(untold)} that ended it, and nothing is said of that",
            events,
        )
    return "", events


def _naming(events: Sequence[Event], patterns: Sequence[str]) -> list[Event]:
    return [e for e in events if any(re.search(pattern, e["text"], re.IGNORECASE) for pattern in patterns)]


def _best(events: Sequence[Event]) -> str:
    """The last error, which is what ended the job; the last warning if there is none."""
    errors = [event for event in events if event["level"] == "error"]
    return str((errors or list(events))[-1]["text"])[:300]
