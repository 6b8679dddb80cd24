"""Whether a job has spoken of a file, and what counts as telling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from backupchaos.history import History
from backupchaos.trees.spelling import pattern

JOB = "fault"


def told(history: History, path: str, *, since: float = 0.0) -> bool:
    """Whether a warning or an error of the job names the file, later than a moment of the history.

    Not counted is a record that announces another attempt: it says that all may yet be well.
    """
    found = pattern(path)
    return any(
        event["job"] == JOB
        and event["level"] in {"warning", "error"}
        and not event["retry"]
        and event.t >= since
        and found.search(event["text"])
        for event in history.of("log")
    )


def named_in_full(history: History, paths: Iterable[str]) -> list[str]:
    """Those of the paths, of any number of files, whose whole relative path stands in a warning or an error.

    Told of any file there is, a short last part would be found in other words as well.
    """
    texts = [
        event["text"]
        for event in history.of("log")
        if event["job"] == JOB and event["level"] in {"warning", "error"} and not event["retry"]
    ]
    if not texts:
        return []
    words = "\n".join(texts)
    return [
        path
        for path in paths
        if path in words and re.search(rf"(?<![\w.-]){re.escape(path)}(?![\w-]|\.\w|/)", words)
    ]


def told_of(history: History, paths: Sequence[str]) -> list[str]:
    """Those of the paths that the job has named in a warning or an error."""
    return [path for path in paths if told(history, path)]
