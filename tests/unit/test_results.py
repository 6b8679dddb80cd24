from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.results import (
    CheckResult,
    Evidence,
    FaultResult,
    JobResult,
    RestoreResult,
    Retry,
    RunResult,
    StateChange,
    Verdict,
    load_result,
)

RESULT = RunResult(
    run_id="r1",
    scenario="network_loss",
    title="t",
    target="reference",
    target_version="1",
    repository="sftp",
    envelope="must_survive",
    seed=7,
    verdict=Verdict.FAIL,
    headline="h",
    explanation="e",
    outcome="success",
    states=(StateChange("RUNNING", 1.0, "job"),),
    retries=(Retry(2.0, "log", "cut", 0.5),),
    checks=(
        CheckResult("honest", "a", "b", "c", Verdict.FAIL, "honest", evidence=(Evidence("x", (1,), 2.0),)),
    ),
    faults=(
        FaultResult(
            "cut",
            "network.down",
            "repository",
            "network",
            "",
            "tap",
            "at 50%",
            1.0,
            2.0,
            True,
            (Evidence("y"),),
            True,
        ),
    ),
    restores=(RestoreResult("newest", "s1", True, 0, identical=3, expected=3, differences=("a: b",)),),
    jobs=(JobResult("fault", 0, "success", 1.0, 2.0),),
    waived={"loud": "why"},
    notes=("n",),
)


def test_a_result_survives_storage(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    RESULT.save(path)
    assert load_result(path) == RESULT
    assert not (tmp_path / "results.tmp").exists()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "other"}', '{"schema": "backupchaos/results/1"}']
)
def test_what_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UsageProblem, match=r"results\.json"):
        load_result(path)


def test_a_restore_that_was_not_made_is_not_equal() -> None:
    restore = RESULT.restores[0]
    assert restore.equal is True
    assert replace(restore, performed=False).equal is None
    assert replace(restore, returncode=1).equal is False
    assert replace(restore, different=1).equal is False
    assert replace(restore, missing=1).equal is False
    assert replace(restore, extra=1).equal is False
