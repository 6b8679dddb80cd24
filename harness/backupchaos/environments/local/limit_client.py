"""The harness's side of limits: control groups, a slow processor, what a process was born with."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from backupchaos.environments.base import Controller
from backupchaos.environments.local.cgroups import Group, Groups


class LimitClient(ABC):
    """Part of ``LocalSandbox``."""

    _groups: Groups | None = None

    @abstractmethod
    def _ask(self, what: str, fds: Sequence[int] = (), **arguments: Any) -> Any: ...

    def birth(self, pid: int) -> Mapping[str, Any]:
        """What ``/proc`` said of a process of the target right after its exec; see ``local.birth``."""
        return dict(self._ask("birth", pid=pid))

    def throttle(self, share: float | None) -> int:
        """Let the target's processes run this share of the time only, by stopping them; None ends it.

        Returns how often they were stopped, when it ends.
        """
        return int(self._ask("throttle", share=share))

    def control_group(self, controller: Controller) -> Group:
        """A control group for the job, without a limit so far; raises ``MissingCapability`` with the reason.

        There is one of a kind; it goes with the sandbox.
        """
        if self._groups is None:
            self._groups = Groups()
        return self._groups.of(controller)

    def _joining(self, groups: str | None) -> list[int]:
        """Descriptors through which a child joins the groups; the caller closes them."""
        found: list[int] = []
        for path in (groups or "").split("\n"):
            if path:
                found.append(os.open(os.path.join(path, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC))
        return found

    def _release_groups(self) -> None:
        """Remove them; all their members must have ended."""
        if self._groups is not None:
            self._groups.close()
            self._groups = None
