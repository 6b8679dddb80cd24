"""How a server of ours is told what to do wrong: JSON lines in, events and replies out, on two descriptors.

The descriptors come from the harness, so nobody else can give orders, and the job under test
cannot even see them. When the harness dies its end closes, and so does the server.
"""

from __future__ import annotations

import json
import os
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any

from backupchaos.links.eventlog import EventLog
from backupchaos.services.misdeeds import Misdeeds

CONTROL_FD, EVENTS_FD = 3, 4
_LINE_LIMIT = 1 << 20


class Orders:
    """Reads orders for ``misdeeds`` on ``control_fd`` until it closes, which ends the process."""

    def __init__(self, loop: AbstractEventLoop, control_fd: int, log: EventLog, misdeeds: Misdeeds) -> None:
        os.set_blocking(control_fd, False)
        self._fd = control_fd
        self._log = log
        self._rest = b""
        self._operations: dict[str, Callable[..., dict[str, Any]]] = {
            "impose": misdeeds.impose,
            "lift": misdeeds.lift,
            "status": misdeeds.status,
        }
        loop.add_reader(control_fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._obey(line)
        if len(self._rest) > _LINE_LIMIT:
            os._exit(2)

    def _obey(self, line: bytes) -> None:
        order: dict[str, Any] = {}
        try:
            order = json.loads(line)
            result = self._operations[order.pop("op")](**{k: v for k, v in order.items() if k != "id"})
        except (ValueError, KeyError, TypeError) as error:
            text = f"missing or unknown: {error}" if isinstance(error, KeyError) else str(error)
            self._log.emit("reply", id=order.get("id"), ok=False, error=text)
            return
        self._log.emit("reply", id=order.get("id"), ok=True, result=result)
