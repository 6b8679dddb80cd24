"""The arrows between the packages, and the weight of the first import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "backupchaos": "harness/backupchaos",
    "pytest_backupchaos": "plugins/pytest_backupchaos",
    "backupchaos_cli": "plugins/backupchaos_cli",
    "backupchaos_targets": "plugins/backupchaos_targets",
    "backupchaos_reference": "plugins/backupchaos_reference",
    "backupchaos_reports": "reports/backupchaos_reports",
    "backupchaos_scenarios": "scenarios/backupchaos_scenarios",
}
MAY_IMPORT = {
    "backupchaos": set(),
    "backupchaos_reference": set(),
    "backupchaos_targets": {"backupchaos"},
    "backupchaos_scenarios": {"backupchaos"},
    "backupchaos_reports": {"backupchaos"},
    "backupchaos_cli": {"backupchaos", "backupchaos_reports", "backupchaos_scenarios", "backupchaos_targets"},
    "pytest_backupchaos": {"backupchaos", "backupchaos_reports", "backupchaos_scenarios", "backupchaos_cli"},
}
REPORTS_MAY_USE = {
    "backupchaos.results",
    "backupchaos.history",
    "backupchaos.errors",
    "backupchaos.durations",
    "backupchaos._version",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def of_package(package: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / PACKAGES[package]).rglob("*.py")):
        for name in imports(path):
            yield path, name


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_arrows_point_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in of_package(package)
        if (top := name.partition(".")[0]) in PACKAGES and top != package and top not in MAY_IMPORT[package]
    ]
    assert not wrong


def test_reports_know_only_the_result_model() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in of_package("backupchaos_reports")
        if name.partition(".")[0] == "backupchaos" and name not in REPORTS_MAY_USE
    ]
    assert not wrong


SPEAKS = "harness/backupchaos/links/client.py"
SERVES = "harness/backupchaos/links/api.py"
ITS_ERRORS = "harness/backupchaos/links/servererrors.py"


def test_one_client_speaks_to_link_servers() -> None:
    """Time-outs, checks of attributes and quoting are in one place; whoever goes past it has none of them."""
    importing, asking = set(), set()
    for package, root in PACKAGES.items():
        for path, name in of_package(package):
            if name.partition(".")[0] == "toxiproxy":
                importing.add(str(path.relative_to(ROOT)))
        for path in (ROOT / root).rglob("*.py"):
            texts = (
                node.value
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Constant)
            )
            if any(isinstance(text, str) and text.startswith(("/proxies", "/populate")) for text in texts):
                asking.add(str(path.relative_to(ROOT)))
    assert importing == {SPEAKS, ITS_ERRORS}
    assert asking == {SPEAKS, SERVES}


def test_the_trees_need_nothing_but_the_standard_library() -> None:
    """They run in a bare interpreter inside the sandbox."""
    wrong = [
        f"{path.name} imports {name}"
        for path in sorted((ROOT / "harness/backupchaos/trees").glob("*.py"))
        for name in imports(path)
        if name.partition(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["backupchaos", "pytest_backupchaos", "pytest_backupchaos.plugin"])
def test_the_first_import_is_light(package: str) -> None:
    heavy = ["pydantic", "yaml", "jinja2", "requests", "docker", "testcontainers", "hypothesis", "toxiproxy"]
    heavy += ["asyncssh", "cryptography"]
    code = f"import sys, {package}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
