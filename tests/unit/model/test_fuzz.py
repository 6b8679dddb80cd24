"""Whatever the file holds: a scenario or ScenarioErrors, never another exception, and soon."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import backupchaos_scenarios
from backupchaos.model import positions
from backupchaos.model.loader import ScenarioErrors, load_scenario_text
from backupchaos.model.source_text import decode

BOUND = 5.0
"""Seconds for one small file; generous, since machines are busy."""

BUILT_IN = [backupchaos_scenarios.path(name).read_text("utf-8") for name in backupchaos_scenarios.names()]
PIECES = ["{", "}", "[", "]", ":", ": ", ",", "- ", "\n", "\n  ", "\t", "'", '"', "&a ", "*a", "!!x ", "<<: ", "? ", "|", ">",
          "%", "@", "#", "~", "---\n", "\\", "\x00", "\ufeff", "日", "0", "1e9", "network.down", "for", "{path}"]  # fmt: skip


def survives(text: str) -> None:
    began = time.process_time()
    try:
        load_scenario_text(text, "x.chaos.yaml")
    except ScenarioErrors as error:
        assert error.problems
        said = str(error)
        assert all(part.isprintable() for part in said.split("\n"))
        assert "Value error" not in said
        assert "Input should" not in said
        for problem in error.problems:
            assert problem.line >= 0
            assert problem.code
            assert problem.message
    assert time.process_time() - began < BOUND


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b"\xed\xa0\x80")
def test_any_bytes(raw: bytes) -> None:
    try:
        survives(decode(raw, "x"))
    except ScenarioErrors as error:
        assert error.problems


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200))
@example("\ud800")
@example("a: \x85b: [")
def test_any_text(text: str) -> None:
    survives(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@example("---\n\n  ")
def test_pieces_of_yaml(text: str) -> None:
    survives(text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(BUILT_IN),
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(PIECES)), min_size=1, max_size=4),
)
def test_scenarios_with_pieces_inserted(text: str, pieces: list[tuple[int, str]]) -> None:
    for at, piece in pieces:
        at %= len(text)
        text = text[:at] + piece + text[at + random.Random(at).randrange(3) :]
    survives(text)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(PIECES)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=6,
)
TOP = [
    "scenario",
    "title",
    "envelope",
    "tags",
    "source",
    "services",
    "volumes",
    "faults",
    "expect",
    "recover",
    "waive",
    "deadline",
]
INNER = [
    "outcome",
    "states",
    "retries",
    "log",
    "within",
    "a",
    "files",
    "path",
    "unlock",
    "clean",
    "network.down",
    "when",
]


@settings(max_examples=120, deadline=None)
@example({"deadline": {}})
@given(
    st.dictionaries(
        st.sampled_from(TOP),
        st.one_of(VALUES, st.dictionaries(st.sampled_from(INNER), VALUES, max_size=5)),
        max_size=6,
    )
)
def test_any_values_under_known_keys(data: dict[str, Any]) -> None:
    survives(yaml.safe_dump(data, allow_unicode=True))


@pytest.mark.parametrize("text", BUILT_IN)
def test_both_parsers_read_built_ins_alike(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = positions.read_document(text)
    monkeypatch.setattr(positions, "_LOADER", yaml.SafeLoader)
    second = positions.read_document(text)
    assert first.data == second.data
    assert first.keys == second.keys
    assert first.values == second.values


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_pieces_of_yaml_without_the_c_parser(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "_LOADER", yaml.SafeLoader)
        survives(text)
