"""The supervisor's loop: many listeners, one thread, a decision for every stopped call.

Runs in a process of its own beside the agent. When it dies, stopped calls end with ENOSYS and
the agent reports that. ``control`` is a channel to the agent: requests in, events and answers out.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence

from backupchaos.environments.local.channel import Channel, Message
from backupchaos.syscalls.acts import Acts, Due
from backupchaos.syscalls.decode import Decoder
from backupchaos.syscalls.execs import Execs
from backupchaos.syscalls.listener import CONTINUE, EMPTY, NOTIFICATION, Listener
from backupchaos.syscalls.parking import Parking, Stopped
from backupchaos.syscalls.reports import Reports
from backupchaos.syscalls.rules import Rule, open_is
from backupchaos.syscalls.tables import Call

Entry = tuple[Rule, Call, str]
"""A rule, a call that it names, and the kind of open that it means."""
KILLABLE, INTERRUPTIBLE = b"k", b"i"
"""What a process says when it hands over its listener: whether signals abort its stopped calls."""
IN_ITS_STEAD = ("short", "clock")
"""Actions that may turn out to be impossible; they are reported when they are done."""


class Supervisor:
    """Serves until the agent is gone."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._watch(control.fileno(), self._requests)
        self._rules: dict[str, list[Rule]] = {}
        self._listeners: dict[int, Listener] = {}
        self._decoder = Decoder()
        self._parking = Parking(self._go_on)
        self._reports = Reports(control, self._epoll)
        self._acts = Acts(self._decoder.memory, self._reports)
        self._execs: Execs | None = None
        self._buffer = bytearray(EMPTY)

    def run(self) -> None:
        """Loop; returns when the agent closes the channel."""
        poll, listeners, answer = self._epoll.poll, self._listeners, self._answer_call
        parking, reports = self._parking, self._reports
        try:
            while True:
                ready = poll(_sooner(parking.timeout(), reports.timeout()))
                if not ready:
                    reports.send()
                for fd, events in ready:
                    listener = listeners.get(fd)
                    if listener is None:
                        if fd == self._control.fileno() and events & select.EPOLLOUT:
                            self._reports.flush()
                        if reader := self._readers.get(fd):
                            reader()
                    elif events & select.EPOLLIN:
                        answer(listener)
                    else:
                        self._detach(listener)
                parking.look()
        except (EOFError, ConnectionError):
            return

    # -- calls --------------------------------------------------------------------------------

    def _answer_call(self, listener: Listener) -> None:
        buffer = self._buffer
        if not listener.receive(buffer):
            return
        ident, tid, _, number, _, _, *args = NOTIFICATION.unpack(buffer)
        if not listener.killable and self._parking.comes_again(Stopped(listener, ident, tid, number, args)):
            return
        rules = listener.active[number]
        due = self._judge(listener, rules, ident, tid, args) if rules else None
        if due is None:
            if number in listener.execs:
                self._go_on(Stopped(listener, ident, tid, number, args))
            else:
                listener.answer(ident, flags=CONTINUE)
            return
        self._act(Stopped(listener, ident, tid, number, args), due, rules)

    def _act(self, stopped: Stopped, due: Due, rules: Sequence[Entry]) -> None:
        """Do with a call what the rule says that decides; ``rules`` are those that have looked at it."""
        listener, ident, tid, args = stopped.listener, stopped.ident, stopped.tid, stopped.every
        rule = due[0]
        if rule.action == "errno":
            listener.answer(ident, rule.errno)
        elif rule.action == "kill":
            self._acts.kill(listener, ident, tid, due)
        elif rule.action == "short":
            self._acts.shorten(listener, ident, tid, args, due)
        elif rule.action == "clock":
            self._acts.tell_time(listener, ident, tid, args, due)
        elif rule.action == "hold":
            stopped.seen |= _have_looked(rules, rule)
            self._parking.hold(rule.name, stopped)
        else:
            stopped.seen.clear()
            self._parking.delay(rule.delay, stopped)

    def _go_on(self, stopped: Stopped) -> None:
        """Let a call be made; one that was held meets the rules that were armed meanwhile."""
        listener = stopped.listener
        if stopped.seen:
            rules = [entry for entry in listener.active[stopped.number] if id(entry[0]) not in stopped.seen]
            due = self._judge(listener, rules, stopped.ident, stopped.tid, stopped.every)
            if due is not None:
                self._act(stopped, due, rules)
                return
        if stopped.number in listener.execs and self._execs is not None:
            self._execs.let_go(stopped)
        else:
            listener.answer(stopped.ident, flags=CONTINUE)

    def _judge(
        self, listener: Listener, rules: Sequence[Entry], ident: int, tid: int, args: list[int]
    ) -> Due | None:
        """Let every armed rule see the call; the first that acts decides, observers always look on."""
        due: Due | None = None
        paths: list[bytes] = []
        seen: Call | None = None
        for rule, call, kind in rules:
            if due and rule.action != "observe":
                continue
            if call is not seen:  # a copy names another file to who means its reading side
                paths, seen = self._decoder.paths(call, tid, args), call
            path = rule.match(paths)
            if path is None or (kind and not open_is(kind, self._decoder.open_flags(call, tid, args))):
                continue
            if rule.condition and not rule.condition(self._decoder, call, tid, args, rule.size):
                continue
            size = self._decoder.size(call, tid, args)
            if not listener.waits(ident):  # what we read may be another process's
                return None
            if rule.action == "clock" and "clock" not in call.families:
                due = rule, call, path  # a deadline, which is no reading
                continue
            if not rule.sees(size, call.reserves):
                continue
            if rule.action not in IN_ITS_STEAD:
                self._reports.hit(rule, call.name, path, tid)
            if rule.action != "observe":
                due = rule, call, path
        return due

    # -- the agent ----------------------------------------------------------------------------

    def _requests(self) -> None:
        for message, fds in self._control.pump():
            if message["do"] == "attach":
                rules = [self._rule(rule) for rule in message["rules"]]
                self._expect(socket.socket(fileno=fds[0]), rules, message["execs"])
            elif message["do"] == "arm":
                self._arm(message["rule"], message["armed"])
                self._reports.answer(None)
            elif message["do"] == "release":
                self._reports.answer(self._parking.release(message["rule"]))
            elif message["do"] == "catch up":
                self._reports.caught_up()
            elif message["do"] == "totals":
                self._reports.answer({name: self._totals(name) for name in self._rules})

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
                self._reports.totals(rule)
            rule.arm(armed)
        for listener in self._listeners.values():
            listener.refresh()
        if not armed:
            self._parking.release(name)

    def _totals(self, name: str) -> dict[str, int]:
        sums = {"matched": 0, "acted": 0, "bytes": 0, "held": self._parking.held(name), "armed": 0}
        for rule in self._rules[name]:
            sums["armed"] += rule.armed
            for key, value in rule.totals().items():
                sums[key] += value
        return sums

    def _expect(self, sock: socket.socket, rules: list[Rule], execs: list[int]) -> None:
        """A process about to be supervised will send its listener."""
        if execs and self._execs is None:
            self._execs = Execs(self._decoder.memory, self._reports.uncovered)
            self._watch(self._execs.fileno(), self._execs.look)

        def ready() -> None:
            self._unwatch(sock.fileno())
            with sock:
                note, fds, _, _ = socket.recv_fds(sock, 1, 1)
            for fd in fds:
                self._attach(Listener(fd, rules, execs, killable=note == KILLABLE))

        self._watch(sock.fileno(), ready)

    def _attach(self, listener: Listener) -> None:
        listener.wake_quickly()
        self._listeners[listener.fd] = listener
        self._epoll.register(listener.fd, select.EPOLLIN)

    def _detach(self, listener: Listener) -> None:
        """Nobody is left under this filter."""
        del self._listeners[listener.fd]
        self._epoll.unregister(listener.fd)
        self._parking.forget(listener)
        listener.close()
        for rule in listener.rules:
            if rule.matched:
                self._reports.totals(rule)

    def _watch(self, fd: int, reader: Callable[[], None]) -> None:
        self._readers[fd] = reader
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        del self._readers[fd]
        self._epoll.unregister(fd)


def _have_looked(rules: Sequence[Entry], decides: Rule) -> set[int]:
    """By identity: those before the one that decides, itself, and observers; the others have not seen the call yet."""
    before = True
    looked = set()
    for rule, _, _ in rules:
        if before or rule.action == "observe":
            looked.add(id(rule))
        before = before and rule is not decides
    return looked


def _sooner(one: float, other: float) -> float:
    """Of two timeouts the shorter; -1 is none."""
    return min(one, other) if one >= 0 and other >= 0 else max(one, other)
