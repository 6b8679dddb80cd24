"""Tests that need something special are skipped with the reason, or fail where it is required."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "tests_capabilities", Path(__file__).with_name("capabilities.py")
)
assert _SPEC is not None and _SPEC.loader is not None
capabilities: Any = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault("tests_capabilities", capabilities)
_SPEC.loader.exec_module(capabilities)


# Whoever starts us in the background (nohup, a script's '&') has us ignore these, and so every program that we start.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

_DIRECTORY = Path.cwd()
collect_ignore_glob = [] if importlib.util.find_spec("hypothesis") else ["*"]
"""Without the test extra (a user who only wants to run a scenario in this checkout) there are no tests here."""


def pytest_report_header() -> list[str]:
    return ["tests: left out, pip install -e '.[test]' to run them"] if collect_ignore_glob else []


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for capability in marker.args:
            reason = capabilities.missing(capability)
            if not reason:
                continue
            if capability in capabilities.required():
                pytest.fail(f"{capability} is required here, but: {reason}", pytrace=False)
            pytest.skip(f"needs {capability}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """A test that leaves another working directory behind is told of it, and not those after it."""
    yield
    try:
        moved = Path.cwd() != _DIRECTORY
    except FileNotFoundError:
        moved = True
    if moved:
        os.chdir(_DIRECTORY)
        pytest.fail("the test has left its working directory behind", pytrace=False)
