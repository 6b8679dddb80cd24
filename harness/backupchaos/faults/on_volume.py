"""What faults of volumes share: who uses the volume, and rules that are in force with the fault only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from backupchaos.environments.base import Place, SyscallRule
from backupchaos.errors import BackupChaosError, HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.base import SETTLE, Fault, Ground, Spec
from backupchaos.faults.blows import REPORTED, Blows, refusals
from backupchaos.faults.files import literal
from backupchaos.faults.moments import LAG, ended, job_end
from backupchaos.history import Event

PATIENCE = 10.0
"""Seconds for a server to end."""
CLOCKS = 0.001
"""Seconds by which two readings of the same clock may differ through rounding."""
NO_SPACE = (
    r"no space|\bENOSPC\b|disk (is )?full|quota exceeded|not enough (free )?space|too big for remaining"
)
"""What the kernel, servers and tools say of a full disk. 'full backup' is none."""


class OnVolume(Fault[Spec]):
    """A fault of one volume, watched or done by the system call supervisor.

    Who makes the calls on a volume? The job, unless it is the repository of a remote job: then the
    server does, and is started anew with the rules before the fault job. The rules are in force
    from ``arm`` to ``disarm``; what they report at another time is a stray.
    """

    refuses: tuple[str, ...] = ()
    """Rules that report calls which are refused, by us or by the kernel; their names without the fault's."""

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._armed: list[tuple[float, float | None]] = []
        self._untouched: int | None = None

    @property
    def place(self) -> Place:
        """The volume."""
        return Place(getattr(self.spec, "place", ""))

    @property
    def below(self) -> tuple[str, ...]:
        """The volume and everything on it, as paths of a rule."""
        return (f"{literal(self.ground.sandbox.path(self.place))}/**",)

    @property
    def watched(self) -> bool:
        """The supervisor is there to see calls; without it, words are the only proof."""
        return "syscalls" in self.ground.sandbox.capabilities

    @property
    def remote(self) -> bool:
        """The server makes the calls, not the job."""
        return self.ground.link is not None and getattr(self.spec, "place", "") == "repository"

    def watches(self) -> Sequence[SyscallRule]:
        """The rules of this fault; whoever uses the volume is started with them."""
        return ()

    def available(self) -> None:
        """Note how a volume looks that not every tool uses."""
        if getattr(self.spec, "place", "") in ("cache", "temp"):
            self._untouched = self._touched()

    def prepare(self) -> None:
        """A server gets the rules now, since they can only be given to a process at its start.

        Raises ``MissingCapability`` for a volume that the jobs so far have not used.
        """
        if self._untouched is not None and self._touched() == self._untouched:
            reason = f"no command of the target has put anything into its {self.place} directory so far"
            raise MissingCapability(str(self.place), reason)
        rules = self.watches()
        if not (self.remote and self.watched and rules):
            return
        if self.ground.means is None:
            raise HarnessBroken(f"fault {self.name}: there is nobody to start the server anew")
        self.ground.means.supervise_service(rules)

    def rules(self) -> Sequence[SyscallRule]:
        """What the job is started with."""
        return self.watches() if self.watched and not self.remote else ()

    def paths(self) -> Sequence[str]:
        """Source files that the job itself named beside the cause: a partial claim leaves those out by its own words."""
        cause = re.compile(self.cause_pattern(), re.IGNORECASE)
        told = [
            event["text"]
            for event in self.ground.history.of("log")
            if event["job"] == "fault" and event["level"] != "info" and cause.search(event["text"])
        ]
        return [path for path, _ in self.ground.fresh if told and any(_names(text, path) for text in told)]

    def arm(self) -> None:
        """The rules act from now on."""
        self._armed.append((self.ground.history.now(), None))
        for rule in self.watches() if self.watched else ():
            self.ground.sandbox.arm(rule.name, True)

    def disarm(self) -> None:
        """No rule acts any more; each is tried. Raises ``HarnessBroken`` if one could not be told."""
        problems = []
        for rule in self.watches() if self.watched else ():
            try:
                self.ground.sandbox.arm(rule.name, False)
            except BackupChaosError as problem:
                problems.append(str(problem))
        if self._armed:
            self._armed[-1] = (self._armed[-1][0], self.ground.history.now())
        if problems:
            raise HarnessBroken("; ".join(problems))

    def hits(self, rule: str) -> list[Event]:
        """What a rule reported while it was in force; ``rule`` is its name without the fault's.

        A server makes calls for others too, after the job: those prove only a fault that came after it.
        """
        found = [event for event in self.syscalls(f"{self.name}.{rule}") if self._is_armed(event.t)]
        end = job_end(self.ground.history)
        if not self.remote or (self.windows and self.windows[0][0] >= end):
            return found
        return [event for event in found if event.t <= end + LAG]

    def blows(self) -> Blows | None:
        """When calls were refused; nobody knows without a supervisor."""
        if not self.watched:
            return super().blows()
        found = [event for rule in self.refuses for event in self.hits(rule)]
        return refusals(found, until=self.window()[1])

    def strays(self) -> list[str]:
        """Calls that a rule acted on before or after, and a volume that is again as it was under the fault."""
        names = [rule.name for rule in self.watches()]
        acted = [
            f"{event['call']} of {event['path']} at {event.t:.3f} s"
            for event in self.syscalls(*names)
            if not self._is_armed(event.t)
        ]
        return acted + came_back(self)

    def told(self, pattern: str) -> list[str]:
        """Where no supervisor sees the calls: what the job or the server said while the fault was in force."""
        if not self.windows:
            return []
        start, end = self.window()
        found = [
            event["text"]
            for event in self.ground.events("log", "service", since=start)
            if event.t <= end + SETTLE and re.search(pattern, event["text"], re.IGNORECASE)
        ]
        return [f"{len(found)} messages, the first: {found[0][:300]!r}"] if found else []

    def job_failed(self) -> bool:
        """The job ended, and claims no success."""
        end = ended(self.ground.history)
        return end is not None and end["outcome"] != "success"

    def _touched(self) -> int:
        path = self.ground.sandbox.path(self.place)
        return int(self.ground.sandbox.call("stat", path=path)["mtime_ns"])

    def _is_armed(self, t: float) -> bool:
        return any(start - CLOCKS <= t and (end is None or t <= end + CLOCKS) for start, end in self._armed)


def _names(text: str, path: str) -> bool:
    return re.search(rf"(?:^|[\s'\"/:(]){re.escape(path)}(?:$|[\s'\",:;)])", text) is not None


def counted(events: Sequence[Event], what: str) -> str:
    """How many calls of what kind, in words; beyond some number the supervisor reports only totals."""
    count = len(events)
    return f"{count} or more {what}s" if count >= REPORTED else f"{count} {what}{'' if count == 1 else 's'}"


def first(events: Sequence[Event]) -> str:
    """The first of them in words."""
    event = events[0]
    return f"the first: {event['call']} of {event['path']} at {event.t:.2f} s"
