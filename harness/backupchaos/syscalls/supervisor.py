"""The supervisor's loop: many listeners, one thread, a decision for every stopped call.

Runs in a process of its own beside the agent. When it dies, stopped calls end with ENOSYS and
the agent reports that. ``control`` is a channel to the agent: requests in, events and answers out.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from backupchaos.environments.local.channel import Channel, Message
from backupchaos.syscalls.decode import Decoder, group_of
from backupchaos.syscalls.listener import CONTINUE, EMPTY, NOTIFICATION, Listener
from backupchaos.syscalls.rules import Rule, open_is
from backupchaos.syscalls.tables import Call

REPORTS = 1000
"""So many hits of a rule are reported one by one; then only every 1000th, as totals."""


class Supervisor:
    """Serves until the agent is gone."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {control.fileno(): self._requests}
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._rules: dict[str, list[Rule]] = {}
        self._listeners: dict[int, Listener] = {}
        self._held: dict[str, list[tuple[Listener, int]]] = {}
        self._delayed: list[tuple[float, int, Listener]] = []
        self._decoder = Decoder()
        self._buffer = bytearray(EMPTY)
        self._writing = False

    def run(self) -> None:
        """Loop; returns when the agent closes the channel."""
        poll, listeners, answer = self._epoll.poll, self._listeners, self._answer_call
        try:
            while True:
                for fd, events in poll(self._timeout() if self._delayed else -1):
                    listener = listeners.get(fd)
                    if listener is None:
                        if fd == self._control.fileno() and events & select.EPOLLOUT:
                            self._flush()
                        if reader := self._readers.get(fd):
                            reader()
                    elif events & select.EPOLLIN:
                        answer(listener)
                    else:
                        self._detach(listener)
                if self._delayed:
                    self._let_go_late()
        except (EOFError, ConnectionError):
            return

    # -- calls --------------------------------------------------------------------------------

    def _answer_call(self, listener: Listener) -> None:
        buffer = self._buffer
        if not listener.receive(buffer):
            return
        ident, tid, _, number, _, _, *args = NOTIFICATION.unpack(buffer)
        rules = listener.active[number]
        due = self._judge(listener, rules, ident, tid, args) if rules else None
        if due is None:
            listener.answer(ident, flags=CONTINUE)
        elif due.action == "errno":
            listener.answer(ident, due.errno)
        elif due.action == "hold":
            self._held.setdefault(due.name, []).append((listener, ident))
        elif due.action == "delay":
            heapq.heappush(self._delayed, (time.monotonic() + due.delay, ident, listener))
        elif due.action == "kill":
            self._kill(listener, ident, tid)

    def _judge(
        self, listener: Listener, rules: list[tuple[Rule, Call, str]], ident: int, tid: int, args: list[int]
    ) -> Rule | None:
        """Let every armed rule see the call; the first that acts decides, observers always look on."""
        due: Rule | None = None
        paths: list[bytes] | None = None
        for rule, call, kind in rules:
            if due and rule.action != "observe":
                continue
            if paths is None:
                paths = self._decoder.paths(call, tid, args)
            path = rule.match(paths)
            if path is None or (kind and not open_is(kind, self._decoder.open_flags(call, tid, args))):
                continue
            if not rule.sees(self._decoder.size(call, tid, args)):
                continue
            if not listener.waits(ident):  # what we read may be another process's
                rule.matched -= 1
                rule.acted -= 1
                return None
            self._report(rule, call.name, path, tid)
            if rule.action != "observe":
                due = rule
        return due

    def _report(self, rule: Rule, call: str, path: bytes, tid: int) -> None:
        rule.reported += 1
        if rule.reported <= REPORTS or rule.action == "hold":
            try:
                pid = group_of(tid)
            except OSError:
                pid = tid
            data = {"rule": rule.name, "call": call, "path": os.fsdecode(path), "action": rule.action}
            self._tell(
                {
                    "event": "syscall",
                    "t": time.monotonic(),
                    "data": {**data, "ordinal": rule.matched, "pid": pid},
                }
            )
        elif rule.reported % REPORTS == 0:
            self._report_totals(rule)

    def _report_totals(self, rule: Rule) -> None:
        totals = rule.totals()
        text = f"rule {rule.name}: {totals['matched']} calls matched, {rule.action} on {totals['acted']}"
        self._tell(
            {
                "event": "supervisor",
                "t": time.monotonic(),
                "data": {"message": text, "rule": rule.name, **totals},
            }
        )

    def _kill(self, listener: Listener, ident: int, tid: int) -> None:
        """SIGKILL instead of an answer: the call is never made."""
        try:
            handle = os.pidfd_open(group_of(tid))
        except OSError:
            return
        try:
            if listener.waits(ident):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(handle)

    def _release(self, name: str) -> int:
        held = self._held.pop(name, [])
        for listener, ident in held:
            listener.answer(ident, flags=CONTINUE)
        return len(held)

    def _timeout(self) -> float:
        return max(0.0, self._delayed[0][0] - time.monotonic())

    def _let_go_late(self) -> None:
        while self._delayed and self._delayed[0][0] <= time.monotonic():
            _, ident, listener = heapq.heappop(self._delayed)
            listener.answer(ident, flags=CONTINUE)

    # -- the agent ----------------------------------------------------------------------------

    def _requests(self) -> None:
        for message, fds in self._control.pump():
            if message["do"] == "attach":
                self._expect(socket.socket(fileno=fds[0]), [self._rule(rule) for rule in message["rules"]])
            elif message["do"] == "arm":
                self._arm(message["rule"], message["armed"])
                self._tell({"answer": None})
            elif message["do"] == "release":
                self._tell({"answer": self._release(message["rule"])})
            elif message["do"] == "totals":
                self._tell({"answer": {name: self._totals(name) for name in self._rules}})

    def _rule(self, definition: Message) -> Rule:
        """Rules of one name and definition share their counters, whichever process they are seen in."""
        known = self._rules.setdefault(definition["name"], [])
        fresh = Rule(definition)
        for rule in known:
            if rule.definition == fresh.definition:
                return rule
        known.append(fresh)
        return fresh

    def _arm(self, name: str, armed: bool) -> None:
        for rule in self._rules.get(name, ()):
            if rule.armed and not armed and rule.matched:
                self._report_totals(rule)
            rule.arm(armed)
        for listener in self._listeners.values():
            listener.refresh()
        if not armed:
            self._release(name)

    def _totals(self, name: str) -> dict[str, int]:
        sums = {"matched": 0, "acted": 0, "bytes": 0, "held": len(self._held.get(name, ()))}
        for rule in self._rules[name]:
            for key, value in rule.totals().items():
                sums[key] += value
        return sums

    def _expect(self, sock: socket.socket, rules: list[Rule]) -> None:
        """A process about to be supervised will send its listener."""

        def ready() -> None:
            self._forget(sock.fileno())
            with sock:
                _, fds, _, _ = socket.recv_fds(sock, 1, 1)
            for fd in fds:
                self._attach(Listener(fd, rules))

        self._readers[sock.fileno()] = ready
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _attach(self, listener: Listener) -> None:
        listener.wake_quickly()
        self._listeners[listener.fd] = listener
        self._epoll.register(listener.fd, select.EPOLLIN)

    def _detach(self, listener: Listener) -> None:
        """Nobody is left under this filter."""
        del self._listeners[listener.fd]
        self._epoll.unregister(listener.fd)
        for held in self._held.values():
            held[:] = [item for item in held if item[0] is not listener]
        self._delayed = [item for item in self._delayed if item[2] is not listener]
        heapq.heapify(self._delayed)
        listener.close()
        for rule in listener.rules:
            if rule.matched:
                self._report_totals(rule)

    def _forget(self, fd: int) -> None:
        del self._readers[fd]
        self._epoll.unregister(fd)

    def _tell(self, message: dict[str, Any]) -> None:
        self._control.queue(message)
        self._flush()

    def _flush(self) -> None:
        waiting = not self._control.flush()
        if waiting != self._writing:
            self._writing = waiting
            self._epoll.modify(self._control.fileno(), select.EPOLLIN | (select.EPOLLOUT if waiting else 0))
