from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import backupchaos_scenarios as library
from backupchaos.errors import UsageProblem
from backupchaos.model.faults import KINDS
from backupchaos.model.patterns import check_log_pattern, matches
from backupchaos.model.scenario import STDLIB

NEEDED = {
    "normal",
    "network_loss",
    "network_loss_persistent",
    "network_slow",
    "disk_full",
    "file_locked",
    "file_locked_released",
    "permission_denied",
    "process_killed",
    "repository_corrupted",
    "type_change",
}
MODELINE = "# yaml-language-server: $schema=../scenario.schema.json"


def test_the_promised_scenarios_are_there() -> None:
    assert set(library.names()) >= NEEDED
    assert list(library.names()) == sorted(library.names())


@pytest.mark.parametrize("name", library.names())
def test_each_file_is_named_after_its_scenario_and_is_short(name: str) -> None:
    lines = library.path(name).read_text("utf-8").splitlines()
    assert library.load(name).scenario == name
    assert lines[0] == MODELINE
    comment = [line for line in lines[1:] if line.startswith("# ")]
    assert 2 <= len(comment) <= 4
    assert len([line for line in lines[1:] if not line.startswith("#")]) <= 25


@pytest.mark.parametrize("name", library.names())
def test_the_modeline_leads_to_the_schema(name: str) -> None:
    relative = MODELINE.split("=", 1)[1]
    assert (library.path(name).parent / relative).resolve() == library.schema_path().resolve()


@pytest.mark.parametrize("name", library.names())
def test_quick_ones_are_small_and_real_ones_are_not_quick(name: str) -> None:
    scenario = library.load(name)
    if "quick" in scenario.tags:
        assert scenario.source.path is None
        assert scenario.source.size + scenario.source.new <= 24 * 2**20
    assert (scenario.source.path is not None) == ("real" in scenario.tags)
    assert name not in NEEDED or "quick" in scenario.tags


GROUPS = {
    "baseline",
    "network",
    "storage",
    "power",
    "files",
    "permissions",
    "process",
    "clock",
    "repository",
    "service",
    "recovery",
    "environment",
}


def test_the_library_is_large_and_grouped() -> None:
    assert len(library.names()) >= 60
    for name in library.names():
        assert GROUPS & set(library.load(name).tags), name
    assert set(library.tags()) >= GROUPS
    assert {"silent_loss", "hang", "wedged", "destructive_success"} <= set(library.tags())


def test_every_fault_kind_is_used() -> None:
    used = {fault.kind for name in library.names() for fault in library.load(name).faults.values()}
    assert used == set(KINDS)


def test_the_expectations_table() -> None:
    """The tool-neutral table of outcomes, states and retries."""
    transient = ("PENDING", "RUNNING", "RETRYING", "RUNNING", "SUCCESS")
    table = {
        "normal": (("success",), ("PENDING", "RUNNING", "SUCCESS"), (0, 0)),
        "network_loss": (("success",), transient, (1, 10)),
        "network_loss_persistent": (("failure",), ("PENDING", "RUNNING", "RETRYING", "FAILED"), (1, None)),
        "network_slow": (("success",), ("PENDING", "RUNNING", "SUCCESS"), (0, 0)),
        "disk_full": (("failure",), ("PENDING", "RUNNING", "FAILED"), (0, 0)),
        "file_locked": (("failure", "partial"), ("PENDING", "RUNNING", "RETRYING", "FAILED"), (3, 3)),
        "file_locked_released": (("success",), transient, (1, 3)),
        "permission_denied": (("failure", "partial"), ("PENDING", "RUNNING", "FAILED"), (0, 0)),
        "process_killed": (("failure",), ("PENDING", "RUNNING", "FAILED"), (0, 0)),
    }
    for name, row in table.items():
        expect = library.load(name).expect
        assert (expect.outcome, expect.states, expect.retries) == row, name


def test_damage_must_be_found_and_never_restored_as_good() -> None:
    scenario = library.load("repository_corrupted")
    assert (scenario.expect.check, scenario.expect.restore, scenario.expect.older) == (
        "fails",
        "loud",
        "loud",
    )
    assert not {"honest", "no_collateral", "loud"} & set(scenario.waive)


def test_log_patterns_match_what_tools_say() -> None:
    for name, line in {
        "disk_full": "write /repo/data/ab: no space left on device",
        "network_loss": "Save(<data/1>) failed: connection reset, Retrying in 720ms",
        "network_loss_persistent": "dial tcp 127.0.0.1:22: connect: connection refused",
    }.items():
        assert any(matches(record.matches, line) for record in library.load(name).expect.log), name
    for name in ("file_locked", "permission_denied"):
        [record] = library.load(name).expect.log
        assert check_log_pattern(record.matches)
        assert matches(record.matches, "open /src/a/b (1).txt: denied", ["b (1).txt"])
        assert not matches(record.matches, "open /src/a/c.txt: denied", ["b (1).txt"])


def test_real_input_by_placeholder() -> None:
    assert library.load("real_stdlib").source.path == STDLIB == "{stdlib}"


def test_tags() -> None:
    tags = library.tags()
    assert set(tags["quick"]) >= NEEDED
    assert "normal" in tags["baseline"]
    for tag, names in tags.items():
        assert all(tag in library.load(name).tags for name in names)


def test_unknown_names_say_which_was_meant() -> None:
    with pytest.raises(
        UsageProblem, match=r"'netwrok_los'\. Did you mean 'network_loss'\? 'backupchaos list' shows all"
    ):
        library.path("netwrok_los")
    for name in ("", "../x", "\x1b[31m", "normal.chaos.yaml", "/etc/passwd"):
        with pytest.raises(UsageProblem, match="no built-in scenario") as caught:
            library.load(name)
        assert str(caught.value).isprintable()


def test_all_is_every_one_in_order() -> None:
    assert [scenario.scenario for scenario in library.all()] == list(library.names())


def test_importing_costs_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import backupchaos_scenarios as s; s.names();"
        "new = set(sys.modules) - before;"
        "print(sorted(n for n in new if n.split('.')[0] in {'yaml', 'pydantic', 'backupchaos', 'jsonschema'}))"
    )
    roots = ":".join(str(Path(root)) for root in sys.path if root)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": roots}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
