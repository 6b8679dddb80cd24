"""``backupchaos cleanup``: names everything first, asks nothing, can be repeated, and leaves alone what is not ours."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backupchaos_cli import cleaning

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither what other runs on this machine left, nor a Docker daemon."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(cleaning, "_docker_in_reach", lambda: False)


def stored(folder: Path, name: str = "one") -> Path:
    place = folder / "runs" / name
    place.mkdir(parents=True)
    (place / "history.jsonl").write_text(json.dumps({"seq": 0, "t": 0.0, "kind": "run.start"}) + "\n")
    (place / "results.json").write_text("{}")
    return place


def everything(top: Path) -> set[str]:
    return {str(path) for path in top.rglob("*")}


def test_dry_run_names_everything_and_touches_nothing(cli: Cli, tmp_path: Path) -> None:
    from tests.sandbox.deadruns import plant

    folder = tmp_path / ".backupchaos"
    place = stored(folder)
    (folder / "report.html").write_text("x")
    dead = plant(tmp_path / "tmp")
    before = everything(tmp_path)
    code, out, _ = cli("cleanup", "--dry-run")
    assert (code, out) == (0, f"would have: removed the directory {dead}\n")
    code, named, _ = cli("cleanup", "--dry-run", "--all")
    assert code == 0
    assert everything(tmp_path) == before
    code, done, _ = cli("cleanup", "--all")
    assert named == "".join(f"would have: {line}\n" for line in done.splitlines())
    assert f"removed {place.relative_to(tmp_path)}\n" in done
    assert not place.exists()
    assert not dead.exists()
    assert not (folder / "report.html").exists()


def test_all_asks_nothing_and_can_be_repeated(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path / ".backupchaos")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    assert cli("cleanup", "--all")[0] == 0
    after = everything(tmp_path)
    assert cli("cleanup", "--all") == (0, "nothing is left behind\n", "")
    assert everything(tmp_path) == after


def test_without_all_results_stay(cli: Cli, tmp_path: Path) -> None:
    place = stored(tmp_path / ".backupchaos")
    assert cli("cleanup") == (0, "nothing is left behind\n", "")
    assert (place / "results.json").exists()


@pytest.mark.parametrize(
    "history",
    ["", "not json", "[1]", '{"step": 1, "loss": 0.5}', '{"seq": 5, "t": 0, "kind": "x"}', "[" * 9999],
)
def test_a_folder_that_only_looks_like_a_run_stays(cli: Cli, tmp_path: Path, history: str) -> None:
    place = tmp_path / "out/runs/experiment"
    place.mkdir(parents=True)
    (place / "history.jsonl").write_text(history)
    assert cli("cleanup", "--all", "--results=out")[1] == "nothing is left behind\n"
    assert (place / "history.jsonl").read_text() == history


def test_no_link_is_followed(cli: Cli, tmp_path: Path) -> None:
    elsewhere = stored(tmp_path / "precious")
    (tmp_path / "out/runs").mkdir(parents=True)
    (tmp_path / "out/runs/link").symlink_to(elsewhere)
    linked = tmp_path / "out/runs/linked"
    linked.mkdir()
    (linked / "history.jsonl").symlink_to(elsewhere / "history.jsonl")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/runs").symlink_to(tmp_path / "precious/runs")
    before = everything(tmp_path)
    for results in ("out", "whole"):
        assert cli("cleanup", "--all", f"--results={results}")[1] == "nothing is left behind\n"
    assert everything(tmp_path) == before


def test_what_somebody_put_into_a_runs_folder_stays(cli: Cli, tmp_path: Path) -> None:
    place = stored(tmp_path / ".backupchaos")
    (place / "notes.txt").write_text("mine")
    code, out, _ = cli("cleanup", "--all")
    assert code == 0
    assert "kept .backupchaos/runs/one: it holds more than a run stores" in out
    assert os.listdir(place) == ["notes.txt"]


class Daemon:
    """What ``engine.ours`` says: (kind, name, owner label, how to remove it)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from backupchaos.environments.docker import engine, names

        self.removed: list[str] = []
        mine = names.owner()
        host, boot, pid, started = mine.split("/")
        owners = {
            "alive": mine,
            "dead": f"{host}/{boot}/{pid}/{int(started) + 1}",
            "abroad": f"elsewhere/{boot}/{pid}/1",
            "kept": "",
        }
        monkeypatch.setattr(cleaning, "_docker_in_reach", lambda: True)
        monkeypatch.setattr(engine, "connect", lambda: self)
        monkeypatch.setattr(
            engine,
            "ours",
            lambda _: [
                ("volume", name, owner, lambda name=name: self.removed.append(name))
                for name, owner in owners.items()
            ],
        )

    def close(self) -> None:
        pass


def test_containers_of_the_living_stay(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    daemon = Daemon(monkeypatch)
    assert cli("cleanup", "--dry-run")[1] == "would have: removed the volume dead\n"
    assert daemon.removed == []
    assert cli("cleanup")[1] == "removed the volume dead\n"
    assert daemon.removed == ["dead"]
    daemon.removed.clear()
    cli("cleanup", "--all")
    assert daemon.removed == ["dead", "kept"]
