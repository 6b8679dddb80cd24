"""The agent's main loop: one process, one selector, requests in and events out.

It is PID 1 of the sandbox (or a subreaper in ``plain`` mode). It never does long work itself:
operations run in forked children, so that the end of the harness is noticed at once.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from backupchaos.environments.local import concealing, isolation, kernel, launch
from backupchaos.environments.local.answers import Pending, Refused
from backupchaos.environments.local.channel import Channel, Message
from backupchaos.environments.local.process_requests import ProcessRequests
from backupchaos.environments.local.processes import Registry
from backupchaos.environments.local.volume_requests import VolumeRequests

Handler = Callable[[Message, list[int]], Any]


_REAP_AT_ONCE = 100


class Server(VolumeRequests, ProcessRequests):
    """Serves one harness until it goes away."""

    def __init__(
        self,
        requests: Channel,
        events: Channel,
        root: isolation.Root | None,
        volumes: Mapping[str, str],
        allowed: Sequence[str] = (),
    ) -> None:
        super().__init__(root, volumes)
        self._requests, self._events = requests, events
        self.roots = sorted(
            {os.path.realpath(os.path.dirname(path)) for path in volumes.values()} | {*allowed}
        )
        """Below these the sandbox may change things; see ``operations.bounds``."""
        self._concealed: set[str] = set()
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._workers: dict[int, bytearray] = {}
        self.processes = Registry(os.getpid())
        self._flushing = False

    def run(self) -> None:
        """Loop until the harness is gone; the caller then ends this process, and the kernel the rest."""
        wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.watch(wake, lambda: self._reap(wake, wake_end))
        self.processes.tidy = self._collect_most
        self.watch(self._requests.fileno(), self._serve)
        try:
            while True:
                for fd, _ in self._epoll.poll():
                    if fd == self._events.fileno():
                        self._flush()
                    elif reader := self._readers.get(fd):
                        reader()
        except (EOFError, ConnectionError):
            return

    def watch(self, fd: int, reader: Callable[[], None]) -> None:
        """Call ``reader`` whenever ``fd`` is readable or hung up."""
        self._readers[fd] = reader
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """The opposite of ``watch``."""
        if self._readers.pop(fd, None):
            self._epoll.unregister(fd)

    def emit(self, kind: str, data: Message, t: float | None = None) -> None:
        """Report an event; it is kept until the harness reads it."""
        self._events.queue({"kind": kind, "t": time.monotonic() if t is None else t, "data": data})
        self._flush()

    def answer(self, value: Any, fds: list[int] | None = None) -> None:
        """Answer the request that is being served."""
        self._requests.send({"ok": value}, fds or [])

    def _flush(self) -> None:
        done = self._events.flush()
        if done and self._flushing:
            self._epoll.unregister(self._events.fileno())
        elif not done and not self._flushing:
            self._epoll.register(self._events.fileno(), select.EPOLLOUT)
        self._flushing = not done

    def _serve(self) -> None:
        for message, fds in self._requests.pump():
            try:
                handler: Handler = getattr(self, "do_" + message.pop("do"))
                value = handler(message, fds)
                if not isinstance(value, Pending):
                    self.answer(value)
            except Refused as problem:
                self._refuse(problem.kind, str(problem), problem.number)
            except OSError as problem:
                self._refuse("OSError", f"{problem.strerror} ({problem.filename})", problem.errno or 0)
            except Exception as problem:
                self._refuse("HarnessBroken", f"{type(problem).__name__}: {problem}")
            finally:
                for fd in fds:
                    os.close(fd)

    def _refuse(self, kind: str, text: str, number: int = 0) -> None:
        self._requests.send({"problem": kind, "text": text, "errno": number})

    def _reap(self, wake: int, wake_end: int) -> None:
        """Collect the dead, some at a time: a flood of orphans must not keep us from the harness."""
        try:
            while os.read(wake, 4096):
                pass
        except BlockingIOError:
            pass
        if not self._collect_dead(_REAP_AT_ONCE):
            os.write(wake_end, b"\0")

    def _collect_most(self) -> None:
        self._collect_dead(5000)

    def _collect_dead(self, most: int) -> bool:
        """Reap; False if there may be more."""
        for _ in range(most):
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return True
            role = self.processes.ended(pid)
            if role is not None:
                self.child_ended(pid)
                data = {"pid": pid, "returncode": os.waitstatus_to_exitcode(status), "role": role}
                data |= {"user": used.ru_utime, "system": used.ru_stime, "max_rss": used.ru_maxrss * 1024}
                self.emit("exit", data)
            else:
                self.helper_ended(pid, status)
        return False

    def child_ended(self, pid: int) -> None:
        """Hook before an exit is reported."""

    def helper_ended(self, pid: int, status: int) -> None:
        """Hook for children that were not spawned for the harness."""

    # -- requests ---------------------------------------------------------------------------

    def do_spawn(self, message: Message, fds: list[int]) -> int:
        """Start a process; its pid."""
        number = self.processes.next_number(message["role"])
        try:
            pid = launch.launch(message, fds, number, self.filter_for(message, number))
        except launch.CannotRun as problem:
            raise Refused("UsageProblem", str(problem)) from None
        self.processes.started(pid, number)
        self.note_birth(message, pid)
        return pid

    def filter_for(self, message: Message, number: int) -> Callable[[], bool] | None:
        """What the child must call before exec to be supervised."""
        return None

    def do_signal(self, message: Message, fds: list[int]) -> bool:
        """Signal a process or a tree of the sandbox; whether anybody was there."""
        if self.processes.foreign(message["pid"]):
            raise Refused("HarnessBroken", f"signal refused: process {message['pid']} is not of this sandbox")
        if message["tree"]:
            return self.processes.signal_tree(message["pid"], message["signal"])
        return self.processes.signal(message["pid"], message["signal"])

    def do_processes(self, message: Message, fds: list[int]) -> list[dict[str, object]]:
        """``ProcessInfo`` of all."""
        return self.processes.describe()

    def do_socket(self, message: Message, fds: list[int]) -> Pending:
        """A socket of this network namespace."""
        with socket.socket(message["family"], message["type"]) as sock:
            self.answer(None, [sock.fileno()])
        return Pending()

    def do_conceal(self, message: Message, fds: list[int]) -> None:
        """Hide volumes behind empty ones, or show them again; the source's stand-in is read-only."""
        mounts = self._root is not None
        for place in message["places"]:
            if message["hidden"] == (place in self._concealed):
                continue
            if message["hidden"]:
                concealing.conceal(self._volumes[place], mounts=mounts, writable=place != "source")
                self._concealed.add(place)
            else:
                concealing.reveal(self._volumes[place], mounts=mounts)
                self._concealed.discard(place)

    def do_expose(self, message: Message, fds: list[int]) -> None:
        """Show more of the host."""
        for path, real in message["paths"]:
            if self._root is not None:
                self._root.expose(path, real)

    def do_call(self, message: Message, fds: list[int]) -> Pending:
        """Run an operation in a child; its answer arrives through a pipe.

        Its module is imported here, once, and not again in every child.
        """
        from backupchaos.environments import operations

        with suppress(operations.OperationProblem):  # the child says so again
            operations.find(message["operation"])
        return self._fork(
            lambda: operations.run(message["operation"], message["arguments"], fds, roots=self.roots),
            message.get("tag"),
        )

    def in_child(self, task: Callable[[], Any]) -> Pending:
        """Run a long task in a child; its result, or what it raised, is the answer."""

        def answer() -> Message:
            try:
                return {"ok": task()}
            except OSError as problem:
                text = f"{problem.strerror} ({problem.filename})"
                return {"problem": "OSError", "text": text, "errno": problem.errno or 0}
            except Exception as problem:
                text = f"{type(problem).__name__}: {problem}"
                return {"problem": "HarnessBroken", "text": text, "errno": 0}

        return self._fork(answer)

    def _fork(self, answer: Callable[[], Message], tag: int | None = None) -> Pending:
        result, result_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._work(answer, result_end)
        os.close(result_end)
        self.processes.own.add(pid)
        self._workers[result] = bytearray()
        self.watch(result, lambda: self._collect(result, tag))
        return Pending()

    def _work(self, answer: Callable[[], Message], result_end: int) -> None:
        """In the child: never returns."""
        try:
            self.leave_to_child()
            data = json.dumps(answer()).encode()
            with open(result_end, "wb") as pipe:
                pipe.write(data)
        finally:
            os._exit(0)

    def leave_to_child(self) -> None:
        """In a forked helper: drop the harness's sockets and all handlers, die with the agent."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        self._requests.close()
        self._events.close()

    def _collect(self, result: int, tag: int | None) -> None:
        data = self._workers[result]
        chunk = os.read(result, 1 << 20)
        if chunk:
            data += chunk
            return
        self.unwatch(result)
        os.close(result)
        del self._workers[result]
        text = "an operation ended without an answer"
        answer = json.loads(data) if data else {"problem": "HarnessBroken", "text": text, "errno": 0}
        # Who has not waited for it knows by the tag whose answer this is.
        self._requests.send(answer if tag is None else {**answer, "tag": tag})
