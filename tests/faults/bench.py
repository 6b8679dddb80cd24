"""One fault, one command in place of a backup job, and the engine's own machinery in between.

The command is any program: a few lines that read, write, lock or connect, or a real tool.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupchaos.commands import Command, Completed
from backupchaos.engine.options import RunOptions
from backupchaos.engine.phases import Phases
from backupchaos.engine.prepare import make_world
from backupchaos.engine.world import World
from backupchaos.environments.base import Environment, Place
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.faults.base import Fault, Ground
from backupchaos.history import Event, History
from backupchaos.model.scenario import Scenario
from backupchaos.results import JobResult
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.targets.base import BaseTarget, Profile, Target, Workspace

SMALL = {"files": 12, "size": 256 * 1024, "new": 128 * 1024, "change": 0.5, "names": "portable"}


class Probe(BaseTarget):
    """A target whose job is one command line; ``{source}``, ``{repository}``, ``{cache}``, ``{temp}``,
    ``{state}``, ``{host}``, ``{port}`` and ``{password}`` are filled in."""

    name = "probe"
    profile = Profile(
        speaks=("local", "sftp", "s3", "rest", "webdav"),
        aspects=frozenset({"content"}),
        features=frozenset(),
        history=False,
    )

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.argv, self.env = tuple(argv), dict(env or {})

    def version(self) -> Command:
        return Command((sys.executable, "--version"))

    def backup(self, work: Workspace) -> Command:
        known = {
            "source": work.source,
            "repository": work.location.path,
            "cache": work.cache,
            "temp": work.temp,
            "state": work.state,
            "host": work.location.host,
            "port": str(work.location.port),
            "password": work.password,
        }
        argv = []
        for word in self.argv:
            for key, value in known.items():
                word = word.replace("{" + key + "}", value)
            argv.append(word)
        return Command(tuple(argv), self.env)

    def restore(self, work: Workspace, snapshot: str) -> Command:
        return Command(("true",))


def python(code: str) -> tuple[str, ...]:
    """A job in a few lines of Python; the place words of ``Probe`` work inside."""
    return (sys.executable, "-c", code)


@dataclass
class Tried:
    """What came of it."""

    job: JobResult
    lines: list[str]
    events: Sequence[Event]
    proof: list[str]
    strays: list[str]
    fault: Fault[Any]

    @property
    def returncode(self) -> int | None:
        return self.job.returncode


class Bench:
    """A world with one fault."""

    def __init__(self, world: World, scenario: Scenario, target: Target, seed: int) -> None:
        self.world = world
        ground = Ground(
            sandbox=world.sandbox,
            history=world.history,
            seed=seed,
            source=world.path(Place.SOURCE),
            repository=world.path(Place.REPOSITORY),
            link=world.link,
            tiers={name: server.link for name, server in world.tiers.items()},
            means=world,
            target=target,
            workspace=world.workspace,
        )
        self.ground = ground
        self.phases = Phases(world, target, scenario, seed, ground)
        self.phases.make_faults()
        self.fault = self.phases.faults["fault"]

    def go(self) -> Tried:
        """Change the source, run the command under the fault, undo it, and ask for its proof."""
        self.phases.oracle.scan("M1", self.world.path(Place.SOURCE))
        self.phases.change()
        job = self.phases.fault()
        history = self.world.history
        lines = [e["text"] for e in history.of("log") if e["job"] == "fault"]
        return Tried(job, lines, history.events, self.fault.bite(), self.fault.strays(), self.fault)

    def run(self, *argv: str) -> Completed:
        """Another command in the same world, without the fault."""
        return self.world.run(Command(argv), what="bench")


@contextmanager
def bench(
    tmp_path: Path,
    fault: Mapping[str, Any],
    argv: Sequence[str],
    *,
    repository: str = "local",
    seed: int = 7,
    source: Mapping[str, Any] | None = None,
    environment: Environment | None = None,
    env: Mapping[str, str] | None = None,
    deadline: float = 30.0,
    target: Target | None = None,
    history: type[History] = History,
    servers: Servers = DEFAULT,
    **fields: Any,
) -> Iterator[Bench]:
    """A world that is destroyed at the end; ``fault`` is as in YAML, with plain numbers instead of units."""
    scenario = Scenario.model_validate(
        {
            "scenario": "bench",
            "title": "One fault",
            "repository": repository,
            "source": dict(source or SMALL),
            "faults": {"fault": dict(fault)},
            "deadline": deadline,
            **fields,
        },
        strict=False,
    )
    target = target or Probe(argv, env)
    record = history(tmp_path / "history.jsonl")
    options = RunOptions(
        environment=environment or LocalEnvironment(), results=tmp_path, seed=seed, servers=servers
    )
    try:
        world, _ = make_world(scenario, target, options, record)
    except BaseException:
        record.close()
        raise
    made: Bench | None = None
    try:
        made = Bench(world, scenario, target, seed)
        yield made
    finally:
        if made is not None:
            made.phases.oracle.close()
        world.close()
        record.close()


def tried(tmp_path: Path, fault: Mapping[str, Any], argv: Sequence[str], **more: Any) -> Tried:
    """``bench`` for the usual case: one run, nothing else to look at."""
    with bench(tmp_path, fault, argv, **more) as made:
        return made.go()
