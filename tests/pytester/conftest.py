"""Runs of pytest inside pytest, with a fake engine."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
NAME = "backupchaos_test_fakes"


# A run inside this process forgets what it imported; what is imported before is kept, and stays what it was.
# (PyYAML's parser is a C extension and would not survive a second import at all.)
KEPT = (
    "yaml",
    "jinja2",
    "requests",
    "backupchaos.engine.run",
    "backupchaos.model.loader",
    "backupchaos.session.capabilities",
    "backupchaos_reports.html",
    "backupchaos_targets.reference",
    "pytest_backupchaos.job",
    "pytest_backupchaos.live",
    "pytest_backupchaos.summary",
)


@pytest.fixture(scope="session", autouse=True)
def imported() -> None:
    for name in KEPT:
        importlib.import_module(name)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, HERE / "fakes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake engine, installed in this process; its ``calls`` tell what was run."""
    for name in ("GITHUB_ACTIONS", "FAKE_VERDICTS", "FAKE_MISSING", "FAKE_LACKING", "FAKE_HANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    module = _load()
    module.install(monkeypatch.setattr)
    return module


@pytest.fixture
def project(pytester: pytest.Pytester, fakes: ModuleType) -> pytest.Pytester:
    """An empty project whose runs are fake, also those in other processes (``-n``, ``runpytest_subprocess``)."""
    pytester.makeconftest(
        f"""
        import importlib.util, sys
        if {NAME!r} not in sys.modules:
            spec = importlib.util.spec_from_file_location({NAME!r}, {str(HERE / "fakes.py")!r})
            module = sys.modules[{NAME!r}] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.install(setattr)
        """
    )
    return pytester


USES = """
    def test_plain():
        pass

    def test_backup(testexecbackupjob):
        run = testexecbackupjob()
        assert run.verdict == "pass"
        assert run.outcome == "success"
"""


@pytest.fixture
def using(project: pytest.Pytester) -> pytest.Pytester:
    """A project with one ordinary test and one that uses the fixture."""
    project.makepyfile(test_it=USES)
    return project
