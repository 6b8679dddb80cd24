"""What the controlling process hears of tests, its own or those of pytest-xdist's workers.

Loaded in every run, so it imports nothing but pytest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from pytest_backupchaos.plugin import FIXTURE, OPTIONS, RECEIVER


class Receiver:
    """Collects which runs were made, and which tests that make runs have begun."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._wanted: set[str] = set()
        self._begun: set[str] = set()

    @property
    def never_begun(self) -> str:
        """How many tests that make runs were never started, in words; empty if all were."""
        left = len(self._wanted - self._begun)
        tests = "1 test that makes" if len(self._wanted) == 1 else f"{len(self._wanted)} tests that make"
        return (
            f"{left} of {tests} scenario runs {'was' if left == 1 else 'were'} never started" if left else ""
        )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What will be run in this process."""
        if not self._config.getoption("collectonly", False):
            self._wanted = {i.nodeid for i in session.items if FIXTURE in getattr(i, "fixturenames", ())}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """What workers will run. They send names only: of other tests than scenarios nobody knows here what they use."""
        everything = self._config.stash[OPTIONS].selecting and not any(
            "::" in word for word in self._config.args
        )
        self._wanted.update(
            name for name in ids if everything or name.startswith("backupchaos::") or ".chaos.yaml::" in name
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test began, or ended."""
        self._begun.add(report.nodeid)
        runs = getattr(report, "backupchaos_runs", ())
        self._add(runs)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if runs and hasattr(report, "node") and terminal is not None and self._config.get_verbosity() == 0:
            terminal.write("\n")  # workers write lines of progress, which must not begin behind a dot

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker ended; it may have been interrupted before it could report on its last test."""
        self._add(getattr(node, "workeroutput", {}).get("backupchaos_runs", ()))

    def _add(self, directories: Iterable[str]) -> None:
        if directories:
            from pytest_backupchaos.state import state_of

            state_of(self._config).add_runs(directories)


def never_begun(config: pytest.Config) -> str:
    """See ``Receiver``; empty in a worker."""
    receiver = config.stash.get(RECEIVER, None)
    return receiver.never_begun if receiver is not None else ""
