"""The eight phases of a run, in order: each does one thing to the world and records it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from backupchaos.engine.beside import another_backup
from backupchaos.engine.beside import judge as judge_both
from backupchaos.engine.injector import Injector, newest_first
from backupchaos.engine.jobs import JobRun
from backupchaos.engine.leftovers import end_leftovers
from backupchaos.engine.oracle import Oracle
from backupchaos.engine.own_states import OwnStates
from backupchaos.engine.records import TierRecords
from backupchaos.engine.serverside import ServerSide
from backupchaos.engine.streams import StreamOracle
from backupchaos.engine.under_fault import need_tools, try_tools
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Ground
from backupchaos.faults.files_told import named_in_full, told_of
from backupchaos.faults.registry import make_fault
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.scenario import Scenario
from backupchaos.results import JobResult, RestoreResult
from backupchaos.targets.base import Target

TEMPORARY = re.compile(
    r"(?:^|[./_-])(?:tmp|temp|partial|part|incomplete)(?:[./_-]|\d|$)|-tmp-|\.lock$|(?:^|/)locks?/", re.I
)
"""Names that look like something a dead job left in a repository."""
TOOL_TIMEOUT = 300.0


class ControlFailed(Exception):
    """The job without any fault did not do its work; the run says nothing about the fault."""


class Phases:
    """One run, step by step; the order of calls is the run loop's."""

    def __init__(self, world: World, target: Target, scenario: Scenario, seed: int, ground: Ground) -> None:
        self.world = world
        self.target = target
        self.scenario = scenario
        self.seed = seed
        self.ground = ground
        self.oracle = Oracle(world, target)
        self.records = TierRecords(world, target)
        self.faults: dict[str, Fault[Any]] = {}
        self.new_bytes = scenario.source.new
        self.first: list[str] = []
        self.listed: list[str] = []
        self._given_again: str | None = None
        self.list_problem = ""
        self._residue: dict[str, set[str]] = {}

    def phase(self, name: str) -> None:
        """Say which phase begins."""
        self.world.history.append("phase", name=name)

    # -- prepare and control -------------------------------------------------------------------

    def init_repository(self) -> None:
        """Create the repository; raises ``ControlFailed`` with the tool's own words."""
        for command in self.target.init(self.world.workspace):
            done = self.world.run(command, what="init")
            if not done.ok:
                raise ControlFailed(
                    f"creating the repository failed (exit {done.returncode}): {done.last_words}"
                )

    def make_faults(self) -> None:
        """Bind the scenario's faults to mechanisms; raises ``MissingCapability``."""
        need_tools(self)
        self.faults = {
            name: make_fault(name, spec, self.ground) for name, spec in self.scenario.faults.items()
        }

        # All jobs of a run have the same privileges, or the control would prove nothing. Lists, restores and
        # checks keep root's overrides, unless they are tried under the fault.
        users = [fault.user for fault in self.faults.values() if fault.user is not None]
        self.world.privileges = (
            any(fault.drop_dac for fault in self.faults.values()),
            users[0] if users else None,
        )

    def control(self, *, restore: bool) -> None:
        """Job 1 without a fault: it must succeed, and restore to M1."""
        self.oracle.scan("M1", self.world.path(Place.SOURCE))
        job = self._job("control").run()
        if left := end_leftovers(self.world):
            # Born without the rules of the fault job, it would do that one's work out of reach of the faults.
            self.world.history.append("residue", when="after the control job", processes=left, files=[])
        if job.outcome != "success":
            raise ControlFailed(
                f"the job ended with {job.outcome} (exit {job.returncode}): {self._words('control')}"
            )
        if doubts := self.records.report("control"):
            raise ControlFailed(f"the job says that it succeeded, but {'; '.join(doubts)}")
        look = self.oracle.begin_source_moved("M1", "the control job")
        self.first = self.snapshots("control")
        if moved := look():
            raise ControlFailed(f"the job changed the source it was to back up: {moved}")
        if self.world.profile.history and not self.first:
            raise ControlFailed(f"the job succeeded, but no snapshot is listed{self.list_problem}")
        if restore:
            name = self.first[-1] if self.first else "latest"
            result = self.oracle.restore("control", name, self.oracle["M1"], timeout=TOOL_TIMEOUT)
            if not result.equal:
                shown = (
                    "; ".join(result.differences[:3]) or f"restore exits {result.returncode}: {result.words}"
                )
                raise ControlFailed(f"the restore already differs from the source: {shown}")
        if self.scenario.expect.check == "fails":
            # A check that never passes would find damage everywhere, and prove nothing.
            self._check_passes()
        self._residue = self._listing()

    def _check_passes(self) -> None:
        command = self.target.check(self.world.workspace)
        if command is None:
            return
        done = self.world.run(command, what="check of the control", timeout=TOOL_TIMEOUT, full_rights=True)
        if not done.ok:
            raise ControlFailed(
                f"the tool's own check fails on a sound repository (exit {done.returncode}): {done.last_words}"
            )

    def change(self) -> None:
        """The source changes, as sources do between two jobs; manifest M2."""
        source = self.scenario.source
        summary = self.world.sandbox.call(
            "change_tree",
            root=self.world.path(Place.SOURCE),
            spec={},
            seed=self.seed,
            fraction=source.change,
            new_bytes=source.new,
            swap_types=source.swap_types,
        )
        self.new_bytes = max(1, summary["new_bytes"])
        fresh = {path for kind in ("new", "edited", "grown") for path in summary[kind]}
        entries = self.world.sandbox.call("list_files", root=self.world.path(Place.SOURCE))["entries"]
        self.ground.fresh = [
            (path, size) for path, kind, size, *_ in entries if path in fresh and kind == "file" and size
        ]
        touched = [path for value in summary.values() if isinstance(value, list) for path in value]
        self.ground.changed_names = frozenset(
            (path if isinstance(path, str) else path[0]).rsplit("/", 1)[-1] for path in touched
        )
        self.world.history.append("change", new_bytes=self.new_bytes, fresh=len(self.ground.fresh))
        self.oracle.scan("M2", self.world.path(Place.SOURCE))

    # -- fault ---------------------------------------------------------------------------------

    def fault(self) -> JobResult:
        """Job 2 under the schedule. Afterwards every fault is undone."""
        for fault in self.faults.values():
            fault.prepare()
            self.world.history.append(
                "cause", name=fault.name, pattern=self._cause(fault), paths=list(fault.paths())
            )
        server = ServerSide(self.world)
        states = OwnStates(self.world, self.target)
        states.remember()
        run = self._job("fault", self.faults)
        job = run.run()
        if run.failures:
            raise HarnessBroken("; ".join(run.failures))
        self.world.poll_links()  # what a link has counted, or the supervisor seen, is told when the fault is undone
        self.world.poll_sandbox()
        look = self.oracle.begin_source_moved("M2", "the job")
        states.report("fault")
        look()
        self.records.report("fault")
        left = end_leftovers(self.world)
        cut = any(fault.spec.on_link == REPOSITORY for fault in self.faults.values())
        self.world.history.append(
            "residue",
            when="after the job",
            processes=left,
            server=server.left(connections=not cut),
            files=[],
        )
        return job

    def _cause(self, fault: Fault[Any]) -> str:
        """What names the cause; if the server met it, that may be all that the server has told."""
        pattern = fault.cause_pattern()
        if self.world.link is None or getattr(fault.spec, "place", "") != "repository":
            return pattern
        told = self.world.service_terse.get(fault.spec.kind)
        return f"{pattern}|{told}" if pattern and told else pattern

    def _job(self, name: str, faults: Mapping[str, Fault[Any]] | None = None) -> JobRun:
        return JobRun(
            self.world,
            self.target,
            self.scenario,
            name,
            self.ground,
            faults=faults,
            expected_bytes=self.new_bytes,
            afterwards=self._after_job if faults else None,
        )

    def _after_job(self, job: JobResult) -> None:
        """While the faults are still in force: the source as the job left it behind, and the tool's other commands."""
        for fault in self.faults.values():
            fault.after_job()
        changed = {path: how for fault in self.faults.values() for path, how in fault.changed().items()}
        if changed:
            self.oracle.source_changed(changed)
        try_tools(self)

    # -- verify what was claimed, recover, verify the rest -------------------------------------

    def verify_claim(self, job: JobResult, claims_success: bool) -> None:
        """Restore what job 2 claims, before any other job can cover it up.

        Where files changed under the job, each restore takes the changes into account (``engine.moved``).
        """
        oracle, profile = self.oracle, self.world.profile
        claims = claims_success or job.outcome == "partial"
        if not claims:
            self.end_lasting()
        after = self.snapshots("after")
        self.listed = after
        # In a repository that is not the one of before, another snapshot may have the same name.
        fresh = [name for name in after if name not in self.first or self._lasting()]
        excused = [] if claims_success else self._named(partial=job.outcome == "partial")

        def restore(which: str, name: str, **how: Any) -> RestoreResult:
            return oracle.restore(which, name, oracle["M2"], moved=True, timeout=TOOL_TIMEOUT, **how)

        stream = next((fault.stream for fault in self.faults.values() if fault.stream is not None), None)
        if stream is not None:
            names = fresh if profile.history else ["latest"] if claims else []
            StreamOracle(self.world, self.target, stream).verify(oracle, names, claims, self.list_problem)
            return
        if not profile.history:
            if claims:
                restore("newest", "latest", excused=excused)
            else:
                restore("mirror", "latest", also=oracle["M1"])
            return
        if fresh and another_backup(self.world.history):
            judge_both(
                self.world.history, fresh, claims, lambda which, name: restore(which, name, excused=excused)
            )
        elif claims and not fresh:
            can_tell = oracle["M1"].identity != oracle["M2"].identity and not oracle.lenient
            # Nothing is excused here: with enough excused, the snapshot of before would do.
            self._without_a_new_name(restore("same name", after[-1]) if after and can_tell else None)
        elif claims:
            restore("newest", fresh[-1], excused=excused)
        elif fresh:
            # Nobody claimed it, but the next person who restores "the newest" will get it.
            restore("unclaimed", fresh[-1])

    def _without_a_new_name(self, again: RestoreResult | None) -> None:
        """The job claims a snapshot, and no name in the list is new: one that holds the changed source can only be its own.

        Who numbers snapshots by those that it finds gives a name again, once damage has taken the newest one away.
        """
        if again is not None and again.equal:
            self._given_again = again.snapshot
            self.world.history.append("restore", **asdict(replace(again, which="newest")))
        else:
            self.oracle.not_restored("newest", None, f"no new snapshot is listed{self.list_problem}")

    def _deleted_by_a_fault(self) -> bool:
        """Of a tool that keeps a snapshot in one file nobody knows then whether the job has taken it away."""
        return any(fault.spec.kind == "repository.delete" for fault in self.faults.values())

    def _named(self, *, partial: bool) -> list[str]:
        """Of the files that a fault kept the job from, those that it has named: a partial success
        covers everything but the files it names, whatever it was that kept it from them."""
        paths = [path for fault in self.faults.values() for path in fault.paths()]
        named = told_of(self.world.history, paths)
        if partial:
            files = self.oracle.files("M2")
            named += [path for path in named_in_full(self.world.history, files) if path not in named]
        return named

    def end_lasting(self) -> None:
        """Undo the faults that stay until the claim has been judged; raises ``HarnessBroken`` if one does not go."""
        injector = Injector(self.world.history)
        for fault in self._lasting():
            injector.undo(fault)
            self.listed = list(self.first)
        if injector.failures:
            raise HarnessBroken("; ".join(injector.failures))

    def _lasting(self) -> list[Fault[Any]]:
        """What is still in force after the job, the newest first."""
        return newest_first(
            f for f in self.faults.values() if f.spec.outlasts and f.windows and f.undone_at is None
        )

    def recover(self) -> None:
        """Job 3 without a fault; an unlock first only where the scenario allows it."""
        self.end_lasting()
        if self.scenario.recover.unlock:
            command = self.target.unlock(self.world.workspace)
            if command is not None:
                self.world.run(command, what="unlock")
        run = self._job("recovery")
        job = run.run()
        end_leftovers(self.world)
        self.records.report("recovery")
        if job.outcome != "success":
            return
        before, self.listed = self.listed, self.snapshots("after recovery")
        fresh = [name for name in self.listed if name not in before]
        if not self.world.profile.history:
            self.oracle.restore("recovered", "latest", self.oracle["M2"], timeout=TOOL_TIMEOUT)
        elif fresh:
            self.oracle.restore("recovered", fresh[-1], self.oracle["M2"], timeout=TOOL_TIMEOUT)
        else:
            self.oracle.not_restored("recovered", None, f"no new snapshot is listed{self.list_problem}")

    def verify(self) -> None:
        """The older snapshot, the tool's own check, residue, and that the source itself stood still."""
        if self.world.profile.history:
            name = self.first[-1]
            # A list that fails does not say that the snapshot is gone; its restore will.
            listed = name in self.listed or name in self.snapshots("once more") or bool(self.list_problem)
            if (not listed or name == self._given_again) and self._deleted_by_a_fault():
                gone = "its name was given again" if listed else "it is no longer listed"
                self.oracle.not_restored("older", name, f"{gone}: the fault may have deleted all of it")
            elif listed:
                self.oracle.restore("older", name, self.oracle["M1"], timeout=TOOL_TIMEOUT)
            else:
                self.oracle.not_restored("older", name, "lost: the snapshot is no longer listed")
        command = self.target.check(self.world.workspace)
        if command is not None:
            done = self.world.run(command, what="check", timeout=TOOL_TIMEOUT, full_rights=True)
            self.world.history.append(
                "check.tool", returncode=done.returncode, words="" if done.ok else done.last_words
            )
        look = self.oracle.begin_source_moved("M2", "the run")
        now = self._listing()
        left = [
            f"{place}: {name}"
            for place, names in now.items()
            for name in sorted(names - self._residue.get(place, set()))
        ]
        self.world.history.append("residue", when="at the end", processes=[], files=left[:50])
        look()

    def prove_bites(self) -> None:
        """Ask every fault for its proof, once everything that could show one has happened."""
        for fault in self.faults.values():
            proof = fault.bite() if fault.applied_at is not None else []
            self.world.history.append("bite", name=fault.name, proof=proof)
            struck = fault.blows() if proof else None
            if struck is not None:
                self.world.history.append("blows", name=fault.name, **struck.fields())
            strays = fault.strays()
            if strays:
                raise HarnessBroken(f"fault {fault.name} struck while it was not in force: {strays[0]}")

    # -- helpers -------------------------------------------------------------------------------

    def snapshots(self, when: str) -> list[str]:
        """What the tool lists; an unreadable list is an empty one, and recorded."""
        command = self.target.snapshots(self.world.workspace)
        if command is None:
            return []
        done = self.world.run(command, what=f"list {when}", full_rights=True)
        names: list[str] = []
        problem = "" if done.ok else f"exit {done.returncode}: {done.last_words}"
        if done.ok:
            try:
                names = self.target.parse_snapshots(done)
            except ValueError as error:
                problem = f"not understood: {error}"
        self.list_problem = f" ({problem})" if problem else ""
        self.world.history.append("snapshots", when=when, names=names, problem=problem)
        return names

    def _listing(self) -> dict[str, set[str]]:
        """Names that a dead job could have left: all of the temp volume, tell-tale ones elsewhere."""
        found: dict[str, set[str]] = {}
        for place in (Place.TEMP, Place.REPOSITORY):
            listing = self.world.sandbox.call("list_files", root=self.world.path(place))
            names = [entry[0] for entry in listing["entries"]]
            if place is Place.REPOSITORY:
                known = self.oracle.names()
                names = [known_as for n in names if (known_as := self.world.client_name(n)) is not None]
                names = [n for n in names if TEMPORARY.search(n) and n.rsplit("/", 1)[-1] not in known]
            found[str(place)] = set(names)
        return found

    def _words(self, job: str) -> str:
        errors = [
            e["text"] for e in self.world.history.of("log") if e["job"] == job and e["level"] == "error"
        ]
        every = [e["text"] for e in self.world.history.of("log") if e["job"] == job]
        return "; ".join((errors or every)[-3:])[:600] or "it printed nothing"
