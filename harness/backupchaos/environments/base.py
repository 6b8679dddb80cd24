"""The seam between the engine and the place where a run happens.

A *sandbox* is everything that one run creates. The engine talks to it through this
protocol only; it vanishes as a whole on ``close``, and by itself when the harness dies.
All calls are made from one thread. Paths are paths *inside* the sandbox.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

from backupchaos.commands import Command

Role = Literal["target", "service", "link", "tool"]
Controller = Literal["memory", "pids", "cpu"]


class Place(StrEnum):
    """The sized volumes of a sandbox; faults name them."""

    SOURCE = "source"
    REPOSITORY = "repository"
    CACHE = "cache"
    TEMP = "temp"
    RESTORE = "restore"
    STATE = "state"
    """Keys, configuration and job state of target and services; also HOME. Not a fault place."""


@dataclass(frozen=True)
class SyscallRule:
    """What the system call supervisor does with some calls of a supervised process tree.

    A rule sees a call when its name is in ``calls`` and its path (the path argument, or the
    file behind the descriptor) matches one of the ``paths`` (absolute, ``fnmatch`` style; a path
    ending in ``/**`` matches everything below). While armed, the rule lets ``skip`` matching calls
    pass and acts on the next ``times`` (``None``: all that follow). ``measure`` says what ``skip``
    counts: calls, or bytes written (a ``fallocate`` counts for that moment as what it reserves); or it means only calls that cannot succeed in full: ``space`` (a write that
    needs more than is free), ``inodes`` (a new name where no more files can be made), ``length`` (a file would grow
    beyond ``size``), ``descriptors`` (the caller has as many open as it may have). Actions: ``errno`` (fail with that error), ``observe`` (let it
    pass, report it), ``hold`` (stop the call, report it, wait for ``release``), ``kill`` (SIGKILL
    the caller's thread group), ``delay`` (seconds), ``short`` (a write takes ``size`` bytes only; needs the
    capability ``short_writes``), ``clock`` (a reading of the wall clock is ``delay`` seconds later, or earlier if
    negative; for ``calls=("clock",)``, with ``hide_vdso`` at spawn and the capability ``clock``; ``paths`` mean nothing
    to it). An ``errno`` of 0 answers success without doing the call. ``calls`` are names of calls or of families, as
    in ``syscalls.tables``.
    """

    name: str
    calls: tuple[str, ...]
    paths: tuple[str, ...]
    action: Literal["errno", "observe", "hold", "kill", "delay", "short", "clock"] = "observe"
    errno: int = 0
    skip: int = 0
    times: int | None = None
    delay: float = 0.0
    size: int = 0
    measure: Literal["calls", "bytes", "space", "inodes", "length", "descriptors"] = "calls"
    armed: bool = False


@dataclass(frozen=True)
class ProcessInfo:
    """A live process in the sandbox."""

    pid: int
    parent: int
    role: Role | Literal["orphan"]
    command: str
    state: str = ""
    """As ``/proc`` has it: ``R``, ``S``, ``D``, ``T`` (stopped) ..."""
    cpu: float = 0.0
    """Seconds of processor time so far, in ticks of 10 ms."""
    caught: int = 0
    """Signals that it has a handler for; as in the next ones, bit n - 1 stands for signal n (``SigCgt`` in ``proc(5)``)."""
    ignored: int = 0
    blocked: int = 0
    """By its first thread."""
    pending: int = 0
    """Sent, and not taken yet."""
    awaits: bool = False
    """Its first thread sits in ``sigwait`` or one of its kin, for signals that are not told; the kernel has them unblocked
    as long as it does. False also where the kernel does not tell where a process sleeps."""


@dataclass(frozen=True)
class Usage:
    """Size and free space of a volume in bytes, inodes likewise."""

    total: int
    free: int
    files: int
    free_files: int

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self.total - self.free


@dataclass(frozen=True)
class VolumeState:
    """What stands at a volume's place: its file system's number, whether it is one of its own, writable, empty."""

    device: int
    mounted: bool
    read_only: bool
    entries: int


@dataclass(frozen=True)
class SandboxEvent:
    """Something the sandbox reports: ``kind`` is ``exit`` (pid, returncode), ``syscall``
    (rule, call, path, action, ordinal, pid) or ``supervisor`` (message). ``t`` is ``time.monotonic``.
    """

    kind: Literal["exit", "syscall", "supervisor"]
    t: float
    data: Mapping[str, Any] = field(default_factory=dict)


class ControlGroup(Protocol):
    """A control group of the machine that the job of one run joins; it goes with the sandbox."""

    path: str
    """For ``Sandbox.spawn(cgroup=...)``."""
    mechanism: str
    """In words, such as ``cgroup v2 memory``."""

    def limit(self, value: float | None) -> None:
        """Bytes, processes and threads, or a share of one processor; None for no limit. Raises OSError."""

    def limited(self) -> float | None:
        """The limit that is in force, as the kernel has it."""

    def hits(self) -> int:
        """How often the kernel acted: processes killed, forks refused, periods in which the job had to wait."""


class Sandbox(Protocol):
    """One run's blast radius."""

    name: str
    """``local``, ``docker`` ..."""
    mechanism: str
    """How it is isolated, in words for the report: ``user namespaces``, ``root namespaces``, ``plain``."""
    capabilities: frozenset[str]
    """What it really offers: ``volumes``, ``network``, ``processes``, ``syscalls``, ``xattrs`` ..."""
    sent: list[tuple[float, int, int]]
    """Every signal that reached somebody: (time.monotonic, to which process, its number)."""

    def path(self, place: Place) -> str:
        """Where a volume is mounted, as processes inside see it."""

    def front(self) -> tuple[str, str]:
        """(the address on which a link listens, the address at which the target reaches it)."""

    def spawn(
        self,
        command: Command,
        *,
        role: Role,
        stdout: int | None = None,
        stderr: int | None = None,
        stdin: int | None = None,
        pass_fds: Sequence[tuple[int, int]] = (),
        rules: Sequence[SyscallRule] = (),
        drop_dac: bool = False,
        rlimits: Mapping[str, int] | None = None,
        expose: Sequence[str] = (),
        user: int | None = None,
        only_env: bool = False,
        cgroup: str | None = None,
        hide_vdso: bool = False,
        hostname: str | None = None,
    ) -> int:
        """Start a process; returns its pid inside. Descriptors are the harness's own ends to hand over.

        ``pass_fds`` are (harness fd, number inside). Raises ``UsageProblem`` when the program does not
        exist or cannot be executed. ``drop_dac`` removes CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
        ``cgroup`` are paths of control groups, one a line. The rest is as in ``faults.base.JobShape``.
        """

    def fileno(self) -> int:
        """Readable when ``events`` has something to return."""

    def events(self) -> list[SandboxEvent]:
        """What happened since the last call; never blocks."""

    def signal(self, pid: int, signal: int, *, tree: bool = False) -> bool:
        """Send a signal to a process (with all its descendants); False if it is gone."""

    def processes(self) -> list[ProcessInfo]:
        """All live processes except the sandbox's own and zombies."""

    def birth(self, pid: int) -> Mapping[str, Any]:
        """What ``/proc`` said of a process of the target right after its exec: ``cwd``, ``names`` of all its
        variables, ``env`` with HOME, PATH, SHELL and TERM, ``limits`` by the kernel's names; {} if not known."""

    def throttle(self, share: float | None) -> int:
        """Let the target's processes run this share of the time only, by stopping them; None ends it.

        Returns how often one was stopped that wanted to run, when it ends.
        """

    def control_group(self, controller: Controller) -> ControlGroup:
        """The run's control group of this kind, without a limit at first; raises ``MissingCapability``."""

    def connect(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A TCP connection made inside the sandbox's network; raises OSError like ``create_connection``."""

    def usage(self, place: Place) -> Usage:
        """Space on a volume now."""

    def resize(self, place: Place, size: int) -> None:
        """Change a volume's size while it is in use; not below what is used."""

    def leave(self, place: Place, left: int) -> None:
        """Shrink a volume until at most ``left`` bytes are free, and more than ``left`` less a page."""

    def limit_files(self, place: Place, *, left: int | None = None, total: int = 0) -> None:
        """Allow only ``left`` more files on a volume, or else ``total`` in all."""

    def freeze(self, place: Place, frozen: bool) -> float:
        """Make a volume read-only for every path, or writable again; open files are not concerned.

        Returns since when, as ``time.monotonic``.
        """

    def vanish(self, place: Place, gone: bool) -> Mapping[str, float]:
        """Unmount a volume, so that an empty writable directory remains, or mount it again.

        Open files keep working on the volume. The answer is ``at``, the moment (time.monotonic) since which it is gone;
        when it comes back, how many ``files`` and ``bytes`` were written into the directory; those are removed.
        """

    def volume(self, place: Place) -> VolumeState:
        """What stands at a volume's place now."""

    def use_image(self, place: Place) -> None:
        """Put a volume on a disk image with a real file system, whose power can be cut, with what is on it so far.

        Raises ``MissingCapability`` where that cannot be had.
        """

    def disk(self, place: Place) -> Mapping[str, int]:
        """By the kernel's count of an image's disk: ``sectors`` written, ``flushes`` asked for; -1 if not known.

        ``cuts`` is how often its power was cut.
        """

    def contents(self, place: Place) -> Mapping[str, tuple[int, str]]:
        """Everything on a volume: name -> (size in bytes, digest)."""

    def remember(self, place: Place) -> None:
        """Keep what an image's disk holds now, for ``cut_power``."""

    def cut_power(self, place: Place, *, forget: bool = False) -> Mapping[str, Any]:
        """Shut an image's file system down without a flush, and mount it again.

        With ``forget`` the disk is what it was when ``remember`` was called. Nobody may have a file open on it.
        Returns ``at`` (time.monotonic) and ``disk`` at that moment.
        """

    def conceal(self, places: Sequence[Place], hidden: bool) -> None:
        """Hide volumes behind empty ones, or show them again; hiding twice hides once."""

    def arm(self, rule: str, armed: bool) -> None:
        """Switch a system call rule on or off for all supervised processes, now and later."""

    def release(self, rule: str) -> None:
        """Let go of the calls that a ``hold`` rule has stopped."""

    def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Per rule: ``matched`` calls, ``acted`` on, ``bytes`` matched, since it was last armed; ``held`` callers
        and ``armed`` instances now. Exact, while events are only told as long as they are few."""

    def call(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Run a named operation of ``backupchaos.environments.operations`` inside; arguments and result are JSON."""

    def begin(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Callable[[], Any]:
        """Start such an operation and go on; the function that is returned waits for its end, and answers as ``call``.

        Whoever begins one sees to it that nothing that is done meanwhile touches what it works on.
        """

    def close(self) -> None:
        """End every process, unmount, remove; idempotent."""


class Environment(Protocol):
    """A factory of sandboxes, with a word on what it can do here."""

    name: str

    def probe(self) -> Mapping[str, str]:
        """Capability -> empty string if usable here, else the reason why not."""

    def sandbox(
        self, sizes: Mapping[Place, int], *, expose: Sequence[str] = (), writable: Sequence[str] = ()
    ) -> Sandbox:
        """Make a sandbox with volumes of these sizes in bytes; raises ``MissingCapability``.

        ``expose`` are paths of the machine that must be visible; ``writable`` are real directories of the
        machine that the scenario and the user allowed to be changed, at their own place.
        """


@runtime_checkable
class Containing(Protocol):
    """An environment whose programs come from images: what is installed on this machine is no matter there."""

    def need_image(self, image: str) -> None:
        """Make sure of an image, the one with Python if it is empty; raises ``MissingCapability`` that says how."""


@runtime_checkable
class InContainers(Protocol):
    """A sandbox whose programs come from images."""

    def use_image_for(self, role: Role, image: str) -> None:
        """Run what has this role in a container of that image; before the first of them is started."""

    def use_image_beside(self, name: str, image: str) -> None:
        """Have one more container, for the service of that name; ``spawn`` takes its name as ``beside``."""

    def has_program(self, name: str) -> bool:
        """Whether one of the images at hand has a program that the harness would like to use."""

    def finds(self, role: Role, program: str) -> str:
        """Where the image of a role has a program: at its very path, else by its name; empty if nowhere."""


@runtime_checkable
class Unpluggable(Protocol):
    """A sandbox whose job can lose the very network on which it reaches its servers."""

    unplugging: str
    """How that is done, in words."""

    def outlet(self) -> str:
        """The address of the job's own on a network that can be taken away, and on which ``front`` lets links listen from
        then on. Made and tried when it is first asked for; raises ``MissingCapability`` where it cannot be had."""

    def unplug(self, away: bool) -> None:
        """Take the job off that network, or put it back at the same address; raises ``HarnessBroken``."""

    def plugged(self) -> bool:
        """Whether the kernel has the address now."""
