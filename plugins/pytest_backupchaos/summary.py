"""What is said at the ends of a session: header, tables, counts, and the report on disk."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from backupchaos.durations import measured
from backupchaos.errors import BackupChaosError
from backupchaos.results import RunResult, Verdict, load_result
from backupchaos.session.progress import defused
from pytest_backupchaos.options import SERVICE
from pytest_backupchaos.receiver import never_begun
from pytest_backupchaos.state import State, state_of

FULL_TABLES = 3
"""Up to so many runs are shown in full; with more, only those that did not pass."""
_MADE = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.UNVERIFIED})


def header(config: pytest.Config) -> list[str]:
    """Scenario, target, isolation and seed in one line."""
    from backupchaos.session.capabilities import look

    state = state_of(config)
    names = [one.name for one in state.selected]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    try:
        here = look(state.session.environment(), deep=False)
        place = here.mechanism if not here.problem else f"no sandbox here ({here.problem})"
    except BackupChaosError as problem:
        place = f"no sandbox here ({problem})"
    lines = [f"backup: {shown}; target {', '.join(state.options.targets)}; {place}; seed {state.seed}"]
    lines += [f"backup: {line}" for line in (*_idle_servers(state), *_misspelt(state))]
    if state.options.selecting:
        lines.append(
            "backup: --backup-scenario is given, so only scenarios and tests that use testexecbackupjob run"
        )
    return lines


def _misspelt(state: State) -> list[str]:
    import backupchaos_scenarios
    from backupchaos.session.refined import misspelt

    known = [*backupchaos_scenarios.names(), *(one.name for one in state.selected)]
    return misspelt([state.target(name) for name in state.options.targets], known)


def _idle_servers(state: State) -> list[str]:
    """A server that was named and that no selected scenario would use; a test may still choose another repository."""
    from backupchaos.engine.choosing import idle_servers

    targets = [state.target(name) for name in state.options.targets]
    kind = {"repository": state.options.repository} if state.options.repository else {}
    scenarios = [one.scenario.model_copy(update=kind) for one in state.selected]
    runs = [(scenario, target) for scenario in scenarios for target in targets]
    return idle_servers(state.session.settings.servers, runs, SERVICE)


def left_out(config: pytest.Config) -> list[str]:
    """Deselected tests and modules that could not be imported."""
    state = state_of(config)
    lines: list[str] = []
    if config.get_verbosity() < 0:
        return lines  # pytest's own count still tells of them
    if state.deselected:
        tests = "1 test that does" if state.deselected == 1 else f"{state.deselected} tests that do"
        lines.append(f"backup: {tests} not use testexecbackupjob deselected; name a file to run it too")
    if state.forgiven:
        listed = ", ".join(state.forgiven[:3]) + (" ..." if len(state.forgiven) > 3 else "")
        lines.append(
            f"backup: {len(state.forgiven)} modules that do not use testexecbackupjob cannot be imported and are "
            f"left out ({listed}); run pytest without --backup-scenario to see why"
        )
    return lines


def results(state: State) -> list[RunResult]:
    """The results of all runs of this session, in the order in which they ended."""
    state.add_runs(state.take_new_runs())
    return [load_result(Path(directory) / "results.json") for directory in state.directories]


def finish(session: pytest.Session) -> None:
    """Write the HTML report; a failed write or too few runs fail the session."""
    state = state_of(session.config)
    found = results(state)
    if found:
        _write(session, state)
    made = sum(result.verdict in _MADE for result in found)
    wanted = state.options.min_run
    if made < wanted and not session.config.getoption("collectonly", False):
        state.report_problem += f"--backup-min-run={wanted}: only {made} scenario runs were made. "
        _fail(session)


def _write(session: pytest.Session, state: State) -> None:
    from backupchaos_reports.html import load_runs, write_report

    try:
        runs = load_runs(Path(directory) for directory in state.directories)
        state.report = write_report(runs, state.options.report)
    except Exception as error:  # whatever it is: verdicts and summary must not be lost with the page
        kind = "" if isinstance(error, OSError | BackupChaosError) else f"{type(error).__name__}: "
        state.report_problem += f"the report could not be written: {kind}{error}. "
        _fail(session)


def _fail(session: pytest.Session) -> None:
    if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def print_summary(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Everything that people need after the run, and nothing if there was none."""
    state = state_of(config)
    found = results(state)
    if not found:
        if missed := never_begun(config):
            terminal.write_line(f"backup: {missed}")
        if state.report_problem:
            terminal.write_line(f"backup: {state.report_problem.strip()}", red=True)
        return
    terminal.write_sep("=", "backup scenarios")
    # Words of the tools under test follow: nothing in them may be taken for a workflow command.
    token = secrets.token_hex(16) if os.environ.get("GITHUB_ACTIONS") == "true" else ""
    if token:
        terminal.write_line(f"::stop-commands::{token}")
    try:
        for line in _lines(terminal, state, found):
            terminal.write_line(defused(line))
    finally:
        if token:
            terminal.write_line(f"::{token}::")
    if state.report_problem:
        terminal.write_line(f"backup: {state.report_problem.strip()}", red=True)


def _lines(terminal: pytest.TerminalReporter, state: State, found: list[RunResult]) -> list[str]:
    from backupchaos_reports import table

    width = _width()
    colour = bool(terminal.hasmarkup)
    lines: list[str] = []
    for result, directory in zip(found, state.directories, strict=True):
        full = len(found) <= FULL_TABLES or result.verdict not in {Verdict.PASS, Verdict.SKIPPED}
        if full and result.checks:
            lines += _table(result, directory, width, colour)
        else:
            badge = table.paint(table.badge(result.verdict), result.verdict, colour)
            lines.append(f"{badge}  {table.title(result)}  {measured(result.duration)}")
    report = os.path.relpath(state.report) if state.report else None
    lines += table.summary(found, report=report, width=width)
    lines += filter(None, [never_begun(state.config)])
    first = next((r for r in found if r.verdict is not Verdict.PASS and r.reproduce), None)
    repeat = first or next((r for r in found if r.reproduce), None)
    if repeat is not None:
        lines.append(f"replay: {repeat.reproduce}")
    return lines


def _table(result: RunResult, directory: str, width: int | None, colour: bool) -> list[str]:
    from backupchaos_reports import table

    lines = [f"{table.paint(table.badge(result.verdict), result.verdict, colour)}  {table.title(result)}"]
    lines += table.expectations_table(result.checks, width=width, colour=colour).split("\n")
    return [*lines, f"stored in {os.path.relpath(directory)}", ""]


def _width() -> int | None:
    import shutil

    return (
        None if os.environ.get("COLUMNS") else max(80, min(140, shutil.get_terminal_size((100, 24)).columns))
    )
