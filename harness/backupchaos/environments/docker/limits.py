"""Limits on a container, set through the engine and proved by the kernel's own counters inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backupchaos.environments.base import Controller
from backupchaos.environments.local.cgroups import PERIOD

NO_LIMIT = 1 << 60
"""Bytes. The engine takes "no limit" back for processors and processes, but for memory it wants a number."""


class ContainerGroup:
    """The control group that a container has from the engine, seen through one controller.

    What was in use before (the agent; files on the volumes, which are memory) does not count: limits are
    raised by it. ``path`` is empty, since whatever runs in the container is in the group already.
    """

    path = ""

    def __init__(self, container: Any, ask: Callable[[], Mapping[str, Any]], controller: Controller) -> None:
        self._container = container
        self._ask = ask
        self._controller = controller
        self.mechanism = f"{ask()['mechanism']}, of the container"
        self.limit(None)  # Podman before 5 has no such request

    def limit(self, value: float | None) -> None:
        """Bytes, processes and threads, or a share of one processor; None for no limit."""
        if self._controller == "cpu":
            quota = -1 if value is None else max(1000, int(value * PERIOD))
            self._update(CpuPeriod=PERIOD, CpuQuota=quota)
            return
        number = None if value is None else int(value) + int(self._ask()["used"])
        if self._controller == "pids":
            self._update(PidsLimit=-1 if number is None else number)
        elif number is None:
            self._update(Memory=NO_LIMIT, MemorySwap=NO_LIMIT)
        else:
            self._update(Memory=number, MemorySwap=number)  # what does not fit must not go to the swap either

    def limited(self) -> float | None:
        """The limit that is in force, as the kernel has it."""
        found = self._ask()["limited"]
        return None if found is None else float(found)

    def hits(self) -> int:
        """How often the kernel acted: processes killed, forks refused, periods in which the job had to wait."""
        return int(self._ask()["hits"])

    def _update(self, **limits: int) -> None:
        # The SDK's own ``update`` knows no limit on processes.
        from docker.errors import APIError

        api = self._container.client.api
        try:
            answer = api._post_json(api._url("/containers/{0}/update", self._container.id), data=limits)
            api._raise_for_status(answer)
        except APIError as problem:
            raise OSError(0, f"the engine refuses the limit: {problem.explanation or problem}") from None
