"""The command line in this process, with the fake engine of the plugin's tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

NAME = "backupchaos_test_fakes"
FAKES = Path(__file__).parents[1] / "pytester" / "fakes.py"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The fake engine; the working directory is an empty folder."""
    for name in ("FAKE_VERDICTS", "FAKE_MISSING", "FAKE_LACKING", "FAKE_HANG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location(NAME, FAKES)
    assert spec is not None and spec.loader is not None
    module = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(monkeypatch.setattr)
    monkeypatch.setattr("backupchaos_cli.listing.make_environment", module.make_environment)
    monkeypatch.chdir(tmp_path)
    return module


@pytest.fixture
def cli(fakes: ModuleType, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Call it; returns exit code, standard output and standard error."""
    from backupchaos_cli.main import main

    def call(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return call
