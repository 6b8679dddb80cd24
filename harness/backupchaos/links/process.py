"""The harness's end of ``linkd``: start it in a sandbox, give orders, collect its events."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import select
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backupchaos
from backupchaos.commands import Command
from backupchaos.environments.base import Sandbox
from backupchaos.errors import HarnessBroken, UsageProblem
from backupchaos.links.model import LinkEvent

TIMEOUT = 5.0
_CONTROL_FD, _EVENTS_FD = 3, 4
_START_TIMEOUT = 15.0


class Refused(UsageProblem):
    """It does not carry out an order; ``reason`` is its own words."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what + reason)
        self.reason = reason


class LinkProcess:
    """One ``linkd``. ``fileno`` is readable whenever ``events`` has something to return."""

    def __init__(self, sandbox: Sandbox, seed: int, observe: Callable[[LinkEvent], None]) -> None:
        self._observe = observe
        self._queue: deque[LinkEvent] = deque()
        self._rest = b""
        self._ids = itertools.count(1)
        self._replies: dict[int, dict[str, Any]] = {}
        self._ready: dict[str, Any] = {}
        self._ended = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        control_in, self._control = os.pipe()
        self._events, events_out = os.pipe()
        os.set_blocking(self._events, False)
        # Events that arrive while a request waits sit in our queue, where select cannot see them.
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._events, select.EPOLLIN)
        self._poll.register(self._wakeup, select.EPOLLIN)
        try:
            self.pid = sandbox.spawn(
                self._command(seed, isolated="network" in sandbox.capabilities),
                role="link",
                stderr=self._stderr.fileno(),
                pass_fds=((control_in, _CONTROL_FD), (events_out, _EVENTS_FD)),
            )
        except BaseException:
            self.close()
            raise
        finally:
            os.close(control_in)
            os.close(events_out)
        try:
            self._wait(lambda: bool(self._ready), _START_TIMEOUT, "start")
        except BaseException:
            self.close()
            raise
        self.api_port = int(self._ready["api"])

    @staticmethod
    def _command(seed: int, *, isolated: bool) -> Command:
        # -S skips the .pth files of site-packages, which can cost more than all our own imports; the two
        # folders that are needed are named instead. -P keeps the working folder out of the path.
        spec = importlib.util.find_spec("h11")
        assert spec is not None and spec.origin is not None
        roots = [Path(backupchaos.__file__).parent.parent, Path(spec.origin).parent.parent]
        argv = [sys.executable, "-P", "-S", "-m", "backupchaos.links.linkd"]
        argv += ["--events-fd", str(_EVENTS_FD), "--control-fd", str(_CONTROL_FD), "--seed", str(seed)]
        return Command(
            (*argv, *(["--isolated"] if isolated else [])),
            env={"PYTHONPATH": os.pathsep.join(map(str, roots))},
        )

    def fileno(self) -> int:
        """For the engine's selector."""
        return self._poll.fileno()

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Give an order and wait for its answer; events that come meanwhile are kept.

        Raises ``Refused`` when it refuses the order, ``HarnessBroken`` when it does not answer.
        """
        key = next(self._ids)
        line = json.dumps({"id": key, "op": op, **arguments}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._control, line) :]
        except OSError:
            raise HarnessBroken(self._obituary(op)) from None
        self._wait(lambda: key in self._replies, TIMEOUT, op)
        reply = self._replies.pop(key)
        if not reply["ok"]:
            raise Refused(f"link order {op} {arguments}: ", reply["error"])
        return reply

    def events(self) -> list[LinkEvent]:
        """What happened since the last call; never blocks.

        Raises ``HarnessBroken`` when the process has died, after its last events: without it no
        link works, and nothing that the target does then is the target's fault.
        """
        self._read()
        found = list(self._queue)
        self._queue.clear()
        try:
            os.eventfd_read(self._wakeup)
        except BlockingIOError:
            pass
        if self._ended:
            if not found:
                raise HarnessBroken(self._obituary("run"))
            os.eventfd_write(self._wakeup, 1)
        return found

    def pump(self) -> None:
        """Read what has arrived without handing it out yet."""
        self._read()
        if self._queue:
            os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """The process ends with its control descriptor; idempotent."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
            self._poll.close()
            os.close(self._events)
            os.close(self._wakeup)
            self._stderr.close()

    def _wait(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise HarnessBroken(f"the link process did not answer {what!r} within {timeout:g} s")
            poll.poll(left * 1000)
            self._read()
            if self._ended and not done():
                raise HarnessBroken(self._obituary(what))
        if self._queue:
            os.eventfd_write(self._wakeup, 1)

    def _read(self) -> None:
        while not self._ended:
            try:
                data = os.read(self._events, 1 << 20)
            except BlockingIOError:
                return
            if not data:
                self._ended = True
                self._poll.unregister(self._events)
                os.eventfd_write(self._wakeup, 1)
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["ev"] == "reply":
            self._replies[line["id"]] = line
        elif line["ev"] == "ready":
            self._ready = line
        else:
            event = LinkEvent.parse(line)
            self._observe(event)
            self._queue.append(event)

    def _obituary(self, what: str) -> str:
        self._stderr.seek(0)
        text = self._stderr.read().decode("utf-8", "backslashreplace").strip()
        return f"the link process ended during {what!r}" + (f": {text[-2000:]}" if text else "")
