"""The harness's side of a local sandbox: a client of the agent."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any

from backupchaos.commands import Command
from backupchaos.environments.base import Place, ProcessInfo, Role, SandboxEvent, SyscallRule
from backupchaos.environments.local.channel import Channel, Message
from backupchaos.environments.local.client import locate, memory_file, result_of
from backupchaos.environments.local.limit_client import LimitClient
from backupchaos.environments.local.volume_client import VolumeClient
from backupchaos.errors import HarnessBroken

_CLOSE_SECONDS = 20
_WORDS = {"userns": "user namespaces", "root": "root namespaces", "plain": "plain", "container": "containers"}


class LocalSandbox(VolumeClient, LimitClient):
    """One run's blast radius, served by an agent process; made by ``LocalEnvironment.sandbox``.

    All methods raise ``HarnessBroken`` when the agent died. Usable as a context manager.
    """

    name = "local"

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        connection: tuple[Channel, Channel, int],
        mechanism: str,
        paths: Mapping[Place, str],
        path_variable: str,
    ) -> None:
        super().__init__()
        self.mechanism = _WORDS[mechanism]
        self.capabilities: frozenset[str] = frozenset()
        self.sent: list[tuple[float, int, int]] = []
        self.leftovers: tuple[str, str] | None = None
        """Of a plain sandbox: where its journal is, and its token."""
        self._process = process
        self._requests, self._events, self._log = connection
        self._paths = dict(paths)
        self._owner = os.getpid()
        self._exposed: set[str] = set()
        self._begun = 0
        self._answers: dict[int, Message] = {}
        """Of operations that were begun, and for whose end nobody has waited yet."""
        self._closed = False
        self._environment = {
            "PATH": path_variable,
            "HOME": self._paths[Place.STATE],
            "TMPDIR": self._paths[Place.TEMP],
            "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": self._paths[Place.STATE] + "/.config",
            "XDG_DATA_HOME": self._paths[Place.STATE] + "/.local/share",
            "XDG_STATE_HOME": self._paths[Place.STATE] + "/.local/state",
            "XDG_CACHE_HOME": self._paths[Place.CACHE],
        }

    def __enter__(self) -> LocalSandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def path(self, place: Place) -> str:
        """Where a volume is mounted, as processes inside see it."""
        return self._paths[place]

    def front(self) -> tuple[str, str]:
        """Everything meets on the loopback of one network."""
        return "127.0.0.1", "127.0.0.1"

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
        """Start a process; see ``Sandbox.spawn``. Missing standard streams are ``/dev/null``.

        ``command.stdin`` is given as a file unless ``stdin`` is. The working directory is HOME unless
        the command says otherwise. ``user`` runs it as that uid instead of root, for programs that refuse
        to be root; files on volumes keep their owner, seen as that uid. ``only_env`` gives it nothing but
        the command's own variables. The rest is as in ``faults.base.JobShape``.
        """
        self.expose(expose)
        handed = [(fd, number) for number, fd in enumerate((stdin, stdout, stderr)) if fd is not None]
        handed += pass_fds
        memory = -1
        if stdin is None and command.stdin:
            memory = memory_file(command.stdin)
            handed.append((memory, 0))
        joining = self._joining(cgroup)
        try:
            pid = self._ask(
                "spawn",
                [*(fd for fd, _ in handed), *joining],
                argv=list(command.argv),
                env={**({} if only_env else self._environment), **command.env},
                cwd=command.cwd or self._paths[Place.STATE],
                role=role,
                inside=[number for _, number in handed],
                rules=[asdict(rule) for rule in rules],
                drop_dac=drop_dac,
                rlimits=dict(rlimits or {}),
                user=user,
                hide_vdso=hide_vdso,
                hostname=hostname,
            )
        finally:
            for fd in (*joining, memory):
                if fd >= 0:
                    os.close(fd)
        return int(pid)

    def fileno(self) -> int:
        """Readable when ``events`` has something to return."""
        return self._events.fileno()

    def events(self) -> list[SandboxEvent]:
        """What happened since the last call; never blocks. Raises ``HarnessBroken`` when the agent died."""
        if self._closed:
            return []
        try:
            frames = self._events.pump()
        except (EOFError, OSError):
            raise self._death() from None
        return [SandboxEvent(frame["kind"], frame["t"], frame["data"]) for frame, _ in frames]

    def signal(self, pid: int, signal: int, *, tree: bool = False) -> bool:
        """Send a signal to a process; with ``tree`` to all its descendants and its daemons too."""
        now, reached = time.monotonic(), bool(self._ask("signal", pid=pid, signal=int(signal), tree=tree))
        if reached and signal:
            self.sent.append((now, pid, int(signal)))
        return reached

    def processes(self) -> list[ProcessInfo]:
        """All live processes except the sandbox's own and zombies."""
        return [ProcessInfo(**process) for process in self._ask("processes")]

    def open_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A fresh socket that belongs to the sandbox's network; bind, listen or connect as you like."""
        _, fds = self._exchange("socket", family=int(family), type=int(kind))
        return socket.socket(fileno=fds[0])

    def connect(self, port: int, host: str = "127.0.0.1", timeout: float | None = 10.0) -> socket.socket:
        """A TCP connection inside the sandbox's network; the socket returned has no timeout set."""
        host = "127.0.0.1" if host == "localhost" else host
        sock = self.open_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock.settimeout(timeout)
            sock.connect((host, port))
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock

    def conceal(self, places: Sequence[Place], hidden: bool) -> None:
        """Hide volumes behind empty ones, or show them again."""
        self._ask("conceal", places=[str(place) for place in places], hidden=hidden)

    def arm(self, rule: str, armed: bool) -> None:
        """Switch a rule; arming starts its counts afresh, disarming releases what it holds."""
        self._ask("arm", rule=rule, armed=armed)

    def release(self, rule: str) -> None:
        """Let go of the calls that a ``hold`` rule has stopped."""
        self._ask("release", rule=rule)

    def totals(self) -> dict[str, dict[str, int]]:
        """Per rule: ``matched`` calls, ``acted`` on, ``bytes`` matched, since it was last armed; ``held`` callers
        and ``armed`` instances now."""
        return dict(self._ask("totals"))

    def expose(self, paths: Sequence[str]) -> None:
        """Make host paths visible, read-only, at the same place; raises ``UsageProblem`` if one is missing."""
        wanted = [pair for pair in locate(paths) if pair[0] not in self._exposed]
        if wanted:
            self._ask("expose", paths=wanted)
            self._exposed.update(path for path, _ in wanted)

    def call(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Run an operation in a process of its own inside; see ``backupchaos.environments.operations``.

        The harness waits for the answer: an operation that streams to a descriptor wants a file, or a
        pipe that another thread drains. Raises ``OperationFailed`` (an
        ``OSError`` and a ``HarnessBroken``) with the errno that the operation met.
        """
        return self._ask("call", fds, operation=operation, arguments=arguments)

    def begin(self, operation: str, /, *, fds: Sequence[int] = (), **arguments: Any) -> Callable[[], Any]:
        """Start an operation and go on; the function that is returned waits for its end, and answers as ``call``."""
        self._begun += 1
        tag = self._begun
        self._send("call", fds, operation=operation, arguments=arguments, tag=tag)

        def finish() -> Any:
            while tag not in self._answers:
                self._receive()
            return result_of(self._answers.pop(tag))

        return finish

    def close(self) -> None:
        """End every process, unmount, remove; idempotent. Waits until the kernel has done it."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._owner:  # a forked copy must not end its parent's sandbox
            self._requests.shutdown()
            self._events.shutdown()
        self._requests.close()
        self._events.close()
        os.close(self._log)
        if os.getpid() == self._owner:
            try:
                self._process.wait(_CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                self._undo()
                raise HarnessBroken(
                    f"the sandbox did not end within {_CLOSE_SECONDS} s and was killed"
                ) from None
            self._undo()

    def _undo(self) -> None:
        """What a killed agent could not do itself, and what is not its to do."""
        try:
            if self.leftovers is not None:
                from backupchaos.environments.local import journal

                journal.heal_run(*self.leftovers, mine=True)
        finally:
            self._release_groups()

    def _ask(self, what: str, fds: Sequence[int] = (), **arguments: Any) -> Any:
        answer, _ = self._exchange(what, fds, **arguments)
        return answer

    def _exchange(self, what: str, fds: Sequence[int] = (), **arguments: Any) -> tuple[Any, list[int]]:
        self._send(what, fds, **arguments)
        while (answered := self._receive()) is None:
            pass
        answer, received = answered
        return result_of(answer), received

    def _send(self, what: str, fds: Sequence[int], **arguments: Any) -> None:
        if self._closed:
            raise HarnessBroken("the sandbox is closed")
        try:
            self._requests.send({"do": what, **arguments}, fds)
        except OSError:
            raise self._death() from None

    def _receive(self) -> tuple[Message, list[int]] | None:
        """The answer to what is waited for; None if it was that of an operation that was begun: it is put aside."""
        if self._closed:
            raise HarnessBroken("the sandbox is closed")
        try:
            answer, received = self._requests.receive()
        except (EOFError, OSError):
            raise self._death() from None
        if "tag" not in answer:
            return answer, received
        self._answers[answer["tag"]] = answer
        return None

    def _death(self) -> HarnessBroken:
        text = ""
        with suppress(subprocess.TimeoutExpired, OSError):
            self._process.wait(2)
            text = os.pread(self._log, 20000, 0).decode(errors="backslashreplace").strip()
        code = self._process.returncode
        return HarnessBroken(f"the sandbox's agent died (status {code})" + (f":\n{text}" if text else ""))
