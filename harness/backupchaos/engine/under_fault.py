"""The tool's other commands while the faults of the job are still in force: help must work when it is needed.

What a command says of itself is not enough. A list must hold the snapshots from before the fault, a restore
must equal their manifest, an unlock must take the lock of the dead job away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupchaos.commands import Command, Completed
from backupchaos.durations import format_duration
from backupchaos.errors import MissingCapability
from backupchaos.faults.repository_lock import StaleLock

if TYPE_CHECKING:
    from backupchaos.engine.phases import Phases
    from backupchaos.results import RestoreResult

TIMEOUT = 60.0
"""Seconds; a recovery tool that takes longer on these small trees hangs."""


def need_tools(phases: Phases) -> None:
    """Raise ``MissingCapability`` if the scenario asks for a command that the target does not have."""
    for tool, want in phases.scenario.expect.under_fault.items():
        if want != "any" and tool != "restore" and _command(phases, tool) is None:
            raise MissingCapability(tool, f"target {phases.target.name} has no command for it")


def try_tools(phases: Phases) -> None:
    """Run what ``expect: under_fault`` asks for, in its order, and record how each command ended."""
    for tool in phases.scenario.expect.under_fault:
        if tool == "restore":
            _restore(phases)
            continue
        command = _command(phases, tool)
        if command is None:
            _record(phases, tool, None, "the target has no such command")
            continue
        done = phases.world.run(command, what=f"{tool} under the fault", timeout=TIMEOUT)
        problem = _problem(phases, tool, done)
        _record(phases, tool, not problem, problem)


def _command(phases: Phases, tool: str) -> Command | None:
    target, work = phases.target, phases.world.workspace
    wanted = {"list": target.snapshots, "check": target.check, "unlock": target.unlock, "prune": target.prune}
    return wanted[tool](work)


def _problem(phases: Phases, tool: str, done: Completed) -> str:
    """Why the command did not do its work; empty if it did."""
    if done.timed_out:
        return _hung(TIMEOUT)
    if not done.ok:
        return f"exit {done.returncode}: {done.last_words}"
    if tool == "list":
        return _not_listed(phases, done)
    if tool == "unlock":
        locks = [fault for fault in phases.faults.values() if isinstance(fault, StaleLock)]
        left = [lock for fault in locks for lock in fault.left()]
        return f"exit 0, but {left[0]} still lies there" if left else ""
    return ""


def _not_listed(phases: Phases, done: Completed) -> str:
    try:
        names = phases.target.parse_snapshots(done)
    except ValueError as error:
        return f"exit 0, but not understood: {error}"
    missing = [name for name in phases.first if name not in names]
    return f"exit 0, but {missing[0]} is not listed" if missing else ""


def _restore(phases: Phases) -> None:
    """The snapshot from before the fault; of a mirror, each file in its old or its new version."""
    name = phases.first[-1] if phases.first else "latest"
    result = phases.oracle.restore(
        "under_fault",
        name,
        phases.oracle["M1"],
        also=None if phases.world.profile.history else phases.oracle["M2"],
        as_job=True,
        timeout=TIMEOUT,
    )
    _record(phases, "restore", result.equal, "" if result.equal else _why(result))


def _why(result: RestoreResult) -> str:
    if not result.performed:
        return result.reason
    if result.returncode is not None and result.returncode < 0 and (result.duration or 0.0) >= TIMEOUT:
        return _hung(TIMEOUT)
    shown = "; ".join(result.differences[:3])
    return f"exit {result.returncode}" + (f", but: {shown}" if shown and result.returncode == 0 else "")


def _hung(limit: float) -> str:
    return f"it hung: ended by the harness after {format_duration(limit)}"


def _record(phases: Phases, tool: str, works: bool | None, words: str) -> None:
    phases.world.history.append("under_fault", tool=tool, works=works, words=words[:600])
