"""A job's own states are its own: not those of the job before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backupchaos.commands import Command, Completed
from backupchaos.engine.own_states import OwnStates
from backupchaos.history import History
from backupchaos.targets.base import BaseTarget


class Keeper(BaseTarget):
    """Prints the transitions of its newest job."""

    def states(self, work: Any) -> Command:
        return Command(("status",))

    def parse_states(self, done: Completed) -> list[tuple[str, float]]:
        return [(state, when) for state, when in json.loads(done.stdout)]


class World:
    """Answers with what is put into ``newest``."""

    workspace = None

    def __init__(self, folder: Path) -> None:
        self.history = History(folder / "history.jsonl")
        self.newest: Any = []

    def run(self, command: Command, *, what: str) -> Completed:
        assert (command.argv, what) == (("status",), "states")
        text = self.newest if isinstance(self.newest, str) else json.dumps(self.newest)
        return Completed(command, 0, text, "", 0.1)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.history.close()


def asking(world: Any, target: Any) -> OwnStates:
    return OwnStates(world, target)


def reported(world: Any) -> list[str]:
    return [event["state"] for event in world.history.of("state")]


def test_a_job_that_recorded_its_states(world: Any) -> None:
    states = asking(world, Keeper())
    world.newest = [("PENDING", 1.0), ("SUCCESS", 2.0)]
    states.remember()
    world.newest = [("PENDING", 3.0), ("FAILED", 4.0)]
    states.report("fault")
    assert reported(world) == ["PENDING", "FAILED"]


def test_the_states_of_the_job_before_are_not_taken_for_its_own(world: Any) -> None:
    states = asking(world, Keeper())
    world.newest = [("PENDING", 1.0), ("SUCCESS", 2.0)]
    states.remember()
    states.report("fault")
    assert reported(world) == []
    assert "no state of its own" in next(iter(world.history.of("note")))["text"]


def test_what_is_not_understood_is_noted(world: Any) -> None:
    states = asking(world, Keeper())
    states.remember()
    world.newest = "nonsense"
    states.report("fault")
    assert reported(world) == []
    assert "not understood" in next(iter(world.history.of("note")))["text"]


def test_a_target_without_states_is_not_asked(world: Any) -> None:
    states = asking(world, BaseTarget())
    states.remember()
    states.report("fault")
    assert not list(world.history.of("note"))
