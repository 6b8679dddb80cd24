"""The world of one run: sandbox, service, links, and how to run a command in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backupchaos.commands import Command, Completed
from backupchaos.engine.loop import Loop, OutputPipe
from backupchaos.engine.tiers import TierServer, dressed
from backupchaos.environments.base import Place, Role, Sandbox, SandboxEvent, SyscallRule
from backupchaos.errors import HarnessBroken
from backupchaos.history import History
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.targets.base import Profile, Tier, Workspace

if TYPE_CHECKING:
    from backupchaos.faults.base import Server
    from backupchaos.links.links import Link, Links
    from backupchaos.services.control import ServiceControl

GRACE = 5.0
"""Seconds between TERM and KILL."""
OF_THE_TARGET: frozenset[Role] = frozenset({"target", "tool"})
"""Roles of processes that have the target's rights, and know where its services are."""


class RepositoryServer:
    """The repository's server, as a fault sees it that stops one."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def pid(self) -> int | None:
        """Its process now; None for a local repository."""
        return self._world.service_pid

    @property
    def forgets(self) -> str:
        """What it loses when it is killed."""
        return self._world.service_forgets

    def restart(self) -> int:
        """Start it again as it was."""
        return self._world.restart_service()


class World:
    """Everything a run made. ``link`` and ``service_pid`` are None for a local repository."""

    def __init__(self, sandbox: Sandbox, history: History) -> None:
        self.sandbox = sandbox
        self.history = history
        self.loop = Loop()
        self.links: Links | None = None
        self.link: Link | None = None
        self.service_pid: int | None = None
        self.service_shape: dict[str, Any] = {}
        """More arguments of ``Sandbox.spawn`` for the server, when it is started again."""
        self.service_lines: list[str] = []
        self.revive: Callable[[], int] | None = None
        """Starts the repository's server again, as it was; set by whoever started it."""
        self.control: ServiceControl | None = None
        """Who can be told to answer wrongly; None where no fault of the scenario needs it, or nobody obeys."""
        self.service_forgets = ""
        """What the server itself loses when it is killed; empty if it keeps all that it acknowledged."""
        self.tiers: dict[str, TierServer] = {}
        """The other services, by the scenario's names for them."""
        self.services: Mapping[str, Tier] = {}
        """Where the target finds them."""
        self.service_terse: Mapping[str, str] = {}
        """What the server tells its clients in the place of a cause, by kind of fault (see ``services.base.Terse``)."""
        self.client_name: Callable[[str], str | None] = lambda stored: stored
        """The name by which clients know a file of the repository's directory; None for the server's own."""
        self.workspace: Workspace
        self.profile: Profile
        self.privileges: tuple[bool, int | None] = (False, None)
        """(without root's file overrides, which user instead of root) of all commands of the target; those that ``run``
        is told to give full rights keep the overrides."""
        self.exits: dict[int, tuple[int, float]] = {}
        self._outputs: list[OutputPipe] = []
        self._sandbox_listeners: list[Callable[[SandboxEvent], None]] = []
        self._link_listeners: list[Callable[[Any], None]] = []
        self.loop.add(sandbox.fileno(), self.poll_sandbox)

    def use_links(self, links: Links) -> None:
        """Listen to the links from now on."""
        self.links = links
        self.loop.add(links.fileno(), self.poll_links)

    def on_sandbox(self, callback: Callable[[SandboxEvent], None]) -> Callable[[], None]:
        """Hear of sandbox events; returns the function that stops it."""
        self._sandbox_listeners.append(callback)
        return lambda: self._sandbox_listeners.remove(callback)

    def on_link(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Hear of link events; returns the function that stops it."""
        self._link_listeners.append(callback)
        return lambda: self._link_listeners.remove(callback)

    def poll_sandbox(self) -> None:
        """Take over what the sandbox has reported."""
        for event in self.sandbox.events():
            if event.kind == "exit":
                self.exits[event.data["pid"]] = (event.data["returncode"], event.t)
            elif event.kind == "syscall":
                self.history.append("syscall", at=event.t, **event.data)
            else:
                self.history.append("note", at=event.t, text=str(event.data.get("message", event.data)))
                if event.data.get("died"):  # what the job does from now on is no word about the job
                    raise HarnessBroken(str(event.data["message"]))
            for listener in tuple(self._sandbox_listeners):
                listener(event)

    def poll_links(self) -> None:
        """Take over what the links have reported."""
        if self.links is None:
            return
        for event in self.links.events():
            self.history.append(
                "link", at=event.t, link=event.link, ev=event.ev, conn=event.conn, **event.data
            )
            for listener in tuple(self._link_listeners):
                listener(event)

    def ask_links(self) -> None:
        """Take over all that the links know by now: connects that met nobody are counted every few milliseconds."""
        link = next(iter(self.links or ()), None)
        if link is not None:
            link.state()  # any of them: they are counted together
        self.poll_links()

    def path(self, place: Place) -> str:
        """Where a volume is, inside."""
        return self.sandbox.path(place)

    def start_service(
        self,
        command: Command,
        on_line: Callable[[str], None] | None = None,
        *,
        role: Role = "service",
        pass_fds: Sequence[tuple[int, int]] = (),
    ) -> int:
        """Start a server and keep reading what it prints; returns its pid."""

        def line(text: str) -> None:
            if len(self.service_lines) < 5000:
                self.service_lines.append(text)
                self.history.append("service", text=text[:2000])
            if on_line is not None:
                on_line(text)

        output = OutputPipe(self.loop, line, command.secrets, head=64 * 1024)
        self._outputs.append(output)
        shape = self.service_shape if role == "service" else {}
        pid = self.sandbox.spawn(
            command, role=role, stdout=output.write_end, stderr=output.write_end, pass_fds=pass_fds, **shape
        )
        output.started()
        return pid

    def start_tier(
        self, command: Command, name: str, lines: list[str], user: int | None, **shape: Any
    ) -> int:
        """Start the server of another service; what it prints goes to the history and to ``lines``.

        ``shape`` goes to ``Sandbox.spawn``.
        """

        def line(text: str) -> None:
            if len(lines) < 5000:
                lines.append(text)
                self.history.append("service", service=name, text=text[:2000])

        output = OutputPipe(self.loop, line, command.secrets, head=64 * 1024)
        self._outputs.append(output)
        end = output.write_end
        pid = self.sandbox.spawn(command, role="service", stdout=end, stderr=end, user=user, **shape)
        output.started()
        return pid

    def server(self, place: str) -> Server:
        """The server behind a link; raises ``HarnessBroken`` if there is none of that name."""
        if place == REPOSITORY:
            return RepositoryServer(self)
        if place not in self.tiers:
            raise HarnessBroken(f"there is no service {place}")
        return self.tiers[place]

    def restart_service(self) -> int:
        """Start the repository's server again as it was, and wait until it answers; its new pid."""
        if self.revive is None:
            raise HarnessBroken("there is no server to start again")
        return self.revive()

    def supervise_service(self, rules: Sequence[SyscallRule]) -> None:
        """Start the server anew under more system call rules, since a process gets them at its start only.

        Raises ``HarnessBroken`` without a server, or if it does not end.
        """
        import signal

        old = self.service_pid
        if old is None:
            raise HarnessBroken("the repository is remote, but has no server")
        self.service_shape["rules"] = [*self.service_shape.get("rules", ()), *rules]
        self.sandbox.signal(old, signal.SIGKILL, tree=True)
        if not self.loop.pump_until(lambda: old in self.exits, GRACE):
            raise HarnessBroken(f"the server, process {old}, survived SIGKILL for {GRACE:g} s")
        self.restart_service()

    def start(
        self,
        command: Command,
        *,
        what: str,
        role: Role = "tool",
        rules: Sequence[SyscallRule] = (),
        hostname: str | None = None,
    ) -> int:
        """Start a command beside the job; each line of its output is a ``beside`` event, its end is in ``exits``."""
        command = dressed(command, self.services)

        def line(text: str) -> None:
            self.history.append("beside", what=what, text=text[:2000])

        output = OutputPipe(self.loop, line, command.secrets, head=64 * 1024)
        self._outputs.append(output)
        drop_dac, user = self.privileges
        pid = self.sandbox.spawn(
            command,
            role=role,
            stdout=output.write_end,
            stderr=output.write_end,
            rules=rules,
            drop_dac=drop_dac,
            user=user,
            hostname=hostname,
        )
        output.started()
        self.history.append("beside.start", what=what, argv=command.display(), pid=pid)
        return pid

    def wait(self, pid: int, timeout: float) -> int | None:
        """Wait for a process that was started; its return code, None when the time is over."""
        self.loop.pump_until(lambda: pid in self.exits, timeout)
        return self.exits[pid][0] if pid in self.exits else None

    def run(
        self,
        command: Command,
        *,
        what: str,
        timeout: float = 120.0,
        role: Role = "tool",
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        full_rights: bool = False,
        **shape: Any,
    ) -> Completed:
        """Run a short command to its end (restore, list, check); never raises for what it does.

        At the timeout its process tree gets TERM, then KILL. ``user`` is for commands that are not the
        target's, which have the rights of its jobs; ``shape`` goes to ``Sandbox.spawn``. With ``full_rights`` root
        keeps its file overrides all the same: a fault that takes them from jobs is none of a restore.
        """
        if env:
            command = Command(
                command.argv, {**command.env, **env}, command.cwd, command.stdin, command.secrets
            )
        if role in OF_THE_TARGET:
            command = dressed(command, self.services)
        out = OutputPipe(self.loop, lambda _: None, command.secrets)
        err = OutputPipe(self.loop, lambda _: None, command.secrets)
        started = time.monotonic()
        try:
            pid = self.spawn(command, role, out, err, as_user=user, full_rights=full_rights, **shape)
            timed_out = not self.loop.pump_until(lambda: pid in self.exits, timeout)
            if timed_out:
                self.end(pid)
            self.finish_output(out, err)
        finally:
            out.close()
            err.close()
        code, ended = self.exits[pid]
        text, errors = (_hide(pipe.capture.text(), command.secrets) for pipe in (out, err))
        done = Completed(
            command,
            code,
            text,
            errors,
            ended - started,
            timed_out,
            out.capture.truncated or err.capture.truncated,
        )
        self.history.append(
            "command",
            what=what,
            argv=command.display(),
            returncode=code,
            seconds=round(done.duration, 4),
            timed_out=timed_out,
            output=(done.stdout[-1500:] + done.stderr[-2500:]) if not done.ok else "",
        )
        return done

    def spawn(
        self,
        command: Command,
        role: Role,
        out: OutputPipe,
        err: OutputPipe,
        *,
        rules: Sequence[SyscallRule] = (),
        stdin: int | None = None,
        as_user: int | None = None,
        full_rights: bool = False,
        **shape: Any,
    ) -> int:
        """Start a command with its outputs connected; ``shape`` goes to ``Sandbox.spawn``.

        ``stdin`` remains the caller's to close.
        """
        drop_dac, user = self.privileges if role in OF_THE_TARGET else (False, as_user)
        memory: int | None = None
        if command.stdin and stdin is None:
            stdin = memory = os.memfd_create("stdin")
            os.write(memory, command.stdin)
            os.lseek(memory, 0, os.SEEK_SET)
        try:
            pid = self.sandbox.spawn(
                command,
                role=role,
                stdout=out.write_end,
                stderr=err.write_end,
                stdin=stdin,
                rules=rules,
                drop_dac=drop_dac and not full_rights,
                user=user,
                **shape,
            )
        finally:
            if memory is not None:
                os.close(memory)
        out.started()
        err.started()
        return pid

    def finish_output(self, *outputs: OutputPipe) -> None:
        """Read to the end of the outputs; a daemon that keeps them open is not waited for."""
        self.loop.pump_until(lambda: all(output.eof for output in outputs), 0.3)
        for output in outputs:
            output.drain()

    def end(self, pid: int) -> None:
        """TERM, grace, KILL for a whole process tree; raises ``HarnessBroken`` if it survives.

        Helpers and daemons have the same grace as the process itself.
        """
        import signal

        def over() -> bool:
            return pid in self.exits and not self.sandbox.signal(pid, 0, tree=True)

        self.sandbox.signal(pid, signal.SIGTERM, tree=True)
        if self.loop.pump_until(over, GRACE):
            return
        who = "what it had started" if pid in self.exits else "all that it had started"
        text = (
            f"process {pid} was ended by SIGTERM" if pid in self.exits else f"process {pid} ignored SIGTERM"
        )
        self.history.append("note", text=f"{text}; SIGKILL after {GRACE:g} s for {who}")
        self.sandbox.signal(pid, signal.SIGKILL, tree=True)
        if not self.loop.pump_until(over, GRACE):
            raise HarnessBroken(f"process {pid} survived SIGKILL for {GRACE:g} s")

    def close(self) -> None:
        """Destroy the sandbox and everything in it; idempotent."""
        if self.links is not None:
            self.loop.remove(self.links.fileno())
            self.links.close()
            self.links = None
        if self.control is not None:
            self.loop.remove(self.control.fileno())
            self.control.close()
        for output in self._outputs:
            output.close()
        self._outputs.clear()
        self.loop.close()
        self.sandbox.close()


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "•••")
    return text
