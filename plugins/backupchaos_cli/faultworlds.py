"""The small worlds in which ``doctor`` tries faults: real ones, with a repository, a job, and what serves them."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from backupchaos.commands import Command
from backupchaos.engine.options import RunOptions
from backupchaos.engine.phases import Phases
from backupchaos.engine.prepare import make_world
from backupchaos.engine.shaping import shaped
from backupchaos.engine.world import World
from backupchaos.environments.base import Environment, Place, Unpluggable
from backupchaos.errors import BackupChaosError, MissingCapability
from backupchaos.faults.base import Fault, Ground
from backupchaos.faults.registry import make_fault
from backupchaos.history import History
from backupchaos.model.faults import KINDS, AnyFault
from backupchaos.model.guide import example
from backupchaos.model.loader import load_scenario_text
from backupchaos.model.scenario import Scenario
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.targets.base import Target

SCENARIO = """\
scenario: doctor
title: A small world to try faults in
repository: {repository}
source: {{files: 12, size: 128KiB, new: 64KiB, names: portable}}
"""
UNPLUGGED = "unreachable"
"""The way that needs a network which can be taken away; in its world links stand there, and servers have no names."""
NAMES = "dns."
"""Kinds that need a name server in their world, which not every sandbox can have."""
JOB = Command(("sleep", "600"))
"""In place of a job: it lives until it is ended, and does nothing that a fault could meet."""


def repositories(kind: str, target: Target) -> tuple[str, ...]:
    """The repositories to try a kind with, the cheapest first; one that works is enough."""
    spec = KINDS[kind]
    speaks = target.profile.speaks
    remote = tuple(name for name in ("sftp", "rest", "webdav", "s3") if name in speaks)
    if spec.needs_link:
        return remote[:1]
    if spec.needs_service:
        return remote[:2]
    return ("local",) if "local" in speaks else remote[:1]


class Worlds:
    """One world at a time; a new one for another kind of repository, or where a trial has spoilt it."""

    def __init__(
        self, environment: Environment, target: Target, folder: Path, servers: Servers = DEFAULT
    ) -> None:
        self.target = target
        self._servers = servers
        self._environment, self._folder = environment, folder
        self._lacking: Mapping[str, str] = environment.probe()
        self._number = 0
        self._now: tuple[str, Trials] | None = None
        self._impossible: dict[str, MissingCapability] = {}

    def at(self, repository: str, kind: str, way: str = "") -> Trials:
        """The world with this kind of repository, in which this fault can be tried in this way."""
        if way == UNPLUGGED:
            return self._unplugged(repository, kind)
        if kind.startswith(NAMES) and repository in self._impossible:
            raise self._impossible[repository]
        if self._now is None or self._now[0] != repository:
            self.spoil()
            try:
                self._now = repository, self._make(repository, names=repository not in self._impossible)
            except MissingCapability as gap:
                if repository in self._impossible:
                    raise
                self._impossible[repository] = gap  # perhaps only the name server cannot be had
                return self.at(repository, kind)
        return self._now[1]

    def _unplugged(self, repository: str, kind: str) -> Trials:
        """One of its own; where no sandbox can do it, any world serves, since the fault itself says so there."""
        key = f"{repository}, {UNPLUGGED}"
        if self._now is None or self._now[0] != key:
            usual = self.at(repository, kind)
            if not usual.pluggable:
                return usual
            self.spoil()
            alone = load_scenario_text(
                f"{SCENARIO.format(repository=repository)}"
                f"faults: {{{_name(kind)}: {{{kind}: repository, mode: {UNPLUGGED}}}}}\n",
                "doctor",
            )
            self._now = key, self._open(alone)
        return self._now[1]

    def _make(self, repository: str, *, names: bool) -> Trials:
        kinds = [kind for kind in KINDS if repository in repositories(kind, self.target)]
        kinds = [kind for kind in kinds if names or not kind.startswith(NAMES)]
        return self._open(_scenario(repository, kinds))

    def _open(self, scenario: Scenario) -> Trials:
        self._number += 1
        history = History(self._folder / f"{self._number}.jsonl")
        try:
            return Trials(self._environment, self.target, scenario, history, self._servers)
        except BaseException:
            history.close()
            raise

    def why(self, gap: MissingCapability) -> str:
        """The reason in words; what the sandbox lacks was found out by trying."""
        if self._lacking.get(gap.capability):
            return self._lacking[gap.capability]
        return f"{gap.reason}; {gap.hint}" if gap.hint and "doctor" not in gap.hint else gap.reason

    def spoil(self) -> None:
        """Nobody is to use the present world again."""
        if self._now is not None:
            (_, trials), self._now = self._now, None
            trials.close()


class Trials:
    """A world in which a job has run, so that there is something to break."""

    def __init__(
        self,
        environment: Environment,
        target: Target,
        scenario: Scenario,
        history: History,
        servers: Servers,
    ) -> None:
        self._scenario, self._target = scenario, target
        options = RunOptions(environment=environment, results=Path("doctor"), seed=7, servers=servers)
        self._history = history
        self._world, _ = make_world(scenario, target, options, history)
        try:
            self._ground = _ground(self._world, target, history)
            self._phases = Phases(self._world, target, scenario, 7, self._ground)
            for command in (*target.init(self._world.workspace), target.backup(self._world.workspace)):
                self._world.run(command, what="doctor")
            self._phases.change()
        except BaseException:
            self._world.close()
            raise

    @property
    def pluggable(self) -> bool:
        """Whether the job's network could be taken away."""
        return isinstance(self._world.sandbox, Unpluggable)

    def try_fault(self, kind: str, way: str | None = None) -> tuple[str, str]:
        """(mechanism, what was done); raises what the fault raises. ``way`` is the only one that it may take."""
        fault = self._make(kind, way)
        self._world.privileges = (fault.drop_dac, fault.user)
        try:
            fault.prepare()
            detail = self._in_force(fault)
            return fault.mechanism, detail
        finally:
            self._end_processes()

    def _make(self, kind: str, way: str | None) -> Fault[Any]:
        name = _name(kind)
        return make_fault(name, self._scenario.faults[name], self._ground, way=way)

    def _in_force(self, fault: Fault[Any]) -> str:
        """Apply, look, undo, look again, in the order in which a run does; the undoing is tried in any case."""
        whole = fault.spec.whole_job
        fault.command(self._target.backup(fault.workspace(self._world.workspace)))
        if not whole:
            self._start_job(fault)
        fault.begin(self._history.now())
        try:
            detail = fault.apply()
            fault.verify()
            if whole:
                self._start_job(fault)
        except BaseException:
            with suppress(Exception):  # the first problem is the one to be told
                self._undo(fault)
            raise
        self._undo(fault)
        fault.verify_undone()
        return detail

    def _undo(self, fault: Fault[Any]) -> None:
        fault.end(self._history.now())
        fault.undo()

    def _start_job(self, fault: Fault[Any]) -> None:
        shape = fault.shape()
        command, arguments = shaped(JOB, [shape] if shape is not None else [])
        drop_dac, user = self._world.privileges
        self._ground.job_pid = self._world.sandbox.spawn(
            command, role="target", rules=list(fault.rules()), drop_dac=drop_dac, user=user, **arguments
        )
        self._ground.started_at = self._history.now()

    def _end_processes(self) -> None:
        """Whatever plays the job, and what a fault has started beside it."""
        for process in self._world.sandbox.processes():
            if process.role in {"target", "orphan", "tool"}:
                self._world.sandbox.signal(process.pid, signal.SIGKILL, tree=True)
        self._world.loop.pump(0)

    def close(self) -> None:
        """Destroy it."""
        with suppress(BackupChaosError):
            self._phases.oracle.close()
            self._world.close()
        self._history.close()


def _scenario(repository: str, kinds: Sequence[str]) -> Scenario:
    """With every fault that is tried there: the world is made so that each can be had.

    They are tried one after the other, so that also those are in it which no scenario may have together.
    """
    text = SCENARIO.format(repository=repository)
    world, faults = load_scenario_text(text, "doctor"), dict[str, AnyFault]()
    for kind in kinds:
        alone = load_scenario_text(f"{text}faults: {{{_name(kind)}: {_ending(example(kind))}}}\n", "doctor")
        faults.update(alone.faults)
    return world.model_copy(update={"faults": faults})


def _ending(fault: str) -> str:
    """They come one after the other, so that a disk which goes away comes back for the next one."""
    return fault.replace("}", ", for: 10s}") if "disk.vanishes" in fault else fault


def _name(kind: str) -> str:
    return kind.replace(".", "_")


def _ground(world: World, target: Target, history: History) -> Ground:
    return Ground(
        sandbox=world.sandbox,
        history=history,
        seed=7,
        source=world.path(Place.SOURCE),
        repository=world.path(Place.REPOSITORY),
        link=world.link,
        tiers={name: server.link for name, server in world.tiers.items()},
        means=world,
        target=target,
        workspace=world.workspace,
    )
