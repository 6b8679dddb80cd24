"""Running one job of the target under a schedule, watched from three sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from backupchaos.commands import Command
from backupchaos.engine.facts import Facts
from backupchaos.engine.injector import Injector
from backupchaos.engine.loop import OutputPipe
from backupchaos.engine.observers import JobObserver
from backupchaos.engine.progress import VolumeProgress, links_of
from backupchaos.engine.schedule import Schedule
from backupchaos.engine.shaping import shaped
from backupchaos.engine.tiers import dressed
from backupchaos.engine.world import World
from backupchaos.environments.base import Place, SyscallRule
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Ground, JobShape
from backupchaos.faults.files import literal
from backupchaos.model.scenario import Scenario
from backupchaos.results import JobResult
from backupchaos.targets.base import Target

CLOSE_WATCH = 0.004
"""Seconds between looks at a volume while a trigger or a proof depends on it."""
EASY_WATCH = 0.05


class JobRun:
    """One execution of the target's backup command."""

    def __init__(
        self,
        world: World,
        target: Target,
        scenario: Scenario,
        job: str,
        ground: Ground,
        *,
        faults: Mapping[str, Fault[Any]] | None = None,
        expected_bytes: int = 1,
        afterwards: Callable[[JobResult], None] | None = None,
    ) -> None:
        self._world = world
        self._target = target
        self._scenario = scenario
        self._job = job
        self._ground = ground
        self._faults = dict(faults or {})
        self._schedule = Schedule({name: fault.spec for name, fault in self._faults.items()}, expected_bytes)
        self._afterwards = afterwards
        self._facts = Facts()
        self._observer = JobObserver(world.history, target, world.profile, job, self._facts)
        self._pid: int | None = None
        self._links = list(links_of(world, self._schedule, self._facts))
        self._volume = VolumeProgress(world, self._schedule, self._facts)
        self._last_total = 0
        self._stepping = self._once_more = self._free = False
        self._stopped_calls: list[str] = []
        self._injector = Injector(world.history)

    @property
    def failures(self) -> list[str]:
        """Faults that could not be undone."""
        return self._injector.failures

    # -- the run -------------------------------------------------------------------------------

    def run(self) -> JobResult:
        """Run to the end; every fault is undone and verified undone before this returns.

        Raises ``HarnessBroken`` if a fault could not be brought into force or taken away.
        """
        world, history = self._world, self._world.history
        command = self._command()
        out = OutputPipe(
            world.loop, lambda text: self._observer.line("stdout", text), command.secrets, head=65536
        )
        err = OutputPipe(
            world.loop, lambda text: self._observer.line("stderr", text), command.secrets, head=65536
        )
        self._supervise_server()
        stop = [world.on_sandbox(self._on_sandbox), world.on_link(self._on_link)]
        self._measure_start()
        self._observer.state("PENDING")
        timed_out = hung = False
        try:
            self._step()
            command, shape = shaped(command, self._shapes())
            pid = world.spawn(command, "target", out, err, rules=self._rules(), **shape)
            self._pid = self._ground.job_pid = pid
            started = time.monotonic()
            self._start = started
            self._ground.started_at = history.now()
            history.append("job.start", job=self._job, command=command.display(), pid=pid)
            self._facts.started = True
            self._observer.activity()
            self._observer.state("RUNNING")
            while pid not in world.exits:
                self._watch()
                timed_out = self._facts.now > self._scenario.deadline
                hung = not timed_out and self._observer.silence() > self._scenario.silence
                if timed_out or hung:
                    self._observer.activity()
                    self._let_all_go()
                    world.end(pid)
                    break
            world.finish_output(out, err)
            world.poll_links()
            self._facts.exited = True
            self._step()
            result = self._ended(pid, timed_out, hung, started)
            if self._afterwards is not None:
                self._let_all_go()
                while stop:  # what others do from here on is not the job's doing
                    stop.pop()()
                self._afterwards(result)
            return result
        except HarnessBroken as first:
            self._heal()
            if self.failures:
                raise HarnessBroken("; then ".join([str(first), *self.failures])) from first
            raise
        finally:
            try:
                self._heal()
            finally:
                for cancel in stop:
                    cancel()
                out.close()
                err.close()

    def _command(self) -> Command:
        work = self._world.workspace
        for fault in self._faults.values():
            work = fault.workspace(work)
        command = self._target.backup(work)
        for fault in self._faults.values():
            command = fault.command(command)
        return dressed(command, self._world.services)

    def _shapes(self) -> list[JobShape]:
        found = [fault.shape() for fault in self._faults.values()]
        return [shape for shape in found if shape is not None]

    def _ended(self, pid: int, timed_out: bool, hung: bool, started: float) -> JobResult:
        code, ended = self._world.exits[pid]
        self._world.ask_links()
        self._observer.activity()
        outcome = self._world.profile.outcome(code)
        self._observer.state("SUCCESS" if outcome == "success" else "FAILED")
        self._look()
        moved = {progress.tier: progress.in_all() for progress in self._links}
        link_bytes = moved[""][0] if "" in moved else None
        if self._observer.left_out:
            self._world.history.append("note", text=f"{self._observer.left_out} log records left out")
        t0 = self._world.history.t0
        self._world.history.append(
            "job.end",
            at=ended,
            job=self._job,
            returncode=code,
            outcome=outcome,
            timed_out=timed_out,
            hung=hung,
            silent_for=round(self._observer.silent_for, 3),
            link_bytes=link_bytes,
            tiers={tier: list(both) for tier, both in moved.items() if tier},
            grown=max(self._facts.bytes, self._volume.grown),
            held=self._volume.held,
            seconds=round(ended - started, 4),
        )
        return JobResult(
            self._job,
            code,
            outcome,
            started - t0,
            ended - t0,
            timed_out,
            hung,
            link_bytes,
            self._observer.silent_for,
        )

    # -- watching ------------------------------------------------------------------------------

    def _measure_start(self) -> None:
        for progress in self._links:
            progress.begin()
        self._volume.begin()

    def _watch(self) -> None:
        """Wait for the next thing to happen, then look and step."""
        close = self._needs_close_watch()
        timeout = CLOSE_WATCH if close else EASY_WATCH
        due = self._schedule.next_time()
        if due is not None and self._facts.started:
            timeout = min(timeout, max(0.0, due - (time.monotonic() - self._start)))
        self._world.loop.pump(timeout)
        self._world.poll_links()
        self._look()
        self._step()

    def _needs_close_watch(self) -> bool:
        full = any(self._faults[name].spec.kind == "disk.full" for name in self._schedule.active())
        return full or (self._world.link is None and self._schedule.by_bytes())

    def _look(self) -> None:
        """Measure progress: bytes over the links, or growth of the repository's volume."""
        if self._facts.started:
            self._facts.now = time.monotonic() - self._start
        watch_disk = self._world.link is None or any(
            fault.spec.kind == "disk.full" for fault in self._faults.values()
        )
        total = 0
        if watch_disk:
            place = self._disk_place()
            usage = self._world.sandbox.usage(place)
            samples = self._ground.free_space
            if not samples or samples[-1][2].free != usage.free or samples[-1][1] != place:
                samples.append((self._world.history.now(), place, usage))
                self._world.history.append("volume", place=place, free=usage.free, total=usage.total)
            if self._world.link is None:
                used = usage if place is Place.REPOSITORY else self._world.sandbox.usage(Place.REPOSITORY)
                self._volume.look(used)
            total += usage.used
        total += sum(progress.look() for progress in self._links)
        if total != self._last_total:
            self._last_total = total
            self._observer.progress()

    def _disk_place(self) -> Place:
        for fault in self._faults.values():
            if fault.spec.kind == "disk.full":
                return Place(fault.spec.place)
        return Place.REPOSITORY

    # -- triggers that stop the world at a byte ------------------------------------------------

    def _rules(self) -> list[SyscallRule]:
        """Triggers count every call, also those that a fault answers or delays, and so come first."""
        triggers = self._volume.rules(self._ground.repository) + self._call_rules()
        return triggers + [rule for fault in self._faults.values() for rule in fault.rules()]

    def _call_rules(self) -> list[SyscallRule]:
        return [
            SyscallRule(
                name,
                (point.name,),
                (f"{literal(self._world.path(Place(point.place)))}/**",),
                "hold",
                skip=point.nth - 1,
                times=1,
                armed=True,
            )
            for name, point in self._schedule.call_points().items()
        ]

    def _supervise_server(self) -> None:
        """The calls on a remote repository are the server's."""
        points = self._schedule.call_points()
        remote = [r for r in self._call_rules() if points[r.name].place == "repository"]
        if remote and self._world.link is not None:
            self._world.supervise_service(remote)

    def _on_link(self, event: Any) -> None:
        self._observer.on_link(event)
        if any(progress.reached(event) for progress in self._links):
            self._look()
            self._step()

    def _on_sandbox(self, event: Any) -> None:
        self._observer.on_sandbox(event)
        if event.kind != "syscall":
            return
        rule = event.data.get("rule")
        if rule in self._schedule.call_points():
            self._facts.calls.add(rule)
            self._stopped_calls.append(rule)
        elif not self._volume.reached(event):
            return
        self._look()
        self._step()

    def _go_on(self) -> None:
        """What was stopped for a step goes on after it, to where the next one is due."""
        for progress in self._links:
            if not self._free:
                progress.go_on()
        self._volume.let_go()
        while self._stopped_calls:
            self._world.sandbox.release(self._stopped_calls.pop(0))

    def _let_all_go(self) -> None:
        """Nothing may stay stopped by us, nor be stopped any more."""
        self._free = True
        for progress in self._links:
            progress.let_go()
        self._volume.over()

    # -- faults --------------------------------------------------------------------------------

    def _step(self) -> None:
        """Do what is due, then let the job go on from where it was stopped for that.

        A fault may have to wait while it comes or goes; what is heard meanwhile is thought of after it. One that
        is half in force must not be taken away, and its own end may be in what is heard.
        """
        self._once_more = True
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._once_more:
                self._once_more = False
                for action in self._schedule.step(self._facts):
                    fault = self._faults[action.name]
                    if action.what == "apply":
                        self._injector.apply(fault)
                    else:
                        self._injector.undo(fault)
        finally:
            self._stepping = False
        self._go_on()

    def _heal(self) -> None:
        """Undo what is still in force, the newest first, each even if anything before it failed."""
        self._injector.attempt("the job could not be let go", self._let_all_go)
        for name in self._schedule.call_points():  # a server outlives the job, and must not be stopped later
            disarm = partial(self._world.sandbox.arm, name, False)
            self._injector.attempt(f"{name} could not be taken back", disarm)
        self._facts.ended = True
        for action in self._schedule.step(self._facts):
            if not self._faults[action.name].spec.outlasts:
                self._injector.undo(self._faults[action.name])
