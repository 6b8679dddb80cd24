"""One attempt at a run: all phases in order, and what broke on the way."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from backupchaos._version import __version__
from backupchaos.checks import judge
from backupchaos.checks.case import Case
from backupchaos.engine.options import RunOptions
from backupchaos.engine.phases import ControlFailed, Phases
from backupchaos.engine.prepare import make_world
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.errors import BackupChaosError, MissingCapability, Unfit, UsageProblem
from backupchaos.faults.base import Ground
from backupchaos.history import History
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.base import Profile, Target


class Attempt:
    """The state of one run while it is made."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        profile: Profile,
        *,
        run_id: str,
        options: RunOptions,
        history: History,
        notes: list[str],
    ) -> None:
        self.scenario = scenario
        self.target = target
        self.profile = profile
        self.run_id = run_id
        self.options = options
        self.history = history
        self.notes = notes
        self.world: World | None = None
        self.words: Mapping[str, str] = {}
        """The repository, its server and the link in words, for the report."""
        self.version = "unknown"
        self.broken: str | None = None
        self.unfit = False
        """What broke the run is the scenario's mistake, not ours."""
        self.control_failed: str | None = None
        self.worth_keeping = False
        self.started = datetime.now(UTC)

    def go(self) -> None:
        """All phases; what breaks is remembered, not raised, unless it is the user's to know."""
        self.history.append(
            "run.start",
            run_id=self.run_id,
            scenario=self.scenario.to_yaml_dict(),
            target=self.target.name,
            seed=self.options.seed,
            harness=__version__,
        )
        try:
            self._phases()
        except ControlFailed as failure:
            self.control_failed = str(failure)
        except (MissingCapability, UsageProblem):
            raise
        except (KeyboardInterrupt, SystemExit):
            self.history.append("interrupted")
            self.worth_keeping = True
            raise
        except BackupChaosError as error:
            self.broken, self.unfit = str(error), isinstance(error, Unfit)
        except Exception as error:
            self.broken = f"{type(error).__name__}: {error}"
            self.history.append("crash", traceback=traceback.format_exc())
        if self.broken or self.control_failed:
            self.history.append("note", text=self.broken or self.control_failed)

    def _phases(self) -> None:
        self.history.append("phase", name="prepare")
        self.world, self.words = make_world(
            self.scenario, self.target, self.options, self.history, self._ask_version
        )
        world = self.world
        ground = Ground(
            sandbox=world.sandbox,
            history=self.history,
            seed=self.options.seed,
            source=world.path(Place.SOURCE),
            repository=world.path(Place.REPOSITORY),
            link=world.link,
            tiers={name: server.link for name, server in world.tiers.items()},
            means=world,
            target=self.target,
            workspace=world.workspace,
        )
        phases = Phases(world, self.target, self.scenario, self.options.seed, ground)
        try:
            phases.make_faults()
            phases.init_repository()
            phases.phase("control")
            self._control(phases)
            phases.phase("change")
            phases.change()
            phases.phase("fault")
            job = phases.fault()
            phases.phase("heal")
            phases.phase("verify")
            claims = Case(self.scenario, self.profile, self.history.events).claims_success
            phases.verify_claim(job, claims)
            phases.phase("recover")
            phases.recover()
            phases.phase("verify")
            phases.verify()
            phases.prove_bites()
        finally:
            phases.oracle.close()

    def _ask_version(self, world: World) -> None:
        version = self.target.parse_version(world.run(self.target.version(), what="version"))
        # A target without a version command gives its name, which stands there already.
        self.version = "" if version == self.target.name else version

    def _control(self, phases: Phases) -> None:
        """Job 1. That its restore is equal need not be shown twice in a session, for a job of the same rights."""
        world = phases.world
        where, rights = self.words["repository"], world.privileges
        tiers = sorted((name, tier.kind) for name, tier in world.services.items())
        key = (
            f"{self.target.name}/{self.version}/{self.scenario.source!r}/{where}/{tiers}/{rights}"
            f"/{self.options.seed}"
        )
        phases.control(restore=key not in self.options.control_cache)
        self.options.control_cache[key] = True

    def close(self, directory: Path) -> None:
        """Destroy the sandbox; keep its repository if asked to."""
        if self.world is None:
            return
        try:
            if self.options.keep == "always" or (self.options.keep == "failed" and self._looks_bad()):
                self._export(directory)
        finally:
            self.world.close()
            self.world = None

    def _looks_bad(self) -> bool:
        if self.broken or self.control_failed:
            return True
        case = Case(self.scenario, self.profile, self.history.events)
        return judge.overall(judge.evaluate(case)) is not Verdict.PASS

    def _export(self, directory: Path) -> None:
        """The repository as a tar file beside the results, for a closer look."""
        assert self.world is not None
        path = directory / "repository.tar"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self.world.sandbox.call("export_tar", fds=(fd,), path=self.world.path(Place.REPOSITORY))
        except (BackupChaosError, OSError) as error:
            self.history.append("note", text=f"the repository could not be kept: {error}")
        finally:
            os.close(fd)
