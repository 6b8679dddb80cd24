"""Every kind of fault with what it needs to meet each of the three tools: the table behind ``test_tool_matrix``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults import matrix, tools
from tests.faults.bench import SMALL, bench

from backupchaos.engine.options import RunOptions
from backupchaos.engine.run import run_scenario
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.model.faults import KINDS
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict

EARLY = {"when": {"bytes": 20_000}}
"""Where the probe's word was waited for."""
SOURCE = {**SMALL, "size": 2 << 20, "new": 1 << 20}
PARAMETERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("process.kill", "process.concurrent", "clock.jump", "power.cut", "power.lying_disk"), EARLY
    ),
    "process.pause": {**EARLY, "for": 0.3},
    "rsync process.oom": {"memory": 1 << 20},
    "restic process.oom": {"memory": 16 << 20},
    # Its oldest file says so at once; restic asks for a pack for minutes before it believes that it is gone.
    "restic repository.delete": {"pick": "oldest"},
    "restic repository.truncate": {"pick": "oldest"},
}
"""By kind, or by ``tool kind``."""
REPOSITORY = {
    "borg process.pids": "rest",  # alone with a directory it starts no other process
    **{
        f"restic network.{kind}": "sftp" for kind in ("blackhole", "half_open", "loss")
    },  # rclone is no fair judge
}
ANSWERS = "nothing stands between it and its own server that could answer in the server's place"
NOT_FOR: dict[str, str] = {
    **{
        f"{tool} service.{kind}": ANSWERS
        for tool in ("borg", "rsync")
        for kind in ("errors", "throttle", "slow", "credentials_expire")
    },
    "rsync cache.corrupt": "it keeps no cache",
    "rsync cache.lost": "it keeps no cache",
    "rsync repository.stale_lock": "it keeps no lock",
    "rsync repository.wrong_password": "it knows no password",
}
"""Pairs that cannot meet."""


def fault(tool: str, kind: str) -> dict[str, Any]:
    """As in YAML."""
    known = {**matrix.fault(kind), **PARAMETERS.get(kind, {}), **PARAMETERS.get(f"{tool} {kind}", {})}
    return {key: value for key, value in known.items() if value is not None}


def job(folder: Path, tool: str, kind: str) -> list[str]:
    """The proof, after one job under the fault."""
    world = bench(
        folder,
        fault(tool, kind),
        (),
        target=tools.TOOLS[tool](),
        repository=REPOSITORY.get(f"{tool} {kind}") or matrix.repository(kind),
        source=SOURCE,
        deadline=8.0,
    )
    with world as made:
        made.phases.init_repository()
        if kind.startswith(("cache.", "repository.", "version.", "config.")):
            before = made.world.run(made.phases.target.backup(made.world.workspace), what="a job before")
            assert before.ok, before.output
        tried = made.go()
        made.phases.end_lasting()
    assert tried.strays == []
    return tried.proof


def whole_run(folder: Path, tool: str, kind: str) -> list[str]:
    """The proof, where it takes more than the job: a check or a restore that fails."""
    fields = {
        "scenario": "met",
        "title": "One fault",
        "repository": "local",
        "source": SOURCE,
        "deadline": 20.0,
    }
    scenario = Scenario.model_validate({**fields, "faults": {"fault": fault(tool, kind)}}, strict=False)
    options = RunOptions(environment=LocalEnvironment(), results=folder, seed=7)
    run = run_scenario(scenario, tools.TOOLS[tool](), options)
    assert run.verdict is not Verdict.INVALID, run.result.headline
    return [fact.text for met in run.result.faults for fact in met.proof]


def meet(folder: Path, tool: str, kind: str) -> list[str]:
    """What proves that the tool met the fault; empty if it did not. Raises MissingCapability."""
    return (whole_run if kind in matrix.DAMAGE else job)(folder, tool, kind)


PAIRS = [(tool, kind) for kind in sorted(KINDS) for tool in tools.TOOLS if f"{tool} {kind}" not in NOT_FOR]
