from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from backupchaos.errors import UsageProblem
from backupchaos.model import loader
from backupchaos.model.faults.network import NetworkDown
from backupchaos.model.loader import Problem, ScenarioErrors, load_scenario, load_scenario_text
from backupchaos.model.source_text import SIZE_LIMIT
from backupchaos.model.triggers import Trigger

GOOD = """\
scenario: network_loss
title: The link drops
envelope: must_survive
tags: [network, quick]
source: {files: 200, size: 16MiB, change: 10%}
repository: sftp
faults:
  cut: {network.down: repository, when: {at: 50%}, for: 5s}
expect:
  outcome: success
  states: [PENDING, RUNNING, RETRYING, RUNNING, SUCCESS]
  retries: 1..10
  backoff: growing
  within: 2m
  log: [{level: warning, matches: 'retry|connection'}]
"""


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "x.chaos.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path) -> ScenarioErrors:
    with pytest.raises(ScenarioErrors) as caught:
        load_scenario(path)
    return caught.value


def test_a_good_file(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))
    assert scenario.scenario == "network_loss"
    assert scenario.faults["cut"] == NetworkDown.model_validate(
        {"network.down": "repository", "when": Trigger(at=0.5), "for": 5.0}
    )
    assert scenario.expect.outcome == ("success",)
    assert scenario.expect.retries == (1, 10)
    assert scenario.source.size == 16 * 2**20
    assert scenario.expect.within == 120.0


@pytest.mark.parametrize(
    "change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: "---\n" + t + "...\n"]
)
def test_what_editors_on_other_systems_write(tmp_path: Path, change: object) -> None:
    assert callable(change)
    assert load_scenario(write(tmp_path, change(GOOD))) == load_scenario_text(GOOD, "x")


def test_columns_behind_a_byte_order_mark_are_right(tmp_path: Path) -> None:
    [problem] = refused(write(tmp_path, "\ufeffscenaro: x\nscenario: x\ntitle: t\n")).problems
    assert (problem.line, problem.column) == (1, 1)


def test_a_stored_scenario_reads_back_as_the_same() -> None:
    import yaml

    scenario = load_scenario_text(GOOD, "x")
    again = load_scenario_text(yaml.safe_dump(scenario.to_yaml_dict()), "y")
    assert again == scenario


@pytest.mark.parametrize(
    ("content", "code", "line", "column"),
    [
        (b"", "empty", 1, 1),
        (b"\xff\xfes\x00", "encoding", 0, 0),
        (b"scenario: x\ntitle: \xe9t\xe9\n", "encoding", 2, 8),
        (b"scenario: x\ntitle: a\x00b\n", "control-character", 2, 9),
        (b"scenario: x\ntitle: \x1b[31m\n", "control-character", 2, 8),
        (b"#" * (SIZE_LIMIT + 1), "too-large", 0, 0),
    ],
)
def test_bytes_that_are_no_yaml(tmp_path: Path, content: bytes, code: str, line: int, column: int) -> None:
    error = refused(write(tmp_path, content))
    first = error.problems[0]
    assert (first.code, first.line, first.column) == (code, line, column)
    assert "\x1b" not in str(error)
    assert "\x00" not in str(error)


def test_a_binary_file_gives_few_problems(tmp_path: Path) -> None:
    assert len(refused(write(tmp_path, b"\x01" * 1000)).problems) == 5


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in str(refused(tmp_path / "missing.chaos.yaml"))
    assert "not a regular file" in str(refused(tmp_path))
    assert "not a regular file" in str(refused(Path("/dev/zero")))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "not a regular file" in str(refused(fifo))


def test_the_file_name_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.chaos.yaml"
    assert "\x1b" not in str(refused(path))
    assert str(refused(path)).count("\n") <= 1


def test_errors_are_usage_problems_in_file_order_and_travel_between_processes() -> None:
    with pytest.raises(UsageProblem) as caught:
        load_scenario_text("tags: quick\nscenario: X!\n", "x")
    error = caught.value
    assert isinstance(error, ScenarioErrors)
    assert [(p.line, p.code) for p in error.problems] == [
        (1, "missing-key"),
        (1, "wrong-type"),
        (2, "bad-name"),
    ]
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.problems == error.problems


def test_many_problems_are_all_kept_and_some_shown() -> None:
    with pytest.raises(ScenarioErrors) as caught:
        load_scenario_text("scenario: x\ntitle: t\n" + "".join(f"k{n}: 1\n" for n in range(50)), "x")
    assert len(caught.value.problems) == 50
    assert str(caught.value).count("unknown-key") == 20
    assert str(caught.value).endswith("... and 30 more problems in this file")


def test_tabs_and_wide_characters_before_the_caret() -> None:
    problem = Problem("f", 1, 6, "c", "m", source="日\t本 xyz", width=2)
    _, line, caret = str(problem).split("\n")
    assert line == "    1 | 日\\t本 xyz"
    # Two cells for each of 日 and 本, two for the written-out tab, one for the space.
    assert caret == "      | " + " " * 8 + "^~"


def test_typos_do_not_hide_contradictions_and_contradictions_do_not_rest_on_typos() -> None:
    text = GOOD.replace("outcome: success", "outcme: success").replace("retries: 1..10", "retries: 1")
    with pytest.raises(ScenarioErrors) as caught:
        load_scenario_text(text, "x")
    assert [p.code for p in caught.value.problems] == ["unknown-key", "backoff-without-retries"]
    text = GOOD.replace("retries: 1..10", "retries: often")
    with pytest.raises(ScenarioErrors) as caught:
        load_scenario_text(text, "x")
    assert [p.code for p in caught.value.problems] == ["bad-range"]


def test_python_may_do_what_files_may_not() -> None:
    from backupchaos.model.scenario import Scenario, Source

    assert Scenario(scenario="x", title="t", source=Source(size=3, change=0.5), deadline=3).deadline == 3
    with pytest.raises(ScenarioErrors):
        load_scenario_text("scenario: x\ntitle: t\ndeadline: 3\n", "x")


def test_public_names() -> None:
    import backupchaos

    assert backupchaos.load_scenario is loader.load_scenario
