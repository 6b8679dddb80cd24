"""The ``plain`` mechanism, for machines that refuse namespaces: a private directory and a subreaper.

Two processes: the first is the system call supervisor and an ancestor of all others (where Yama
restricts ptrace to ancestors, it may still read their memory); its child is the agent. Either
cleans up when the other is killed; the journal covers the death of both. What this cannot do:
sizes, a network of its own, a read-only host.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from backupchaos.environments.local import journal, kernel, landlock
from backupchaos.environments.local.channel import Channel, Message, pair
from backupchaos.environments.local.processes import below, send, table
from backupchaos.environments.local.supervised import SupervisedServer


def serve(requests: Channel, events: Channel, config: Mapping[str, Any], watch: int) -> None:
    """Be a plain sandbox until the harness is gone, then leave nothing."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    try:
        journal.heal(folder=config["folder"])
        folder = journal.place(config["folder"])
        book = journal.Journal(folder, secrets.token_hex(16), config["harness"])
        book.make_root()
    except OSError as problem:
        requests.send({"failed": problem.filename, "errno": problem.errno, "text": str(problem)})
        return
    ours, theirs = pair()
    pid = os.fork()
    if pid == 0:
        try:
            theirs.close()
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            _agent((requests, events), config, book, (watch, ours))
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            _clean(folder, book.token)
            os._exit(0)
    ours.close()
    requests.close()
    events.close()
    try:
        from backupchaos.syscalls.supervisor import Supervisor

        Supervisor(Channel(theirs)).run()  # returns when the agent is gone
    finally:
        _clean(folder, book.token)


def _agent(
    channels: tuple[Channel, Channel],
    config: Mapping[str, Any],
    book: journal.Journal,
    ends: tuple[int, socket.socket],
) -> None:
    requests, events = channels
    watch, control = ends
    book.alive(os.getpid())
    paths = {name: os.path.join(book.root, name) for name in config["volumes"]}
    for path in paths.values():
        os.mkdir(path, 0o755)
    requests.send(
        {"ready": os.getpid(), "paths": paths, "token": book.token, "folder": os.path.dirname(book.root)}
    )
    server = PlainServer(requests, events, None, paths, config["writable"])
    server.prepare(control, book.token)
    server.watch(watch, _harness_gone)
    server.run()


def _harness_gone() -> None:
    raise EOFError("the harness is gone")


class PlainServer(SupervisedServer):
    """Marks every process with the run's token, and has its supervisor from the start."""

    def prepare(self, control: socket.socket, token: str) -> None:
        """Take the supervisor's channel and the run's token."""
        self._token = token
        self.use_supervisor(control)

    def do_spawn(self, message: Message, fds: list[int]) -> int:
        """Start a process that carries the token."""
        message["env"][journal.RUN_MARK] = self._token
        return super().do_spawn(message, fds)

    def leave_to_child(self) -> None:
        """Nothing but the kernel can hold an operation to the run's folder when the job swaps it for a link."""
        super().leave_to_child()
        landlock.write_only_below(self.roots)


def _clean(folder: str, token: str) -> None:
    """End all descendants, whoever adopted them, and undo the journal."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        processes = table()
        members = below(processes, [os.getpid()]) - {os.getpid()}
        if not members:
            break
        for pid in members:
            send(processes[pid], signal.SIGKILL)
        _reap()
    _reap()
    journal.heal_run(folder, token, mine=True)
    try:
        os.rmdir(folder)  # noqa: PTH106 - heavy imports are for others
    except OSError:
        pass  # other runs use it


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
