"""The agent's server plus the system call supervisor, which starts with the first process that has rules."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any

from backupchaos.environments.local.answers import Pending, Refused
from backupchaos.environments.local.channel import Channel, Message, pair
from backupchaos.environments.local.server import Server

_CATCH_UP = 1
"""Seconds that a supervisor gets to tell what it knows; one that stands still is killed anyway."""
DIED = "the system call supervisor died: supervised processes get ENOSYS from now on"


class SupervisedServer(Server):
    """Knows ``arm``, ``release`` and ``totals``, and puts filters on what is spawned."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._armed: dict[str, bool] = {}
        self._supervisor = 0
        self._control: Channel | None = None
        self._handover: socket.socket | None = None
        self._asked = 0
        """Requests of the harness that the supervisor has not answered yet."""
        self._filtered: set[int] = set()
        self._behind = False
        """Whether the supervisor still has to tell what it saw of a process that has ended."""

    def filter_for(self, message: Message, number: int) -> Callable[[], bool] | None:
        """Make the filter's program, announce the process, return what it must do before exec."""
        if not message["rules"] and not message["hide_vdso"]:
            return None
        from backupchaos.environments.local import kernel, vdso
        from backupchaos.syscalls import filters, supervisor
        from backupchaos.syscalls.rules import Rule

        try:
            wanted = [Rule(rule) for rule in message["rules"]]
        except ValueError as problem:
            raise Refused("UsageProblem", str(problem)) from None
        execs = vdso.EXEC_CALLS[kernel.MACHINE] if message["hide_vdso"] else ()
        code = filters.program({**filters.wanted_by(wanted), **dict.fromkeys(execs, ())})
        rules = [{**rule, "armed": self._armed.get(rule["name"], rule["armed"])} for rule in message["rules"]]
        theirs, ours = socket.socketpair()
        with theirs:
            self._running_supervisor().send(
                {"do": "attach", "rules": rules, "execs": execs}, [theirs.fileno()]
            )

        def install() -> bool:
            listener, killable = filters.install(code)
            note = supervisor.KILLABLE if killable else supervisor.INTERRUPTIBLE
            socket.send_fds(ours, [note], [listener])  # sendmsg is no call that rules can name
            return killable

        self._handover = ours
        return install

    def do_spawn(self, message: Message, fds: list[int]) -> int:
        """Start a process; the supervisor gets its end of the handover."""
        try:
            pid = super().do_spawn(message, fds)
            if self._handover is not None:
                self._filtered.add(pid)
            return pid
        finally:
            if self._handover is not None:
                self._handover.close()
                self._handover = None

    def do_arm(self, message: Message, fds: list[int]) -> Any:
        """Switch a rule, in the supervisor and for processes to come."""
        self._armed[message["rule"]] = message["armed"]
        return self._forward(message | {"do": "arm"}, None)

    def do_release(self, message: Message, fds: list[int]) -> Any:
        """Let held calls go."""
        return self._forward(message | {"do": "release"}, 0)

    def do_totals(self, message: Message, fds: list[int]) -> Any:
        """Counts by rule."""
        return self._forward({"do": "totals"}, {})

    def _forward(self, message: Message, without: Any) -> Any:
        if self._control is None:
            return without
        try:
            self._control.send(message)
        except OSError:  # it is dying; its end is noticed by the loop
            raise Refused("HarnessBroken", DIED) from None
        self._asked += 1
        return Pending()

    def _running_supervisor(self) -> Channel:
        if self._control is None:
            ours, theirs = pair()
            self._supervisor = self._fork_supervisor(theirs)
            theirs.close()
            self.processes.own.add(self._supervisor)
            self.use_supervisor(ours)
        assert self._control is not None
        return self._control

    def use_supervisor(self, sock: socket.socket) -> None:
        """Talk to a running supervisor over this socket."""
        self._control = Channel(sock)
        self.watch(self._control.fileno(), self._hear)

    def _fork_supervisor(self, theirs: socket.socket) -> int:
        from backupchaos.syscalls.supervisor import Supervisor

        pid = os.fork()
        if pid:
            return pid
        try:
            self.leave_to_child()
            os.closerange(3, theirs.fileno())  # among them the outputs of what is being spawned
            os.closerange(theirs.fileno() + 1, 1 << 16)
            Supervisor(Channel(theirs)).run()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    def _hear(self) -> None:
        if self._control is None:
            return
        try:
            frames = self._control.pump()
        except EOFError:
            self._lose_supervisor()
            return
        for message, _ in frames:
            if "events" in message:
                for event in message["events"]:
                    self._events.queue(event)
                self._flush()
            elif "caught up" in message:
                self._behind = False
            else:
                self._asked -= 1
                self.answer(message["answer"])

    def _lose_supervisor(self) -> None:
        if self._control is None:
            return
        self.unwatch(self._control.fileno())
        self._control.close()
        self._control = None
        while self._asked:  # the harness waits for an answer
            self._asked -= 1
            self._refuse("HarnessBroken", DIED)
        self.emit("supervisor", {"message": DIED, "died": True})

    def _reap(self, wake: int, wake_end: int) -> None:
        """A supervisor that was stopped would stop all that it supervises; without one their calls fail."""
        if self._supervisor and _stands_still(self._supervisor):
            os.kill(self._supervisor, signal.SIGKILL)
        super()._reap(wake, wake_end)

    def child_ended(self, pid: int) -> None:
        """What the supervisor saw of a process is reported before its exit."""
        if pid not in self._filtered or self._control is None:
            return
        self._filtered.discard(pid)
        try:
            self._control.send({"do": "catch up"})
        except OSError:
            return
        self._behind = True
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        while self._behind and self._control is not None and poll.poll(_CATCH_UP * 1000):
            self._hear()

    def helper_ended(self, pid: int, status: int) -> None:
        """The supervisor must not end before us."""
        if pid == self._supervisor:
            self._supervisor = 0
            self._hear()
            self._lose_supervisor()


def _stands_still(pid: int) -> bool:
    """Whether a child was stopped by a signal; its end is left to be collected."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None
    except ChildProcessError:
        return False
