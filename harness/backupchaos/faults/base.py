"""What every fault is: it can be applied, verified, undone, and it proves that it bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from backupchaos.commands import Command, Completed
from backupchaos.environments.base import Role, Sandbox, SandboxEvent, SyscallRule, Usage
from backupchaos.errors import HarnessBroken
from backupchaos.faults.blows import Blows, Span, blows
from backupchaos.history import Event, History
from backupchaos.model.faults import FaultSpec
from backupchaos.model.faults.base import REPOSITORY

if TYPE_CHECKING:
    from backupchaos.links.links import Link
    from backupchaos.services.control import ServiceControl
    from backupchaos.targets.base import Target, Workspace

Spec = TypeVar("Spec", bound=FaultSpec)

SLACK = 0.05
"""Seconds by which an observation may reach the history after the end of a fault that caused it."""
SETTLE = 0.5
"""Seconds after a fault in which the job's last words about it may still arrive."""

Leniency = Literal["either", "prefix", "any", "after"]
"""What a backup may hold of a source file that changed under it: the version before or after; one of them or
a state that the file was in between, from the shorter to the longer; anything, there and below; or the
version after and no other, for what came before the job could look. See ``engine.moved``."""


class Server(Protocol):
    """A server that a fault may stop and start again: the repository's, or another service's."""

    @property
    def pid(self) -> int | None:
        """Its process now; None if there is no server."""

    @property
    def forgets(self) -> str:
        """What it loses by itself when it is killed; empty if it keeps all that it acknowledged."""

    def restart(self) -> int:
        """Start it again as it was; returns its new pid when it answers."""


class Means(Protocol):
    """What a fault may ask the engine to do; ``World`` offers it."""

    exits: dict[int, tuple[int, float]]
    """pid -> (return code, time.monotonic()) of every process of the sandbox that has ended."""
    service_pid: int | None
    service_shape: dict[str, Any]
    """More arguments of ``Sandbox.spawn`` for the server, when it is started again."""
    control: ServiceControl | None
    """Who can be told to answer wrongly, a server or a gate in front of it; None where nobody can."""
    client_name: Callable[[str], str | None]
    """The name by which clients know a file of the repository's directory; None for the server's own."""

    def server(self, place: str) -> Server:
        """The server behind a link: ``repository`` or a service of the scenario; raises ``HarnessBroken``."""

    def run(
        self,
        command: Command,
        *,
        what: str,
        timeout: float = 120.0,
        role: Role = "tool",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command in the sandbox to its end; never raises for what it does."""

    def start(
        self,
        command: Command,
        *,
        what: str,
        role: Role = "tool",
        rules: Sequence[SyscallRule] = (),
        hostname: str | None = None,
    ) -> int:
        """Start a command beside the job; its output goes to the history, its end to ``exits``."""

    def wait(self, pid: int, timeout: float) -> int | None:
        """Wait for a process that was started; its return code, None when the time is over."""

    def on_sandbox(self, callback: Callable[[SandboxEvent], None]) -> Callable[[], None]:
        """Hear of sandbox events, when they are in the history; returns the function that stops it."""

    def restart_service(self) -> int:
        """Start the repository's server again as it was; returns when it answers. Its new pid."""

    def supervise_service(self, rules: Sequence[SyscallRule]) -> None:
        """Start the repository's server anew under more system call rules; they stay with it for the run."""


@dataclass(frozen=True)
class JobShape:
    """How the fault job is started otherwise than the other jobs.

    ``env`` adds variables, None removes one. ``only_env`` keeps nothing of the sandbox's own
    environment. ``cwd`` is the working directory, ``rlimits`` are names of ``resource.RLIMIT_*`` in
    lower case. ``cgroup`` is a directory that the process joins before exec. ``hide_vdso`` makes
    every reading of the clock a system call. ``hostname`` gives it a name space of its own. ``stdin`` is a
    descriptor of the harness that becomes its standard input, and remains the fault's to close.
    """

    env: Mapping[str, str | None] = field(default_factory=dict)
    only_env: bool = False
    cwd: str | None = None
    rlimits: Mapping[str, int] = field(default_factory=dict)
    cgroup: str | None = None
    hide_vdso: bool = False
    hostname: str | None = None
    stdin: int | None = None


@dataclass(frozen=True)
class Stream:
    """All that a producer has to write: how much, and its SHA-256 in hex."""

    size: int
    digest: str


@dataclass
class Ground:
    """What faults stand on: the sandbox, the link, and what the job is about to read.

    ``fresh`` are the regular files (relative to the source) that changed before the fault job, so
    that any honest job has to open them, with their sizes. ``job_pid`` is set once the job runs.
    """

    sandbox: Sandbox
    history: History
    seed: int
    source: str
    repository: str
    """The root of the repository's volume."""
    link: Link | None = None
    """The link to the repository; None if it is local."""
    tiers: Mapping[str, Link] = field(default_factory=dict)
    """The links to other services, by the scenario's names for them."""
    fresh: Sequence[tuple[str, int]] = ()
    changed_names: frozenset[str] = frozenset()
    """Names of all files that the change touched in any way, deleted and renamed ones too."""
    job_pid: int | None = None
    started_at: float = 0.0
    free_space: list[tuple[float, str, Usage]] = field(default_factory=list)
    means: Means | None = None
    target: Target | None = None
    workspace: Workspace | None = None
    """As the target sees it, before any fault alters it."""

    def link_to(self, place: str) -> Link | None:
        """The link that a place of a fault names; None if there is none."""
        return self.link if place == REPOSITORY else self.tiers.get(place)

    def random(self, salt: str) -> Random:
        """A generator of this run's own; the same seed and salt give the same draws."""
        return Random(f"{self.seed}/{salt}")

    def events(self, *kinds: str, since: float) -> list[Event]:
        """What the history holds of these kinds from a moment on."""
        return [event for event in self.history.of(*kinds) if event.t >= since]


class Fault(ABC, Generic[Spec]):
    """One fault of one run.

    The order of calls: ``available`` (at the very start of the run), ``prepare`` (before the fault
    job), ``shape``, ``workspace``, ``rules`` (when it is started), ``apply``, ``verify``, ``undo``,
    ``verify_undone`` (once, or several times when it comes again), ``bite`` and ``strays`` (at the
    end of the run). ``apply`` must leave the fault in force or raise; ``verify`` looks at the world,
    not at our own variables. ``bite`` returns the facts that prove that the job met the fault; an empty
    list makes the run invalid. ``cause`` is what a log record naming the cause matches.
    """

    mechanism: str
    """How it is done here, in words; a class that probes sets it on the instance."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Capabilities of the sandbox without which this fault cannot be had."""
    tries: ClassVar[frozenset[str]] = frozenset()
    """What ``available`` finds out by making it, since no sandbox offers it beforehand: for plans, by the words of
    ``Environment.probe``."""
    cause: ClassVar[str]
    server_tells: ClassVar[bool] = False
    """The proof is what the link's server tells of its own doing, which only the embedded one does."""
    ways: ClassVar[tuple[str, ...]] = ()
    """In which ways it can be done, the best first, if there is more than one: ``available`` takes the first that can be
    had here."""
    way_key: ClassVar[str] = ""
    """The scenario's key that names the way, where that is not left to ``available``: then ``ways`` are its values."""
    way: str | None = None
    """The only one of them that may be taken, if somebody wants to know about it."""
    stream: Stream | None = None
    """The fault job stores this instead of the source: what it claims is judged by it."""
    drop_dac: bool = False
    """All jobs of the run are without root's override of file permissions."""
    user: int | None = None
    """All jobs of the run are this user instead of root."""
    no_strays: ClassVar[str] = ""
    """Why nothing can bite outside of the window, or why nobody could see it: for a kind without ``strays``."""

    def __init__(self, name: str, spec: Spec, ground: Ground) -> None:
        self.name = name
        self.spec = spec
        self.ground = ground
        self.windows: list[tuple[float, float | None]] = []
        self._undone: dict[int, float] = {}
        """Number of a window -> when its undoing was over; until then it may still have been at work."""

    @property
    def applied_at(self) -> float | None:
        """When it first came into force, in the history's seconds."""
        return self.windows[0][0] if self.windows else None

    @property
    def undone_at(self) -> float | None:
        """When it was last taken away; None while it is in force, and before."""
        return self.windows[-1][1] if self.windows else None

    def begin(self, at: float) -> None:
        """It comes into force; called by the injector before ``apply``."""
        self.windows.append((at, at if self.spec.instant else None))

    def end(self, at: float) -> None:
        """It is taken away; called by the injector before ``undo``."""
        start, end = self.windows[-1]
        self.windows[-1] = (start, at if end is None else end)

    def went(self, at: float) -> None:
        """It was taken away for good; called by the injector after ``verify_undone``, however that went."""
        self._undone[len(self.windows) - 1] = at

    @property
    def begun(self) -> bool:
        """It was begun, if only to fail, and has not been taken away since."""
        return bool(self.windows) and (self.spec.instant or self.windows[-1][1] is None)

    def may(self, way: str) -> bool:
        """Whether this one of its ways may be taken."""
        return self.way in (None, way)

    def available(self) -> None:
        """Raise ``MissingCapability`` if this target or sandbox cannot have the fault, with the reason."""

    def prepare(self) -> None:
        """Choose what will be hit, before the job starts."""

    def rules(self) -> Sequence[SyscallRule]:
        """System call rules that the job must be started with."""
        return ()

    def shape(self) -> JobShape | None:
        """How the fault job is to be started; asked after the faults of the start were applied."""
        return None

    def workspace(self, work: Workspace) -> Workspace:
        """The workspace that the fault job is given."""
        return work

    def command(self, command: Command) -> Command:
        """The command line of the fault job."""
        return command

    def paths(self) -> Sequence[str]:
        """Source paths this fault makes unreadable, relative to the source."""
        return ()

    def changed(self) -> Mapping[str, Leniency]:
        """Source paths that this fault changed while the job ran, and what a backup may hold of them.

        After ``undo`` the source must be as it was before.
        """
        return {}

    def cause_pattern(self) -> str:
        """What a record that names the cause matches (regular expression, case ignored)."""
        return self.cause

    @abstractmethod
    def apply(self) -> str:
        """Bring the fault into force; returns what exactly was done, in words."""

    def verify(self) -> None:
        """Raise ``HarnessBroken`` unless the fault is in force."""

    def after_job(self) -> None:
        """Look at what the job has left, before any other command runs and anything is undone."""

    def undo(self) -> None:
        """Take the fault away; instant faults have nothing to take away."""

    def verify_undone(self) -> None:
        """Raise ``HarnessBroken`` unless the fault is gone."""

    @abstractmethod
    def bite(self) -> list[str]:
        """Facts that prove that the job met the fault; empty if there are none."""

    def blows(self) -> Blows | None:
        """When it struck, in the history's seconds; None for a kind by which nobody is struck.

        For many kinds nobody can know, and all that is said then is when it can have been.
        """
        return blows("untimed", self.spans())

    def spans(self) -> list[Span]:
        """When it was in force, until its undoing was over; what a blow leaves behind stays to the end."""
        now = self.ground.history.now()
        return [
            (start, now if end is None or self.spec.instant else max(end, self._undone.get(n, end)))
            for n, (start, end) in enumerate(self.windows)
        ]

    def strays(self) -> list[str]:
        """Facts that show that it struck while it was not in force: an error of the harness.

        Asked at the end of the run, when everything is undone. Every kind looks for what its own mechanism
        would show, or says in ``no_strays`` why there is nothing to look for. See ``afterwards``.
        """
        return []

    def window(self) -> tuple[float, float]:
        """(first start, last end) in the history's seconds; the end is now if it is still in force."""
        if not self.windows:
            raise HarnessBroken(f"fault {self.name} was never applied")
        end = self.windows[-1][1]
        return self.windows[0][0], end if end is not None else self.ground.history.now()

    def in_force(self, t: float, slack: float = SLACK) -> bool:
        """Whether the fault was in force at a moment, or had ended no longer than ``slack`` seconds ago."""
        return any(start <= t and (end is None or t <= end + slack) for start, end in self.windows)

    def out_of_window(self, *rules: str, action: str = "") -> list[str]:
        """Calls on which these rules of the supervisor acted while the fault was not in force, in words."""
        return [
            f"{event['action']} on {event['call']} of {event['path']} at {event.t:.3f} s"
            for event in self.syscalls(*rules, action=action)
            if not self._at_work(event.t)
        ]

    def _at_work(self, t: float) -> bool:
        """In force, or just being undone."""
        undone = (start <= t <= self._undone.get(n, -1.0) for n, (start, _) in enumerate(self.windows))
        return self.in_force(t) or any(undone)

    def syscalls(self, *rules: str, action: str = "") -> list[Event]:
        """What the supervisor reported about these rules of this run, in order."""
        return [
            event
            for event in self.ground.history.of("syscall")
            if event["rule"] in rules and (not action or event["action"] == action)
        ]
