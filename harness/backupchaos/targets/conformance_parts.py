"""The means of the conformance suite: fixtures and helpers that a test of an adapter builds on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from backupchaos.commands import Command, Completed
from backupchaos.errors import MissingCapability
from backupchaos.targets.base import LogRecord, Profile, RepositoryType, Target
from backupchaos.targets.bench import Bench, bench
from backupchaos.trees.compare import compare
from backupchaos.trees.generate import build
from backupchaos.trees.manifest import scan
from backupchaos.trees.spec import Feature, SourceSpec


class TargetParts:
    """Which target is tested, and everything that is done with it."""

    kind: ClassVar[RepositoryType] = "local"
    service: ClassVar[str | None] = None
    """Which server, where there are several."""
    noise: ClassVar[str] = ""
    """A pattern of retries that the server itself is the cause of, though nothing is wrong."""
    check_finds_damage: ClassVar[bool] = True
    """The tool's own check reads all data; a flipped byte in the largest file does not escape it."""
    lists_are_structured: ClassVar[bool] = True
    """Lists have a format that can be told from garbage; plain lines have none."""

    def make_target(self) -> Target:
        """The target under test, fresh for each test."""
        raise NotImplementedError(f"{type(self).__name__}.make_target: return the target to test")

    def run(self, bench: Bench, command: Command) -> Completed:
        """Run one command; override it to run somewhere else."""
        return bench.run(command)

    # --- parts ---------------------------------------------------------------------------------------------

    @pytest.fixture
    def target(self) -> Target:
        """The target, if its tool is installed."""
        target = self.make_target()
        try:
            target.available()
        except MissingCapability as missing:
            pytest.skip(str(missing))
        return target

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        """A workspace with a repository of the kind under test, empty and served."""
        root = tmp_path / "bench"
        root.mkdir()
        try:
            with bench(root, self.kind, self.service) as made:
                yield made
        except MissingCapability as missing:
            pytest.skip(str(missing))

    @pytest.fixture
    def ready(self, target: Target, bench: Bench) -> Bench:
        """The same with a source tree and an initialised repository."""
        self.fill(target, bench, seed=1)
        for command in target.init(bench.work):
            self.succeed(bench, command)
        return bench

    def profile(self, target: Target) -> Profile:
        """The profile for the kind under test."""
        return target.profile_for(self.kind)

    def fill(self, target: Target, bench: Bench, seed: int) -> None:
        """Build a source tree with everything that the profile says it may hold."""
        features = frozenset(Feature(name) for name in self.profile(target).features)
        build(bench.source, SourceSpec(files=30, size=600_000, features=features), seed)

    def succeed(self, bench: Bench, command: Command) -> Completed:
        """Run a command that must work."""
        done = self.run(bench, command)
        assert done.ok, f"{command.display()}: exit code {done.returncode}\n{done.output[-3000:]}"
        return done

    def back_up(self, target: Target, bench: Bench) -> Completed:
        """Run a job that must succeed by the profile's own table."""
        done = self.run(bench, target.backup(bench.work))
        outcome = self.profile(target).outcome(done.returncode)
        assert outcome == "success", f"exit code {done.returncode} is {outcome}\n{done.output[-3000:]}"
        return done

    def names(self, target: Target, bench: Bench) -> list[str]:
        """What can be restored now."""
        command = target.snapshots(bench.work)
        if command is None:
            return ["latest"]
        return target.parse_snapshots(self.succeed(bench, command))

    def assert_restores(self, target: Target, bench: Bench, snapshot: str, manifest: Path) -> None:
        """Restore and compare in every aspect that the profile promises."""
        profile = self.profile(target)
        bench.empty_restore()
        self.succeed(bench, target.restore(bench.work, snapshot))
        restored = bench.root / "restored.manifest"
        scan(target.restored_root(bench.work), restored)
        found = compare(
            manifest, restored, profile.aspects, mtime_granularity_ns=profile.mtime_granularity_ns
        )
        assert found.equal, "\n".join(map(str, found.first))

    def manifest(self, bench: Bench, name: str) -> Path:
        """The manifest of the source as it is now."""
        out = bench.root / f"{name}.manifest"
        scan(bench.source, out)
        return out

    def commands(self, target: Target, bench: Bench) -> Sequence[Command]:
        """Every command that the adapter offers."""
        work = bench.work
        optional = (
            *(target.snapshots, target.check, target.unlock, target.states),
            *(target.prune, target.drifted),
        )
        found = [made for make in optional if (made := make(work)) is not None]
        return [
            target.version(),
            *target.init(work),
            target.backup(work),
            target.restore(work, "name"),
            *found,
        ]

    def records(self, target: Target, done: Completed) -> list[LogRecord]:
        """Every line of output, understood."""
        texts = (("stdout", done.stdout), ("stderr", done.stderr))
        return [target.parse_log(stream, line) for stream, text in texts for line in text.splitlines()]
