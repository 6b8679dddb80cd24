"""Retries that a job announces, where the target does not say which lines announce one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.checks.cases import PROFILE, Story

from backupchaos.checks import judge
from backupchaos.checks.announced import SOUNDS
from backupchaos.history import Event
from backupchaos.results import CheckResult, Verdict
from backupchaos.targets.registry import resolve_target

ANNOUNCES = (
    "Save(<data/3f2a>) returned error, retrying after 552.330144ms: connection refused",  # restic
    "data/a.bin: [Errno 5] Input/output error, slept 0.100s, next: retry: 2 of 10...",  # borg
    "pacer: low level retry 1/10 (error connection reset by peer)",  # rclone
    "ERROR : Attempt 2/3 failed with 1 errors and: connection refused",  # rclone
    "got error PUT blob when writing (#1), sleeping for 1.5s before retrying",  # kopia
    "pg_receivewal: disconnected; waiting 5 seconds to try again",
    "Warning: Problem: timeout. Will retry in 1 seconds. 3 retries left.",  # curl
    "Retrying.",  # wget
    "connection lost, retrying (1)",
    "connection lost; trying again",
    "upload failed, will try again in 30 s",
    "retry 1 of 6 in 0.256 s: link failed",
    "attempt 12 of 20",
    "retrying now",
    "RETRYING...",
    "warning: retry 3: [Errno 111] Connection refused",
    "retry 2 in 0.5 s: connection reset",
)
QUIET = (
    "Fatal: unable to open config file: connection refused. Is there a repository at the following location?",
    "repo already locked, waiting up to 0s for the lock",  # restic
    "the `unlock` command can be used to remove stale locks",
    "Remote: Connection closed by remote host. Is borg working on the server?",
    "Errors: 1 (retrying may help)",  # rclone
    "Errors: 1 (no need to retry)",
    "Can't retry any of the errors - not attempting retries",
    "ERROR : Attempt 1/3 failed with 1 errors and: connection refused",
    "Failed to sync: giving up after 3 retries",
    "pg_dump: error: connection to server at 127.0.0.1 failed: Connection refused",
    "ls: cannot access 'a': Resource temporarily unavailable, please try again",
    "Temporary failure in name resolution; try again later",
    "retries: 0, errors: 0",
    "starting with --retries 3 --retry-delay 5",
    "retry policy: 5 attempts, 2 s apart",
    "attempt 1 of 3",
    "not retrying after 3 errors",
    "Not retrying.",
    "stopped retrying.",
    "gave up instead of trying again",
    "added data/retrying.txt",
    "added data/retrying",
    "Not enough time has passed since previous successful Snapshot GC. Will try again next time.",  # kopia
    "Save(<data/3f2a>) operation successful after 2 retries",  # restic
    "added data/retry/1/of/2",
    "will not retry in 5 s",
    "retry 0 of 3",
)


@pytest.mark.parametrize("line", ANNOUNCES)
def test_what_sounds_like_a_retry(line: str) -> None:
    assert SOUNDS.search(line)


@pytest.mark.parametrize("line", QUIET)
def test_what_does_not(line: str) -> None:
    assert not SOUNDS.search(line)


LINES = ("connection lost, retrying in 1 s", "connection lost, retrying in 2 s", "attempt 4 of 5")


def told(
    *, knows: bool = False, knocks: int = 0, files: int = 0, control: bool = False
) -> CheckResult | None:
    story = Story()
    story.profile = replace(PROFILE, retries="link", states="derived", knows_retries=knows)
    story.log = [("info", "start"), *(("warning", line) for line in LINES)]
    story.retries = [("link", 0.6 + n / 10) for n in range(knocks)]
    story.retries += [("syscall", 0.5 + n / 10) for n in range(files)]
    case = story.case()
    events = [replace(e, t=0.05) if e.kind == "link" and e["ev"] == "open" else e for e in case.events]
    if control:
        usual = {"job": "control", "stream": "stderr", "level": "info", "trace_id": ""}
        events += [Event(900, 0.0, "log", {**usual, "text": line}) for line in LINES]
    found = judge.evaluate(replace(case, events=events))
    return next((row for row in found if row.id == "retries_real"), None)


def test_invented_retries_are_not_confirmed() -> None:
    row = told()
    assert row is not None
    assert (row.verdict, row.observed) == (Verdict.UNVERIFIED, "0")
    assert "3 lines sound like retries, the first: 'connection lost, retrying in 1 s'" in row.reason
    assert "write 'log: {retry: PATTERN}'" in row.reason
    assert len(row.evidence) == 3


def test_retries_that_the_link_saw_are_confirmed() -> None:
    row = told(knocks=2)
    assert row is not None
    assert row.verdict is Verdict.PASS


@pytest.mark.parametrize("doubt", [{"knows": True}, {"files": 3}, {"control": True}])
def test_where_a_guess_is_none(doubt: dict[str, bool]) -> None:
    """The target says what a retry is; they were made at files; or the job says so whenever it runs."""
    assert told(**doubt) is None


@pytest.mark.parametrize(
    ("log", "knows"), [("", False), ("log: {retry: again}\n", True), ("log: {retry: '(?!)'}\n", True)]
)
def test_a_target_file_that_says_nothing_of_retries(tmp_path, log: str, knows: bool) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "t.yaml"
    file.write_text(
        f"target: t\nbackup: a {{source}} {{repository}}\nrestore: b {{repository}} {{restore}}\n{log}"
    )
    assert resolve_target(str(file)).profile.knows_retries is knows
