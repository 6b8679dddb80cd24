"""Finding targets by name, by file, by project table."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.targets import registry
from backupchaos.targets.registry import resolve_target, target_names

OURS = {
    "command": "backupchaos_targets.command:CommandTarget",
    "reference": "backupchaos_targets.reference:ReferenceTarget",
    "restic": "backupchaos_targets.restic:ResticTarget",
}
TABLE = "backup = 'cp {source} {repository}'\nrestore = 'cp {repository} {restore}'\n"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*points: tuple[str, str]) -> None:
        found = EntryPoints(EntryPoint(name, value, registry.GROUP) for name, value in points)
        monkeypatch.setattr(registry, "entry_points", lambda **query: found.select(**query))

    install(*OURS.items())
    return install


def test_names_are_listed_without_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("backupchaos_targets")]:
        monkeypatch.delitem(sys.modules, name)
    assert target_names() == ["reference", "restic"]
    assert not [name for name in sys.modules if name.startswith("backupchaos_targets")]
    assert resolve_target("reference").name == "reference"
    assert "backupchaos_targets.restic" not in sys.modules


def test_an_unknown_name_gets_the_near_one_and_the_list(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        resolve_target("restik", tmp_path)
    assert str(caught.value).startswith(
        "there is no target 'restik'. Did you mean 'restic'? Known targets: reference, restic"
    )
    with pytest.raises(UsageProblem, match="no target 'command'"):
        resolve_target("command", tmp_path)


def test_nothing_installed(installed: Any, tmp_path: Path) -> None:
    installed()
    with pytest.raises(UsageProblem, match="pip install backupchaos"):
        resolve_target("restic", tmp_path)


def test_a_path_is_a_target_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.yaml").write_text(
        "target: mine\nbackup: cp {source} {repository}\nrestore: cp {repository} {restore}\n"
    )
    assert resolve_target("sub/x.yaml", tmp_path).name == "mine"
    assert resolve_target(str(tmp_path / "sub" / "x.yaml"), "/").name == "mine"
    with pytest.raises(UsageProblem, match=r"none\.yaml: unreadable no such file"):
        resolve_target("none.yaml", tmp_path)


def test_a_project_table_is_a_target(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(f"[tool.backupchaos.target.mine]\n{TABLE}")
    assert resolve_target("mine", tmp_path).name == "mine"
    with pytest.raises(UsageProblem, match="Did you mean 'mine'"):
        resolve_target("nine", tmp_path)
    project.write_text(f"[tool.backupchaos.target.restic]\n{TABLE}")
    with pytest.raises(UsageProblem, match="an adapter of this name is installed"):
        resolve_target("restic", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.backupchaos\n", "pyproject.toml: "),
        ("[tool.backupchaos]\ntarget = 3\n", "must hold tables"),
        ("[tool]\nbackupchaos = 3\n", "pyproject.toml: "),
        ("[tool.backupchaos.target]\nx = 3\n", "must hold tables"),
    ],
)
def test_a_broken_project_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(UsageProblem, match=message):
        resolve_target("reference", tmp_path)


def test_broken_and_doubled_adapters(installed: Any, tmp_path: Path) -> None:
    installed(("gone", "no.such.module:X"), ("fails", f"{__name__}:fails"), ("two", "a:x"), ("two", "b:x"))
    for name, message in (
        ("gone", "'gone' .no.such.module:X. cannot be loaded"),
        ("fails", "'fails' cannot be made: ZeroDivisionError"),
        ("two", "several packages offer a target 'two'"),
    ):
        with pytest.raises(UsageProblem, match=message):
            resolve_target(name, tmp_path)


def fails() -> None:
    raise ZeroDivisionError


def test_the_project_declares_its_adapters() -> None:
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["entry-points"][registry.GROUP]
    for name in declared:
        assert EntryPoint(name, declared[name], registry.GROUP).load()
    assert set(declared) == {"reference", "rclone", "borg", "restic", "command"}
