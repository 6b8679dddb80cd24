"""docs/scenarios.md says what the model says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import backupchaos_scenarios as library
from backupchaos.model import reference
from backupchaos.model.expectations import TRANSITIONS, Law
from backupchaos.model.faults import KINDS
from backupchaos.model.guide import example, sections
from backupchaos.model.loader import load_scenario_text
from backupchaos.model.patterns import PATH
from backupchaos.model.scenario import STDLIB, Envelope
from backupchaos.model.source_text import SIZE_LIMIT

PAGE = Path(__file__).parents[3] / "docs" / "scenarios.md"
TEXT = PAGE.read_text("utf-8")


def test_generated_tables_are_up_to_date() -> None:
    assert reference.renewed(TEXT) == TEXT, "run: python -m backupchaos.model.reference docs/scenarios.md"


def test_every_table_is_on_the_page() -> None:
    assert set(re.findall(r"<!-- table: (.+) -->", TEXT)) == set(reference.tables())
    assert TEXT.count("<!-- end -->") == len(reference.tables())


def test_an_outdated_page_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(TEXT.replace("| `deadline` |", "| `dead_line` |"), "utf-8")
    assert reference.main([str(page)]) == 0
    assert page.read_text("utf-8") == TEXT


@pytest.mark.parametrize(("name", "section"), list(sections()))
def test_every_key_is_mentioned(name: str, section: object) -> None:
    keys = getattr(section, "keys")  # noqa: B009
    assert [key for key in keys if f"`{key}`" not in TEXT] == []


def test_every_word_is_mentioned() -> None:
    words = [*KINDS, *get_args(Law), *get_args(Envelope), PATH, STDLIB, *library.names()]
    assert [word for word in words if f"`{word}`" not in TEXT] == []
    assert f"{SIZE_LIMIT // 1024}KiB" in TEXT


def test_the_transitions_on_the_page_are_the_real_ones() -> None:
    rows = re.findall(r"^\| (PENDING|RUNNING|RETRYING) \| ([A-Z, ]+) \|$", TEXT, re.M)
    assert {state: frozenset(after.split(", ")) for state, after in rows} == {
        state: after for state, after in TRANSITIONS.items() if after
    }


def test_yaml_examples_load() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    assert len(examples) >= 3
    for text in examples:
        head = "" if text.startswith("scenario:") else "scenario: x\ntitle: t\n"
        load_scenario_text(head + text, "docs/scenarios.md")


@pytest.mark.parametrize("kind", KINDS)
def test_example_of_each_kind_loads(kind: str) -> None:
    scenario = load_scenario_text(f"scenario: x\ntitle: t\nfaults:\n  a: {example(kind)}\n", "x")
    assert scenario.faults["a"].kind == kind


def test_the_library_table_has_every_built_in() -> None:
    part = TEXT.split("## Built-in scenarios")[1]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", part, re.M)) == set(library.names())
