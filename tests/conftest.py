"""Tests that need something special are skipped with the reason, or fail where it is required."""

from __future__ import annotations

import importlib.util
import sys
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
