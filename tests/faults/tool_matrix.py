"""Every kind of fault with what it needs to meet each of the three tools: the table behind ``test_tool_matrix``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults import made_before, matrix, tools
from tests.faults.bench import SMALL, Bench, Tried, bench

from backupchaos.model.faults import KINDS

PATIENCE = (3.0, 20.0)
"""Deadlines. Who hangs has met the fault long before; whoever had not yet come to it is given more time."""
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
MADE_BEFORE = {("restic", "local"), ("restic", "rest"), ("restic", "sftp"), ("borg", "local")}
"""Repositories that are made once and copied. Elsewhere borg would notice that its server has another port."""
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
    """The proof, after one job under the fault; after another one if the first had no time to come to it."""
    for number, deadline in enumerate(PATIENCE):
        (folder / str(number)).mkdir()
        tried = _one_job(folder / str(number), tool, kind, deadline)
        assert tried.strays == []
        if tried.proof or not tried.job.timed_out:
            return tried.proof
    return []


@contextmanager
def _made_for(folder: Path, tool: str, kind: str, deadline: float) -> Iterator[Bench]:
    """A bench with the tool's repository, and where the kind needs it with what a job before has stored there."""
    repository = REPOSITORY.get(f"{tool} {kind}") or matrix.repository(kind)
    target = tools.TOOLS[tool]()
    options: dict[str, Any] = {"repository": repository, "source": SOURCE, "deadline": deadline}
    with bench(folder, fault(tool, kind), (), target=target, **options) as made:
        if (tool, repository) in MADE_BEFORE:
            made_before.init(made, f"{tool} {repository}")
        else:
            made.phases.init_repository()
        if kind.startswith(("cache.", "repository.", "version.", "config.")):
            before = made.world.run(target.backup(made.world.workspace), what="a job before")
            assert before.ok, before.output
        yield made


def _one_job(folder: Path, tool: str, kind: str, deadline: float) -> Tried:
    with _made_for(folder, tool, kind, deadline) as made:
        tried = made.go()
        made.phases.end_lasting()
    return tried


def damage(folder: Path, tool: str, kind: str) -> list[str]:
    """The proof, where it takes more than the job: a check or a restore that fails."""
    with _made_for(folder, tool, kind, 20.0) as made:
        phases = made.phases
        if made.world.profile.history:
            phases.first = phases.snapshots("control")
            assert phases.first
        job = made.go().job
        phases.verify_claim(job, job.outcome == "success")
        phases.verify()
        assert made.fault.strays() == []
        return made.fault.bite()


def meet(folder: Path, tool: str, kind: str) -> list[str]:
    """What proves that the tool met the fault; empty if it did not. Raises MissingCapability."""
    return (damage if kind in matrix.DAMAGE else job)(folder, tool, kind)


PAIRS = [(tool, kind) for kind in sorted(KINDS) for tool in tools.TOOLS if f"{tool} {kind}" not in NOT_FOR]
