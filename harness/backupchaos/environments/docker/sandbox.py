"""A sandbox of several containers that looks to the engine like one."""

from __future__ import annotations

import select
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from backupchaos.commands import Command
from backupchaos.environments.base import (
    ControlGroup,
    Controller,
    Place,
    ProcessInfo,
    Role,
    SandboxEvent,
)
from backupchaos.environments.docker.limits import ContainerGroup
from backupchaos.environments.docker.member import CODE, PYTHON, Member
from backupchaos.environments.docker.mounts import ContainerMounts
from backupchaos.environments.docker.names import PACKAGES, PYTHON_IMAGE, TOXIPROXY_IMAGE, TOXIPROXY_PROGRAM
from backupchaos.environments.docker.outlet import Outlet
from backupchaos.environments.docker.programs import Programs
from backupchaos.errors import HarnessBroken, MissingCapability

KEEPER, TARGET, BARE, SERVICE, LINK, TOXIPROXY = "keeper", "target", "bare", "service", "link", "toxiproxy"
_MEMBER_OF: dict[str, str] = {"target": TARGET, "tool": TARGET, "service": SERVICE, "link": LINK}
_IN_TARGET = {"network_stats", "free_port", "unanswered", "look_up", "ask_name"}
"""Operations that look at the network, as the target has it."""
_BESIDE = "service-"
_SHIFT = 24
"""Pids of different containers are told apart by the number of the container, above these bits."""


class Making(Protocol):
    """Who makes the members, and takes away what they stood on."""

    paths: Mapping[Place, str]
    folder: Path

    def member(self, name: str, sandbox: DockerSandbox) -> Member:
        """Start a member by its name."""

    def translated(self, word: str) -> str:
        """A word of a command line as the containers understand it."""

    def carries(self, path: str) -> bool:
        """Whether the containers see this file of the machine at its place."""

    def at_hand(self, image: str) -> bool:
        """Whether an image is here; nothing is pulled."""

    def outlet(self, member: Member) -> Outlet:
        """A network that a member can be taken off."""

    def remove(self) -> None:
        """Remove volumes and networks."""


class DockerSandbox(ContainerMounts):
    """Containers, their volumes and their network; made by ``DockerEnvironment.sandbox``.

    Members are started when they are first needed. Where a restore
    must not see the source, it runs in a container that has never seen it.
    """

    name = "docker"
    unplugging = "the engine takes the container off its network"

    def __init__(self, made: Making, mechanism: str, capabilities: frozenset[str]) -> None:
        super().__init__()
        self.mechanism = mechanism
        self.capabilities = capabilities
        self.sent: list[tuple[float, int, int]] = []
        self.images: dict[str, str] = {}
        """Role -> image, for members that do not exist yet."""
        self._made = made
        self._members: dict[str, Member] = {}
        self._numbers: dict[str, int] = {}
        self._groups: dict[str, ContainerGroup] = {}
        self._programs = Programs()
        self._outlet: Outlet | None = None
        self._concealed = self._named = False
        self._armed: dict[str, bool] = {}
        self._epoll = select.epoll()
        self._closed = False

    def __enter__(self) -> DockerSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- members -------------------------------------------------------------------------------

    def member(self, name: str) -> Member:
        """A container of the sandbox, started if it was not needed before."""
        if name not in self._members:
            made = self._made.member(name, self)
            self._members[name] = made
            self._numbers[name] = len(self._numbers) + 1
            self._epoll.register(made.fileno(), select.EPOLLIN)
            for rule, armed in self._armed.items():
                made.arm(rule, armed)
            self.caught_up(made)
            if self._named and name == BARE:
                made.call("use_own_names")
        return self._members[name]

    def use_image_for(self, role: Role, image: str) -> None:
        """See ``InContainers``."""
        name = _MEMBER_OF[role]
        if name in self._members and image != self.images.get(name, ""):
            raise HarnessBroken(f"the {name}'s container was made before its image was chosen")
        self.images[name] = image

    def use_image_beside(self, name: str, image: str) -> None:
        """See ``InContainers``."""
        self.images[beside(name)] = image

    def has_program(self, name: str) -> bool:
        """See ``InContainers``; asked for the programs that the harness itself wants beside a service."""
        return name == TOXIPROXY_PROGRAM and self._made.at_hand(TOXIPROXY_IMAGE)

    def finds(self, role: Role, program: str) -> str:
        """See ``InContainers``."""
        return self.member(_MEMBER_OF[role]).which(self._made.translated(program))

    def holders(self, place: Place) -> list[Member]:
        """The containers that have a volume, the keeper first."""
        return [member for member in self._members.values() if place in member.plan.volumes]

    def front(self) -> tuple[str, str]:
        """Target, link and service have one loopback: the kernel counts there what the link cannot see.

        With an outlet it is the outlet's address, which is theirs as well as long as they have it.
        """
        host = self._outlet.address if self._outlet else "127.0.0.1"
        return host, host

    def outlet(self) -> str:
        """See ``Unpluggable``."""
        if self._outlet is None:
            self._outlet = self._made.outlet(self.member(TARGET))
        return self._outlet.address

    def unplug(self, away: bool) -> None:
        """See ``Unpluggable``."""
        if self._outlet is None:
            raise HarnessBroken("there is no network that the job could be taken off")
        self._outlet.unplug(away)

    def plugged(self) -> bool:
        """See ``Unpluggable``."""
        return self._outlet is not None and self._outlet.plugged()

    def _outer(self, name: str, pid: int) -> int:
        return self._numbers[name] << _SHIFT | pid

    def _inner(self, pid: int) -> tuple[Member, int]:
        number = pid >> _SHIFT
        name = next(name for name, known in self._numbers.items() if known == number)
        return self._members[name], pid & (1 << _SHIFT) - 1

    def _ask(self, what: str, fds: Sequence[int] = (), **arguments: Any) -> Any:
        return self.member(KEEPER)._ask(what, fds, **arguments)

    # -- processes -----------------------------------------------------------------------------

    def path(self, place: Place) -> str:
        """Where a volume is mounted, the same in every container that has it."""
        return self._made.paths[place]

    def spawn(self, command: Command, *, role: Role, **options: Any) -> int:
        """See ``Sandbox.spawn``; the program is looked for in the image of the role's container.

        With ``beside``, in that of the service of this name.
        """
        name = _MEMBER_OF[role]
        service: str | None = options.pop("beside", None)
        if service is not None:
            name = beside(service)
        elif self._concealed and name == TARGET:
            name = BARE
        elif command.argv[0].rpartition("/")[2] == TOXIPROXY_PROGRAM:
            name = TOXIPROXY
        member = self.member(name)
        for option in ("expose", "cgroup"):  # settled when a container is made
            options.pop(option, None)
        argv = self._argv(command.argv, name, member)
        options["rules"] = [self._programs.renamed(rule, member) for rule in options.get("rules", ())]
        env = dict(command.env)
        if member.plan.image == PYTHON_IMAGE:
            env["PYTHONPATH"] = f"{CODE}:{PACKAGES}"
        inside = Command(argv, env, command.cwd, command.stdin, command.secrets)
        return self._outer(name, member.spawn(inside, role=role, **options))

    def _argv(self, argv: Sequence[str], name: str, member: Member) -> tuple[str, ...]:
        """A command line of this machine as the container understands it."""
        first, *rest = argv
        words = tuple(self._programs.known(word, member) or self._made.translated(word) for word in rest)
        if name == TOXIPROXY:
            return ("/toxiproxy", *words)  # its name in the official image
        if first == sys.executable and member.plan.image != PYTHON_IMAGE:
            return (*PYTHON, *words)  # the image of a tool need not have one
        if self._made.carries(first) or ("/" not in first and first != sys.executable):
            return (first, *words)
        return (self._programs.inside(first, self._made.translated(first), member), *words)

    def fileno(self) -> int:
        """Readable when ``events`` has something to return."""
        return self._epoll.fileno()

    def events(self) -> list[SandboxEvent]:
        """What happened in all containers since the last call, in order of time."""
        found: list[SandboxEvent] = []
        for name, member in self._members.items():
            for event in member.events():
                data = dict(event.data)
                if "pid" in data:
                    data["pid"] = self._outer(name, data["pid"])
                found.append(SandboxEvent(event.kind, event.t, data))
        return sorted(found, key=lambda event: event.t)

    def signal(self, pid: int, signal: int, *, tree: bool = False) -> bool:
        """Send a signal; see ``Sandbox.signal``."""
        member, inner = self._inner(pid)
        now, reached = time.monotonic(), member.signal(inner, signal, tree=tree)
        if reached and signal:
            self.sent.append((now, pid, int(signal)))
        return reached

    def processes(self) -> list[ProcessInfo]:
        """All live processes of all containers except their agents."""
        found = []
        for name, member in self._members.items():
            for info in member.processes():
                fields = {**vars(info), "pid": self._outer(name, info.pid)}
                fields["parent"] = self._outer(name, info.parent)
                found.append(ProcessInfo(**fields))
        return found

    def birth(self, pid: int) -> Mapping[str, Any]:
        """See ``Sandbox.birth``."""
        member, inner = self._inner(pid)
        return member.birth(inner)

    def throttle(self, share: float | None) -> int:
        """See ``Sandbox.throttle``."""
        return self.member(TARGET).throttle(share)

    def control_group(self, controller: Controller) -> ControlGroup:
        """The one of the target's container, which belongs to the engine; raises ``MissingCapability``."""
        member = self.member(TARGET)
        if controller not in self._groups:
            try:
                made = ContainerGroup(member.wrapped, lambda: member.group(controller), controller)
            except (OSError, HarnessBroken) as problem:
                text = f"the container has no counters of its own for {controller}: {problem}"
                raise MissingCapability(f"cgroup {controller}", text) from None
            self._groups[controller] = made
        return self._groups[controller]

    def connect(self, port: int, host: str = "127.0.0.1", timeout: float | None = 10.0) -> socket.socket:
        """A TCP connection inside the sandbox's network."""
        return self.member(TARGET).connect(port, host, timeout)

    def open_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket of the sandbox's network."""
        return self.member(TARGET).open_socket(family, kind)

    # -- volumes and calls ---------------------------------------------------------------------

    def conceal(self, places: Sequence[Place], hidden: bool) -> None:
        """What runs while places are hidden runs in a container that has the repository and little else."""
        self._concealed = hidden and bool(places)

    def arm(self, rule: str, armed: bool) -> None:
        """Switch a system call rule in every container, now and later."""
        self._armed[rule] = armed
        for member in self._members.values():
            member.arm(rule, armed)

    def release(self, rule: str) -> None:
        """Let go of the calls that a ``hold`` rule has stopped."""
        for member in self._members.values():
            member.release(rule)

    def totals(self) -> dict[str, dict[str, int]]:
        """Counts of every rule, over all containers."""
        sums: dict[str, dict[str, int]] = {}
        for member in self._members.values():
            for rule, counts in member.totals().items():
                known = sums.setdefault(rule, dict.fromkeys(counts, 0))
                for key, value in counts.items():
                    known[key] += value
        return sums

    def expose(self, paths: Sequence[str]) -> None:
        """Nothing: what a container sees is settled when it is made."""

    def call(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Run an operation: on files in the keeper, on a process or the network where that is."""
        return self.begin(operation, fds=fds, **arguments)()

    def begin(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Callable[[], Any]:
        """Start an operation there; the function that is returned waits for its end."""
        if operation == "use_own_names":
            self._named = True
            return self.member(TARGET).begin(operation)
        if operation in _IN_TARGET:
            return self.member(TARGET).begin(operation, fds=fds, **arguments)
        if "pid" in arguments:
            member, arguments["pid"] = self._inner(arguments["pid"])
            return member.begin(operation, fds=fds, **arguments)
        return self.member(KEEPER).begin(operation, fds=fds, **arguments)

    def close(self) -> None:
        """End all containers, then remove volumes, network and folder; idempotent, each step is tried."""
        if self._closed:
            return
        self._closed = True
        problems: list[Exception] = []
        for member in reversed(self._members.values()):
            try:
                member.close()
            except Exception as problem:
                problems.append(problem)
        self._epoll.close()
        try:
            self._made.remove()
        except Exception as problem:
            problems.append(problem)
        with suppress(OSError):
            shutil.rmtree(self._made.folder)
        if problems:
            raise problems[0]


def beside(name: str) -> str:
    """The member in which a service besides the repository's server runs."""
    return _BESIDE + name
