"""Bringing faults into force and taking them away, each step recorded before it is taken."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any

from backupchaos.errors import BackupChaosError, HarnessBroken, Unfit
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
        """Apply and verify; raises ``HarnessBroken`` if it is not in force then, ``Unfit`` if it never can be."""
        self._record(fault, "applying")
        fault.begin(self._history.now())
        try:
            detail = fault.apply()
            fault.verify()
        except Exception as error:
            words = self._words(error)
            self._record(fault, "failed", words)
            kind = Unfit if isinstance(error, Unfit) else HarnessBroken
            raise kind(f"fault {fault.name} could not be applied: {words}") from error
        self._record(fault, "applied", detail)

    def undo(self, fault: Fault[Any]) -> None:
        """Undo and verify; a failure of any sort is remembered, not raised.

        Nothing is done to a fault that was due, but never begun because another one could not be applied.
        """
        if not fault.begun:
            return
        self._record(fault, "undoing")
        fault.end(self._history.now())

        def gone() -> None:
            fault.undo()
            fault.verify_undone()

        problem = self.attempt(f"fault {fault.name} could not be undone", gone)
        fault.went(self._history.now())
        self._record(fault, "undone" if problem is None else "failed", problem or "")

    def attempt(self, complaint: str, step: Callable[[], object]) -> str | None:
        """Do something without which others must still be undone; what went wrong, None if nothing did."""
        try:
            step()
        except Exception as error:
            words = self._words(error)
            self.failures.append(f"{complaint}: {words}")
            return words
        return None

    def _words(self, error: Exception) -> str:
        """What is not an error of ours or the system's is a defect of the harness: its traceback is kept."""
        if isinstance(error, BackupChaosError | OSError):
            return str(error)
        self._history.append("crash", traceback="".join(traceback.format_exception(error)))
        return f"a defect of the harness, {type(error).__name__}: {error}"

    def _record(self, fault: Fault[Any], status: str, detail: str = "") -> None:
        self._history.append(
            "fault",
            name=fault.name,
            fault=fault.spec.kind,
            status=status,
            mechanism=fault.mechanism,
            detail=detail,
        )
