"""Entry point of the pytest plugin: hooks and the fixture.

Only the standard library and pytest are imported here. What a hook needs is imported by the hook, once
it knows that a scenario is wanted; a run without scenarios pays for this file and ``options`` alone.
No assertion of ours needs rewriting, which costs time in every run (PYTEST_DONT_REWRITE).
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_backupchaos import options as _options

if TYPE_CHECKING:
    from pytest_backupchaos.api import TestExecBackupJob
    from pytest_backupchaos.receiver import Receiver
    from pytest_backupchaos.state import State

FIXTURE = "testexecbackupjob"
MARKER = "backup_scenario"
_SUFFIX = ".chaos.yaml"
OPTIONS = pytest.StashKey[_options.BackupOptions]()
STATE: pytest.StashKey[State] = pytest.StashKey()
RECEIVER: pytest.StashKey[Receiver] = pytest.StashKey()
TERMINAL = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--backup-*`` and ``backup_*``."""
    _options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """``pytest_backup_target``."""
    from pytest_backupchaos import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the options; only if they select something, look at it now, so that mistakes show at once."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(name, ...): run this test under these scenarios (names or paths) instead of those of "
        f"--backup-scenario; the test must use the fixture {FIXTURE} (backupchaos)",
    )
    chosen = _options.resolve(config)
    config.stash[OPTIONS] = chosen
    from os import dup

    # During a test file descriptor 1 is pytest's capture file. The copy is the real output.
    worker = hasattr(config, "workerinput")
    try:
        config.stash[TERMINAL] = dup(2 if worker else 1)
    except OSError:
        config.stash[TERMINAL] = -1
    if not worker:
        from pytest_backupchaos.receiver import Receiver

        config.stash[RECEIVER] = receiver = Receiver(config)
        config.pluginmanager.register(receiver, "backupchaos-receiver")
    if (
        chosen.scenarios
        or chosen.targets_given
        or chosen.require
        or chosen.services
        or chosen.repository
        or chosen.allow
    ):
        from pytest_backupchaos.state import state_of

        state_of(config).validate()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close our copy of the output."""
    from os import close

    fd = config.stash.get(TERMINAL, -1)
    if fd >= 0:
        config.stash[TERMINAL] = -1
        close(fd)


@pytest.fixture
def testexecbackupjob(request: pytest.FixtureRequest) -> TestExecBackupJob:
    """Run a backup job under a fault scenario, restore, and check the result against the expectations table.

    ``run = testexecbackupjob()`` takes what --backup-scenario selected (else 'normal'); ``testexecbackupjob("disk_full")``
    or a path of a *.chaos.yaml names one; ``failure_mode=None`` means no fault. Fails unless every expectation was
    checked and held; ``check=False`` only observes. Returns a ``backupchaos.Run``.
    """
    from pytest_backupchaos.job import Job

    return Job(request)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per selected scenario and target."""
    if FIXTURE in metafunc.fixturenames:
        from pytest_backupchaos.choosing import parametrize

        parametrize(metafunc)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Every ``*.chaos.yaml`` is a test."""
    if not file_path.name.endswith(_SUFFIX):
        return None
    from pytest_backupchaos.items import ScenarioFile

    return ScenarioFile.from_parent(parent, path=file_path)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Where only scenarios are wanted, a broken module that has nothing to do with them does not stop the run."""
    report = yield
    if report.failed and collector.config.stash[OPTIONS].selecting:
        from pytest_backupchaos.choosing import forgive

        forgive(collector, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the selected scenarios, and leave out tests that have nothing to do with them."""
    if config.stash[OPTIONS].scenarios:
        from pytest_backupchaos.choosing import choose

        choose(session, config, items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker without effect would be a test that never ran under its scenario."""
    if item.get_closest_marker(MARKER) is not None and FIXTURE not in getattr(item, "fixturenames", ()):
        pytest.fail(f"the marker {MARKER} has no effect here: the test does not use {FIXTURE}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the controller of pytest-xdist which runs a test made."""
    report = yield
    if STATE in item.config.stash:
        report.backupchaos_runs = item.config.stash[STATE].take_new_runs()  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of pytest-xdist have the seed of the controller."""
    from pytest_backupchaos.state import state_of

    node.workerinput["backupchaos_seed"] = state_of(node.config).seed


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What will be run, where, and with which seed; nothing unless scenarios are selected."""
    if not config.stash[OPTIONS].scenarios:
        return []
    from pytest_backupchaos.summary import header

    return header(config)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say what was left out, and why."""
    if STATE not in config.stash:
        return []
    from pytest_backupchaos.summary import left_out

    return left_out(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report (also after an interrupt), and hold the run to ``--backup-min-run``."""
    config = session.config
    chosen = config.stash.get(OPTIONS, None)
    if chosen is None or not (STATE in config.stash or chosen.min_run):
        return
    if hasattr(config, "workerinput"):
        if STATE in config.stash:
            config.workeroutput["backupchaos_runs"] = config.stash[STATE].take_new_runs()  # type: ignore[attr-defined]
        return
    from pytest_backupchaos.summary import finish

    finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tables, counts, the report's path and how to repeat; nothing if nothing ran."""
    if STATE in config.stash:
        from pytest_backupchaos.summary import print_summary

        print_summary(terminalreporter, config)
