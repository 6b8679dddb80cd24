"""What a running scenario is doing now, folded from its events; no clock, no terminal."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupchaos.history import Event

_UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_WORKFLOW = re.compile(r"##(?=\w*\[)|^(\s*):(?=:)", re.MULTILINE)


def defused(text: str) -> str:
    """Text in which no line is a command to GitHub's or Azure's runners (``::error``, ``##[error]``, ``##vso[``)."""
    return _WORKFLOW.sub(lambda found: f"{found[0]}\u00a0" if found[0] == "##" else f"{found[1]}.", text)


def harmless(text: object, limit: int = 200) -> str:
    """One printable line that neither a terminal nor a CI server takes for a command."""
    words = str(text)
    if len(words) > limit:
        words = words[: limit - 1] + "…"
    words = "".join("·" if unicodedata.category(char) in _UNSAFE else char for char in words)
    return defused(words)


def clock(seconds: float) -> str:
    """``00:31`` or ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


@dataclass
class Story:
    """The present state of one run; ``tell`` folds an event in and says what is worth a line."""

    label: str
    phase: str = "prepare"
    state: str = ""
    retries: int = 0
    warnings: int = 0
    active: dict[str, float] = field(default_factory=dict)
    """Faults in force, with the time at which they began."""

    def tell(self, event: Event) -> str | None:
        """A few words if the event matters to somebody who waits, else None."""
        teller = getattr(self, f"_on_{event.kind.replace('.', '_')}", None)
        words = teller(event) if teller is not None else None
        return harmless(words) if words else None

    def now(self, seconds: float) -> str:
        """The present in a few words: phase, faults in force, what the job does."""
        parts = [self.phase]
        parts += [
            f"fault {harmless(n, 30)} on {clock(max(0.0, seconds - t))}" for n, t in self.active.items()
        ]
        if self.phase == "fault" and self.state:
            parts.append(harmless(self.state.lower(), 30) + (f" #{self.retries}" if self.retries else ""))
        if self.warnings:
            parts.append(f"{self.warnings} warnings")
        return "  ".join(parts)

    def _on_phase(self, event: Event) -> str | None:
        name = str(event["name"])
        if name == self.phase:
            return None
        self.phase = name
        return f"phase {name}"

    def _on_fault(self, event: Event) -> str | None:
        name, status = str(event["name"]), event["status"]
        if status == "applied":
            self.active[name] = event.t
            return f"fault {name} ({event['fault']}) applied: {event.get('detail') or event.get('mechanism')}"
        if status in {"undone", "failed"}:
            self.active.pop(name, None)
            return f"fault {name} {status}" + (f": {event.get('detail')}" if status == "failed" else "")
        return None

    def _on_state(self, event: Event) -> str | None:
        # The job's own list comes afterwards and would be told a second time; a live target says PENDING
        # and RUNNING once more after us.
        told = event["source"] == "job" or event["state"] in {self.state, "PENDING"}
        if event["job"] != "fault" or told:
            return None
        self.state = str(event["state"])
        return f"job {self.state.lower()}"

    def _on_retry(self, event: Event) -> None:
        if event["job"] == "fault":
            self.retries += 1

    def _on_log(self, event: Event) -> None:
        if event["job"] == "fault" and event["level"] != "info":
            self.warnings += 1

    def _on_job_end(self, event: Event) -> str:
        ended = "ended by the harness, " if event["timed_out"] or event["hung"] else ""
        return f"{event['job']} job: {event['outcome']} ({ended}exit {event['returncode']})"

    def _on_restore(self, event: Event) -> str | None:
        if not event["performed"]:
            return f"restore {event['which']}: not made: {event['reason']}"
        wrong = event["missing"] + event["different"] + event["extra"]
        equal = event["returncode"] == 0 and not wrong
        return f"restore {event['which']}: {'equal' if equal else f'{wrong} entries differ'}"

    def _on_interrupted(self, event: Event) -> str:
        return "interrupted; the sandbox is being destroyed"
