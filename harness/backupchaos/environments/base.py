"""The seam between the engine and the place where a run happens.

A *sandbox* is everything that one run creates. The engine talks to it through this
protocol only; it vanishes as a whole on ``close``, and by itself when the harness dies.
All calls are made from one thread. Paths are paths *inside* the sandbox.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from backupchaos.commands import Command

Role = Literal["target", "service", "link", "tool"]


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
    counts: calls, or bytes written. Actions: ``errno`` (fail with that error), ``observe`` (let it
    pass, report it), ``hold`` (stop the call, report it, wait for ``release``), ``kill`` (SIGKILL
    the caller's thread group), ``delay``.
    """

    name: str
    calls: tuple[str, ...]
    paths: tuple[str, ...]
    action: Literal["errno", "observe", "hold", "kill", "delay"] = "observe"
    errno: int = 0
    skip: int = 0
    times: int | None = None
    delay: float = 0.0
    measure: Literal["calls", "bytes"] = "calls"
    armed: bool = False


@dataclass(frozen=True)
class ProcessInfo:
    """A live process in the sandbox."""

    pid: int
    parent: int
    role: Role | Literal["orphan"]
    command: str


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
class SandboxEvent:
    """Something the sandbox reports: ``kind`` is ``exit`` (pid, returncode), ``syscall``
    (rule, call, path, action, ordinal, pid) or ``supervisor`` (message). ``t`` is ``time.monotonic``.
    """

    kind: Literal["exit", "syscall", "supervisor"]
    t: float
    data: Mapping[str, Any] = field(default_factory=dict)


class Sandbox(Protocol):
    """One run's blast radius."""

    name: str
    """``local``, ``docker`` ..."""
    mechanism: str
    """How it is isolated, in words for the report: ``user namespaces``, ``root namespaces``, ``plain``."""
    capabilities: frozenset[str]
    """What it really offers: ``volumes``, ``network``, ``processes``, ``syscalls``, ``xattrs`` ..."""

    def path(self, place: Place) -> str:
        """Where a volume is mounted, as processes inside see it."""

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
    ) -> int:
        """Start a process; returns its pid inside. Descriptors are the harness's own ends to hand over.

        ``pass_fds`` are (harness fd, number inside). Raises ``UsageProblem`` when the program does not
        exist or cannot be executed. ``drop_dac`` removes CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
        """

    def fileno(self) -> int:
        """Readable when ``events`` has something to return."""

    def events(self) -> list[SandboxEvent]:
        """What happened since the last call; never blocks."""

    def signal(self, pid: int, signal: int, *, tree: bool = False) -> bool:
        """Send a signal to a process (with all its descendants); False if it is gone."""

    def processes(self) -> list[ProcessInfo]:
        """All live processes except the sandbox's own and zombies."""

    def connect(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A TCP connection made inside the sandbox's network; raises OSError like ``create_connection``."""

    def usage(self, place: Place) -> Usage:
        """Space on a volume now."""

    def resize(self, place: Place, size: int) -> None:
        """Change a volume's size while it is in use; not below what is used."""

    def conceal(self, places: Sequence[Place], hidden: bool) -> None:
        """Hide volumes behind empty ones, or show them again; hiding twice hides once."""

    def arm(self, rule: str, armed: bool) -> None:
        """Switch a system call rule on or off for all supervised processes, now and later."""

    def release(self, rule: str) -> None:
        """Let go of the calls that a ``hold`` rule has stopped."""

    def call(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Run a named operation of ``backupchaos.environments.operations`` inside; arguments and result are JSON."""

    def close(self) -> None:
        """End every process, unmount, remove; idempotent."""


class Environment(Protocol):
    """A factory of sandboxes, with a word on what it can do here."""

    name: str

    def probe(self) -> Mapping[str, str]:
        """Capability -> empty string if usable here, else the reason why not."""

    def sandbox(self, sizes: Mapping[Place, int], *, expose: Sequence[str] = ()) -> Sandbox:
        """Make a sandbox with volumes of these sizes in bytes; raises ``MissingCapability``."""
