"""The agent's side of the requests about how the target's processes live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backupchaos.environments.local.birth import certificate
from backupchaos.environments.local.channel import Message
from backupchaos.environments.local.processes import Registry
from backupchaos.environments.local.throttling import Throttle


class ProcessRequests:
    """Part of ``Server``."""

    processes: Registry
    watch: Callable[[int, Callable[[], None]], None]
    unwatch: Callable[[int], None]
    _throttle: Throttle | None = None

    def note_birth(self, message: Message, pid: int) -> None:
        """Look at a process of the target that has just been started."""
        if message["role"] == "target":
            self.processes.born[pid] = certificate(pid)

    def do_birth(self, message: Message, fds: list[int]) -> dict[str, Any]:
        """What was seen of a process of the target at its start."""
        return self.processes.born.get(message["pid"], {})

    def do_throttle(self, message: Message, fds: list[int]) -> int:
        """Begin a duty cycle, or end it; how often processes were stopped."""
        if self._throttle is None:
            self._throttle = Throttle(self.processes, self.watch, self.unwatch)
        if message["share"] is None:
            return self._throttle.end()
        self._throttle.begin(message["share"])
        return 0
