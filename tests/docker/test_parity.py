"""The same scenario gives the same verdict in namespaces and in containers; ``benchmarks/parity.py`` runs them all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import backupchaos_scenarios as library
from backupchaos.results import Verdict

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
KOPIA = str(ROOT / "docs/examples/kopia.yaml")
parity: Any = pytest.importorskip("parity")
sys.path.pop(0)


@pytest.mark.slow
@pytest.mark.needs("docker", "namespaces", "seccomp")
@pytest.mark.parametrize(
    ("target", "scenario", "verdict"),
    [
        ("reference", "disk_full", Verdict.PASS),
        ("reference", "version_drift", Verdict.PASS),
        pytest.param("restic", "process_killed", Verdict.FAIL, marks=pytest.mark.needs("restic")),
        pytest.param("rclone", "network_loss", Verdict.PASS, marks=pytest.mark.needs("rclone")),
        pytest.param("borg", "disk_readonly", Verdict.PASS, marks=pytest.mark.needs("borg")),
        pytest.param("reference", "catalog_down", Verdict.PASS, marks=pytest.mark.needs("redis")),
        pytest.param("reference", "catalog_blinks", Verdict.PASS, marks=pytest.mark.needs("redis")),
        pytest.param("reference", "tiers_slow_and_lossy", Verdict.PASS, marks=pytest.mark.needs("redis")),
        pytest.param(KOPIA, "normal", Verdict.PASS, marks=pytest.mark.needs("kopia"), id="kopia-normal-pass"),
    ],
)
def test_both_say_the_same(target: str, scenario: str, verdict: Verdict) -> None:
    pair = parity.compare(library.load(scenario), target, 1)
    assert pair.local.same(pair.contained), pair
    assert pair.local.verdict == verdict, pair


@pytest.mark.needs("docker", "namespaces", "seccomp", "root")
def test_what_differs_is_seen_and_explained() -> None:
    pair = parity.compare(library.load("power_cut"), "reference", 1)
    assert not pair.local.same(pair.contained)
    assert "loop device" in pair.contained.words and "loop device" in pair.explanation


def test_every_explanation_is_told_to_users() -> None:
    text = (ROOT / "docs/containers.md").read_text("utf-8")
    for scenario, why in parity.EXPLAINED.items():
        assert f"`{scenario}`" in text and why in text.replace("\n", " ")
