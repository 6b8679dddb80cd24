"""Whose snapshot is it, when two jobs ran at the same time?

Their names do not tell, and the newer one may be the other's. Both backed up the same source, so every new
snapshot should restore to it: the job's claim is true if one of them does, and whatever else is in the list
is what somebody will restore some day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from backupchaos.history import History
from backupchaos.results import RestoreResult


def another_backup(history: History) -> bool:
    """Whether another backup of the same source ran beside the job."""
    return any(event["what"] == "backup" for event in history.of("beside.end"))


def judge(
    history: History, fresh: Sequence[str], claims: bool, restore: Callable[[str, str], RestoreResult]
) -> None:
    """Restore all new snapshots; record one as the job's, and the first other that is not whole as ``beside``."""
    results = [restore(f"of two jobs, {number}", name) for number, name in enumerate(fresh, 1)]
    broken = [result for result in results if not result.equal]
    whole = [result for result in results if result.equal]
    if claims:
        own = whole[-1] if whole else results[-1]
        _record(history, own, "newest")
        for other in [result for result in broken if result is not own][:1]:
            _record(history, other, "beside")
    else:
        _record(history, (broken or results)[0], "unclaimed")


def _record(history: History, result: RestoreResult, which: str) -> None:
    history.append("restore", **asdict(replace(result, which=which)))
