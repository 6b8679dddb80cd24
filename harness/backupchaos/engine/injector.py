"""Bringing faults into force and taking them away, each step recorded before it is taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backupchaos.errors import BackupChaosError, HarnessBroken
from backupchaos.faults.base import Fault
from backupchaos.history import History


def newest_first(faults: Iterable[Fault[Any]]) -> list[Fault[Any]]:
    """In the order in which they must be taken away: what came later stands on what was there before."""
    return sorted(faults, key=lambda fault: fault.windows[-1][0] if fault.windows else 0.0, reverse=True)


class Injector:
    """Applies and undoes; what could not be undone is collected, so that every undo is tried."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.failures: list[str] = []

    def apply(self, fault: Fault[Any]) -> None:
        """Apply and verify; raises ``HarnessBroken`` if the fault is not in force then."""
        self._record(fault, "applying")
        fault.begin(self._history.now())
        try:
            detail = fault.apply()
            fault.verify()
        except (BackupChaosError, OSError) as error:
            self._record(fault, "failed", str(error))
            raise HarnessBroken(f"fault {fault.name} could not be applied: {error}") from error
        self._record(fault, "applied", detail)

    def undo(self, fault: Fault[Any]) -> None:
        """Undo and verify; a failure is remembered, not raised."""
        self._record(fault, "undoing")
        fault.end(self._history.now())
        try:
            fault.undo()
            fault.verify_undone()
        except (BackupChaosError, OSError) as error:
            self.failures.append(f"fault {fault.name} could not be undone: {error}")
            self._record(fault, "failed", str(error))
            return
        self._record(fault, "undone")

    def _record(self, fault: Fault[Any], status: str, detail: str = "") -> None:
        self._history.append(
            "fault",
            name=fault.name,
            fault=fault.spec.kind,
            status=status,
            mechanism=fault.mechanism,
            detail=detail,
        )
