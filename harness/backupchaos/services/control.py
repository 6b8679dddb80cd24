"""The harness's end of ``orders``: telling a gate or a server what to do wrong, and hearing what it did."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import backupchaos
from backupchaos.commands import Command
from backupchaos.errors import HarnessBroken
from backupchaos.services.misdeeds import What
from backupchaos.services.orders import CONTROL_FD, EVENTS_FD

TIMEOUT = 10.0
START_TIMEOUT = 30.0

Handed = Sequence[tuple[int, int]]
"""Descriptors to hand over: (the harness's, its number inside)."""


class ServiceControl:
    """Orders to one process that answers requests, and its events.

    ``on_event`` gets every event as it arrives (``ev``, ``t`` in ``time.monotonic``). The process may end
    and be started anew (``connect``): what is in force then is imposed on the new one too.
    """

    def __init__(
        self, name: str, can: frozenset[What], on_event: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.name = name
        """What obeys, in words: ``gate in front of rclone serve s3``."""
        self.can = can
        self.ready: dict[str, Any] = {}
        self._on_event = on_event
        self._control = self._events = -1
        self._rest = b""
        self._ids = itertools.count(1)
        self._replies: dict[int, dict[str, Any]] = {}
        self._imposed: dict[str, dict[str, Any]] = {}
        self._ended = True
        self._broken = ""

    def connect(self, start: Callable[[Handed], int]) -> int:
        """Have ``start`` start the process with these descriptors; its pid, once it has said ``ready``.

        Raises ``HarnessBroken`` when it ends or stays silent instead.
        """
        self.close()
        control_in, self._control = os.pipe()
        self._events, events_out = os.pipe()
        os.set_blocking(self._events, False)
        self._rest, self._ended, self.ready = b"", False, {}
        try:
            pid = start(((control_in, CONTROL_FD), (events_out, EVENTS_FD)))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(control_in)
            os.close(events_out)
        self._wait(lambda: bool(self.ready), START_TIMEOUT, "start")
        for name, settings in self._imposed.items():
            self._request("impose", name=name, **settings)
        return pid

    def fileno(self) -> int:
        """Readable when ``poll`` has something to do; another one after each ``connect``."""
        return self._events

    @property
    def alive(self) -> bool:
        """Whether the process holds its end."""
        self._read()
        return not self._ended

    def poll(self) -> None:
        """Take what has arrived. Raises ``HarnessBroken`` if the process made a mistake of its own."""
        self._read()
        if self._broken:
            raise HarnessBroken(f"the {self.name} failed by itself: {self._broken}")

    def impose(self, name: str, what: What, **settings: Any) -> float:
        """Bring a misdeed into force; when that was, in ``time.monotonic``. See ``misdeeds.Misdeed``."""
        self._imposed[name] = {"what": what, **settings}
        if not self.alive:  # killed by another fault: the next one will be told
            return time.monotonic()
        return float(self._request("impose", name=name, what=what, **settings)["t"])

    def lift(self, name: str) -> dict[str, Any]:
        """End it; when it ended (``t``), and what it did in all, unless the process is gone and the count with it."""
        self._imposed.pop(name, None)
        return self._request("lift", name=name) if self.alive else {"t": time.monotonic()}

    def status(self) -> dict[str, Any]:
        """``requests`` so far, and what is ``active`` with its counts, as the process itself knows it."""
        return self._request("status") if self.alive else {"requests": 0, "active": self._imposed}

    def close(self) -> None:
        """Let go; the process ends with its control descriptor. Idempotent."""
        for fd in (self._control, self._events):
            if fd >= 0:
                os.close(fd)
        self._control = self._events = -1
        self._ended = True

    def _request(self, op: str, **arguments: Any) -> dict[str, Any]:
        key = next(self._ids)
        line = json.dumps({"id": key, "op": op, **arguments}).encode() + b"\n"
        try:
            os.write(self._control, line)  # far below the size of a pipe
        except OSError:
            raise HarnessBroken(f"the {self.name} is gone and cannot be told {op!r}") from None
        self._wait(lambda: key in self._replies, TIMEOUT, op)
        reply = self._replies.pop(key)
        if not reply["ok"]:
            raise HarnessBroken(f"the {self.name} refuses {op} {arguments}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    def _wait(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise HarnessBroken(f"the {self.name} did not answer {what!r} within {timeout:g} s")
            poll.poll(left * 1000)
            self._read()
            if self._ended and not done():
                raise HarnessBroken(f"the {self.name} ended during {what!r}")

    def _read(self) -> None:
        while not self._ended:
            try:
                data = os.read(self._events, 1 << 20)
            except BlockingIOError:
                return
            if not data:
                self._ended = True
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        if event["ev"] == "reply":
            self._replies[event["id"]] = event
        elif event["ev"] == "ready":
            self.ready = event
        elif event["ev"] == "broken":
            self._broken = str(event["error"])
        else:
            self._on_event(event)


def gate_command(upstream: int, dialect: str, seed: int) -> Command:
    """The gate as a program; h11 and ourselves are all that it needs on its path."""
    spec = importlib.util.find_spec("h11")
    assert spec is not None and spec.origin is not None
    roots = [Path(backupchaos.__file__).parent.parent, Path(spec.origin).parent.parent]
    argv = [sys.executable, "-P", "-S", "-m", "backupchaos.services.gate"]
    argv += ["--upstream", str(upstream), "--dialect", dialect, "--seed", str(seed)]
    return Command(tuple(argv), env={"PYTHONPATH": os.pathsep.join(map(str, roots))})
