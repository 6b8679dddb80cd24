"""What other services were told of the jobs, asked by the harness itself, past the link."""

from __future__ import annotations

from dataclasses import replace

from backupchaos.engine.world import World
from backupchaos.targets.base import Target, tier_variables

PATIENCE = 30.0
"""Seconds for an answer: the faults are over when it is asked for."""
SUCCESS = "SUCCESS"


class TierRecords:
    """Asks after each job which jobs a service knows, where the target can say how; what is new is that job's."""

    def __init__(self, world: World, target: Target) -> None:
        self._world, self._target = world, target
        self._known: dict[str, set[str]] = {name: set() for name in world.tiers}

    def report(self, job: str) -> list[str]:
        """Put what each service says of the job into the history.

        Returns, for each that does not call it a success, why not.
        """
        doubts = []
        for name in self._world.tiers:
            asked = self._ask(name)
            if asked is None:
                continue
            jobs, problem = asked
            fresh = [state for one, state in jobs if one not in self._known[name]]
            self._known[name] |= {one for one, _ in jobs}
            # A second job of the same tool may run beside it: one success among theirs may be this one's.
            state = SUCCESS if SUCCESS in fresh else fresh[-1] if fresh else None
            self._world.history.append("told", job=job, service=name, state=state, problem=problem)
            if problem or state != SUCCESS:
                doubts.append(f"{name} {problem or (f'says {state}' if state else 'knows nothing of it')}")
        return doubts

    def _ask(self, name: str) -> tuple[list[tuple[str, str]], str] | None:
        """(jobs, oldest first, and what is wrong with the answer); None if the target cannot say how to ask."""
        direct = {other: server.direct for other, server in self._world.tiers.items()}
        command = self._target.recorded(replace(self._world.workspace, services=direct), name)
        if command is None:
            return None
        variables = tier_variables(direct)
        # In containers where the database is: its own client is there, and need not be in the target's image.
        shape = self._world.tiers[name].shape
        done = self._world.run(command, what=f"jobs in {name}", timeout=PATIENCE, env=variables, **shape)
        if not done.ok:
            return [], f"could not be asked (exit {done.returncode}): {done.output.strip()[-300:]}"
        try:
            return self._target.parse_recorded(done), ""
        except ValueError as error:
            return [], f"gave an answer that is not understood: {error}"
