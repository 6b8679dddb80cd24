"""What is seen of a running job: its log, its link, its system calls; states and retries follow.

Three independent witnesses feed the same history. Nothing is guessed: a retry has a source.
"""

from __future__ import annotations

import re
import time
from typing import Any

from backupchaos.engine.facts import Facts
from backupchaos.environments.base import SandboxEvent
from backupchaos.history import History
from backupchaos.targets.base import LogRecord, Profile, Target

MAX_RECORDS = 4000
MAX_IMPORTANT = 4000
BURST = 0.15
"""Seconds: connection attempts closer together than this count as one attempt of the job."""


class JobObserver:
    """Folds raw observations of one job into history events and schedule facts."""

    def __init__(self, history: History, target: Target, profile: Profile, job: str, facts: Facts) -> None:
        self._history = history
        self._target = target
        self._profile = profile
        self._job = job
        self._facts = facts
        self._records = 0
        self._important = 0
        self.left_out = 0
        self._derived: str | None = None
        self._retries = 0
        self._interrupted: set[str] = set()
        self._last_knocks: dict[str, float] = {}
        self._refused_paths: set[tuple[str, str]] = set()
        self.last_activity = time.monotonic()
        self.silent_for = 0.0

    def activity(self) -> None:
        """The job gave a sign of life."""
        now = time.monotonic()
        self.silent_for = max(self.silent_for, now - self.last_activity)
        self.last_activity = now

    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self.last_activity

    def state(self, name: str, source: str = "derived") -> None:
        """The job is in a state now."""
        if source == "derived":
            if name == self._derived:
                return
            self._derived = name
        self._facts.states.append(name)
        self._history.append("state", job=self._job, state=name, source=source)

    def retry(self, source: str, cause: str, delay: float | None = None, link: str = "") -> None:
        """The job tries, or announces, another attempt; ``link`` says where to, if that is known."""
        self._retries += 1
        if source in {self._profile.retries, "log"}:
            self._facts.attempts += 1
        self._history.append(
            "retry",
            job=self._job,
            n=self._retries,
            source=source,
            cause=cause[:300],
            delay=delay,
            link=link,
        )
        self.state("RETRYING")

    def progress(self) -> None:
        """Bytes moved: whatever it retried, it is running again."""
        self.activity()
        if self._derived == "RETRYING":
            self.state("RUNNING")

    def line(self, stream: str, text: str) -> None:
        """One line of output."""
        self.activity()
        record = self._understand(stream, text)
        self._facts.lines.append(text)
        self._store(stream, record)
        if record.state is not None:
            self.state(record.state, "live")
        if record.retry:
            self.retry("log", record.message, record.delay, record.link)

    def _understand(self, stream: str, text: str) -> LogRecord:
        try:
            return self._target.parse_log(stream, text)
        except Exception as error:
            self._history.append(
                "note", text=f"log grammar failed on a line: {type(error).__name__}: {error}"
            )
            return LogRecord("info", text)

    def _store(self, stream: str, record: LogRecord) -> None:
        """Keep a bounded number of records; errors, retries and states have a budget of their own."""
        if record.level == "error" or record.retry or record.state:
            self._important += 1
            if self._important > MAX_IMPORTANT:
                self.left_out += 1
                return
        else:
            self._records += 1
            if self._records > MAX_RECORDS:
                self.left_out += 1
                return
        self._history.append(
            "log",
            job=self._job,
            stream=stream,
            level=record.level,
            text=record.message[:2000],
            retry=record.retry,
            delay=record.delay,
            trace_id=record.trace_id,
            status_code=record.status_code,
            timestamp=record.structured or None,
        )

    def on_link(self, event: Any) -> None:
        """A connection attempt after an interruption of the same link is a retry that no log can invent.

        Refusals that may be another link's as well are counted once; those that may be strangers', not at all.
        """
        if event.ev in {"bytes", "first_byte"} or "strangers" in event.data:
            return
        link = event.link
        cut = event.ev == "close" and ("down" in str(event.data.get("reason", "")) or "cause" in event.data)
        if cut or event.ev in {"down", "stranded"}:
            self._interrupted.add(link)
        if event.ev not in {"open", "refused"} or link not in self._interrupted:
            return
        self.activity()
        where = link
        if shared := event.data.get("shared"):
            link, where = " or ".join(shared), ""
        if event.t - self._last_knocks.get(link, float("-inf")) > BURST:
            self.retry("link", f"connection {'refused' if event.ev == 'refused' else 'attempt'}", link=where)
        self._last_knocks[link] = event.t

    def on_sandbox(self, event: SandboxEvent) -> None:
        """A second refused open of the same file is a retry of that file; the next write or sync of it is none."""
        if event.kind != "syscall" or event.data.get("action") != "errno":
            return
        self.activity()
        if re.search(r"read|write|sync|send|copy|splice|truncate|fallocate", str(event.data.get("call"))):
            return
        key = (str(event.data.get("rule")), str(event.data.get("path")))
        if key in self._refused_paths:
            self.retry("syscall", f"{event.data.get('call')} of {event.data.get('path')} refused again")
        self._refused_paths.add(key)
