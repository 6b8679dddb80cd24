"""The same scenario gives the same verdict in namespaces and in containers; ``benchmarks/parity.py`` runs them all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import backupchaos_scenarios as library
from backupchaos.errors import MissingCapability
from backupchaos.results import Verdict

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
parity: Any = pytest.importorskip("parity")
sys.path.pop(0)
SAMPLE = {
    "reference": {
        "disk_full": Verdict.PASS,  # the size of a volume
        "version_drift": Verdict.PASS,  # who was executed, by the supervisor
        "permission_denied": Verdict.PASS,  # rights
        "repository_unmounted": Verdict.PASS,  # a mount, in every container
    },
    "restic": {
        "process_killed": Verdict.FAIL,  # its lock stays
        "config_drift": Verdict.PASS,  # a shell starts the tool
        "file_unreadable": Verdict.PASS,  # the supervisor, under Go
    },
    "rclone": {
        "network_loss": Verdict.PASS,  # tap and toxiproxy
        "cron_environment": Verdict.PASS,  # the tool is not on the job's PATH
    },
    "borg": {
        "disk_readonly": Verdict.PASS,
        "clock_jumps_back": Verdict.PASS,  # without the vDSO
    },
    "kopia": {
        "normal": Verdict.PASS,  # a command line of one's own
        "config_drift": Verdict.PASS,  # a bare name behind a shell
    },
}
"""What CI can afford: for each target what goes by different mechanisms, with the verdict that it gets."""
WITH_CATALOG = ("catalog_down", "catalog_blinks", "tiers_slow_and_lossy")


def cases() -> list[Any]:
    """Targets with scenarios, each where its programs are."""
    wanted = [
        pytest.param(
            target,
            scenario,
            verdict,
            marks=[] if target == "reference" else pytest.mark.needs(target),
            id=f"{target}-{scenario}",
        )
        for target, scenarios in SAMPLE.items()
        for scenario, verdict in scenarios.items()
    ]
    needs = pytest.mark.needs("redis")
    return wanted + [
        pytest.param("reference", name, Verdict.PASS, marks=needs, id=f"reference-{name}")
        for name in WITH_CATALOG
    ]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return parity.both(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.needs("docker", "namespaces", "seccomp")
@pytest.mark.parametrize(("target", "scenario", "verdict"), cases())
def test_both_say_the_same(target: str, scenario: str, verdict: Verdict, places: Any) -> None:
    pair = parity.compare(library.load(scenario), parity.TARGETS[target], 1, places)
    assert pair.same and len(pair.versions) == 1, pair
    assert verdict in {seen.verdict for seen in pair.local}, pair


@pytest.mark.needs("docker", "namespaces", "seccomp", "root")
def test_what_differs_is_seen_and_explained(places: Any) -> None:
    pair = parity.compare(library.load("power_cut"), "reference", 1, places)
    assert not pair.same and pair.kind == "explained"
    assert "loop device" in pair.contained[0].words and "loop device" in pair.explanation


class Said:
    """A place whose runs come to what is given, one after the other; the last again and again.

    ``broken`` is a run in which the harness itself broke.
    """

    def __init__(self, *verdicts: str) -> None:
        self.verdicts = list(verdicts)
        self.runs = 0

    def run(self, *_: object) -> Any:
        self.runs += 1
        word = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        return parity.Seen("invalid", unmet=(parity.HARNESS,)) if word == "broken" else parity.Seen(word)


@pytest.mark.parametrize(
    ("local", "contained", "kind", "runs"),
    [
        (["pass"], ["pass"], "same", 1),
        (["fail"], ["fail"], "same", 1),
        ([parity.NOT_COVERED], [parity.NOT_COVERED], parity.NOT_COVERED, 1),
        (["pass"], ["fail"], "unexplained", parity.TRIES),
        (["pass"], ["invalid", "fail", "fail"], "unexplained", parity.TRIES),
        (["pass"], ["fail", "pass"], "wavering", 2),
        (["pass"], ["fail", "fail", "pass"], "wavering", 3),
        (["pass", "fail"], ["fail", "pass"], "wavering", 2),
        (["pass", "broken"], ["broken"], "unexplained", parity.TRIES),
        (["broken"], ["broken"], "unexplained", parity.TRIES),
    ],
)
def test_a_place_is_accused_only_of_what_the_other_never_does(
    local: list[str], contained: list[str], kind: str, runs: int
) -> None:
    places = Said(*local), Said(*contained)
    pair = parity.compare(library.load("normal"), "reference", 1, places)
    assert (pair.kind, places[0].runs, places[1].runs) == (kind, runs, runs)
    assert ("~" in str(pair), "≠" in str(pair)) == (kind == "wavering", kind == "unexplained")


def test_what_is_explained_is_not_tried_again() -> None:
    places = Said("pass"), Said(parity.NOT_COVERED)
    assert parity.compare(library.load("power_cut"), "reference", 1, places).kind == "explained"
    assert places[0].runs == places[1].runs == 1


@pytest.mark.parametrize(
    ("kinds", "versions", "code"),
    [
        (["same", "wavering", "explained"], {"1.0"}, 0),
        (["same", "unexplained"], {"1.0"}, 1),
        (["same"], {"1.0", "2.0"}, 1),
    ],
)
def test_what_is_not_explained_fails_and_so_does_another_version(
    kinds: list[str],
    versions: set[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Made:
        def __init__(self, kind: str) -> None:
            self.kind, self.versions = kind, versions

    monkeypatch.setattr(parity, "pairs", lambda *_: [Made(kind) for kind in kinds])
    monkeypatch.setattr(sys, "argv", ["parity.py", "--target", "restic"])
    assert parity.main() == code
    assert f"{len(kinds)} compared" in capsys.readouterr().out


def test_what_cannot_be_had_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise MissingCapability("image", "it is not here")

    monkeypatch.setattr(parity, "run_scenario", refuses)
    seen = parity.Place(object(), tmp_path).run(library.load("normal"), "reference", 1)
    assert (seen.verdict, seen.version) == (parity.NOT_COVERED, "") and "not here" in str(seen)


def test_every_explanation_is_told_to_users() -> None:
    text = (ROOT / "docs/containers.md").read_text("utf-8")
    for scenario, why in parity.EXPLAINED.items():
        assert f"`{scenario}`" in text and why in text.replace("\n", " ")
