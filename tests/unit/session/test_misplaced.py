"""What only this machine shows to be wrong is told with the line in which it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupchaos.engine import run as engine
from backupchaos.engine.prepare import real_source
from backupchaos.errors import Misplaced, UsageProblem
from backupchaos.model.loader import load_scenario, located
from backupchaos.model.problems import ScenarioErrors
from backupchaos.session.runner import Order, Session
from backupchaos.session.settings import Settings
from backupchaos.targets.registry import resolve_target

TEXT = "scenario: x\ntitle: t\nsource:\n  path: /no/such/place\n"


def test_a_source_that_is_not_here_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.chaos.yaml"
    file.write_text(TEXT)
    scenario = load_scenario(file)
    monkeypatch.setattr(engine, "run_scenario", lambda *_: real_source("/no/such/place"))
    session = Session(Settings(runs=tmp_path / "runs", seed=1))
    with pytest.raises(ScenarioErrors) as caught:
        session.run(Order(scenario, resolve_target("reference"), str(file)))
    assert str(caught.value) == (
        f"{file}:4:9: not-here 'path': '/no/such/place' is not a directory on this machine\n"
        "    4 |   path: /no/such/place\n"
        "      |         ^~~~~~~~~~~~~~\n"
        "      Name one that is here, or leave 'path' out for a generated source."
    )
    with pytest.raises(Misplaced, match=r"^source\.path: '/no/such/place' is not"):
        session.run(Order(scenario, resolve_target("reference")))


def test_a_file_that_is_gone_by_then_has_no_lines(tmp_path: Path) -> None:
    mistake = Misplaced(("source", "path"), "it is not here")
    assert located(mistake, tmp_path / "gone.chaos.yaml") is mistake
    assert isinstance(mistake, UsageProblem)


def test_a_link_to_what_the_kernel_shows_is_no_source(tmp_path: Path) -> None:
    link = tmp_path / "files"
    link.symlink_to("/proc/self")
    with pytest.raises(Misplaced, match=r"^source\.path: '.*/files' holds what the kernel .* not files"):
        real_source(str(link))
