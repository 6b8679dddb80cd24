"""Waiting before an answer, until the time is over or the server is quick again."""

from __future__ import annotations

import asyncio
import contextlib

from backupchaos.services.misdeeds import Decision, Misdeed, Misdeeds


class Lateness:
    """Holds answers back for as long as decisions say; what waits goes out at once when the order is lifted."""

    def __init__(self, misdeeds: Misdeeds) -> None:
        self._over = asyncio.Event()
        misdeeds.changed.append(self._changed)

    def _changed(self, misdeed: Misdeed, in_force: bool) -> None:
        if misdeed.what == "slow" and not in_force:
            self._over.set()
            self._over = asyncio.Event()

    async def wait(self, decision: Decision) -> None:
        """Return when the answer to this request may go out."""
        if decision.delay > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), decision.delay)
