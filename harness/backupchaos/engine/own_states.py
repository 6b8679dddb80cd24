"""A target that keeps states of its own is asked for those of a job."""

from __future__ import annotations

import time

from backupchaos.engine.world import World
from backupchaos.model.expectations import TRANSITIONS
from backupchaos.targets.base import Target


class OwnStates:
    """Asks before and after the job under judgement: what was there before is another job's."""

    def __init__(self, world: World, target: Target) -> None:
        self._world, self._target = world, target
        self._before: list[tuple[str, float]] | None = None

    def remember(self) -> None:
        """The newest job's states, before the job under judgement starts."""
        self._before = self._ask()

    def report(self, job: str) -> None:
        """Put the job's states into the history; none, if it ended before it had written down any."""
        changes = self._ask()
        if changes is None:
            return
        if changes == self._before:
            self._world.history.append("note", text="the job has recorded no state of its own")
            return
        offset = time.time() - self._world.history.now()
        for state, when in changes:
            self._world.history.append(
                "state",
                job=job,
                state=state if state in TRANSITIONS else str(state)[:40],
                source="job",
                entered=round(when - offset, 3),
            )

    def _ask(self) -> list[tuple[str, float]] | None:
        command = self._target.states(self._world.workspace)
        if command is None:
            return None
        done = self._world.run(command, what="states")
        try:
            return self._target.parse_states(done)
        except ValueError as error:
            self._world.history.append("note", text=f"the job's states were not understood: {error}")
            return None
