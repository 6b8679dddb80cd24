from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from backupchaos.model import positions
from backupchaos.model.positions import Spot, read_document

LOADERS = [loader for loader in (getattr(yaml, "CSafeLoader", None), yaml.SafeLoader) if loader is not None]


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(positions, "_LOADER", request.param)
    return request.param


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("true", True),
        ("FALSE", False),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0x10", 16),
        ("0o10", 8),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        (".inf", float("inf")),
        ("'12'", "12"),
        ('"true"', "true"),
        ("50%", "50%"),
        ("9" * 19, "9" * 19),
        ("9" * 5000, "9" * 5000),
        ("1e999", float("inf")),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    document = read_document(f"k: {text}\n")
    assert document.flaws == []
    assert document.data == {"k": value}
    assert type(document.data["k"]) is type(value)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read_document("1: a\ntrue: b\non: c\n").data == {"1": "a", "true": "b", "on": "c"}


def test_places_of_keys_and_values() -> None:
    document = read_document("a:\n  b: [x, {c: yes it is}]\n")
    assert document.keys[("a", "b")] == Spot(2, 3, 1)
    assert document.values[("a", "b", 0)] == Spot(2, 7, 1)
    assert document.keys[("a", "b", 1, "c")] == Spot(2, 11, 1)
    assert document.values[("a", "b", 1, "c")] == Spot(2, 14, 9)


def test_a_missing_place_is_its_parents_key() -> None:
    document = read_document("a:\n  b: {c: d}\n")
    assert document.find(("a", "b", "nothing")) == document.keys[("a", "b")]
    assert document.find(("a", "b", "c")) == document.values[("a", "b", "c")]
    assert document.find(("a", "b", "c"), at_key=True) == document.keys[("a", "b", "c")]
    assert document.find(("z",)) == Spot(1, 1, 1)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_of_other_systems(newline: str) -> None:
    document = read_document(newline.join(["a: 1", "b:", "  c: 2", ""]))
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.values[("b", "c")] == Spot(3, 6, 1)


def test_values_behind_a_refused_one_are_still_read() -> None:
    document = read_document("a: &x 1\nb: *x\nc: !t {d: 1}\ne: 5\n")
    assert [flaw.code for flaw in document.flaws] == ["anchor", "alias", "tag"]
    assert document.data["e"] == 5
    assert document.unusable == {("b",), ("c",)}


def test_an_alias_bomb_is_no_bomb() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    began = time.process_time()
    document = read_document("\n".join(rows))
    assert {flaw.code for flaw in document.flaws} == {"anchor", "alias"}
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("[" * 200_000, {"too-deep"}),
        ("{a: " * 60_000, {"too-deep"}),
        ("- " * 100_000, {"too-deep"}),
        ("? " * 100_000, {"too-large", "too-deep"}),  # as one parser or the other comes to an end
        ("[" + "1, " * 80_000, {"too-large"}),
        ("a: 1\n" * 50_000, {"duplicate-key"}),
    ],
    ids=["lists", "mappings", "items", "keys", "values", "repeated"],
)
def test_bombs_end_soon(text: str, codes: set[str]) -> None:
    began = time.process_time()
    document = read_document(text)
    assert codes & {flaw.code for flaw in document.flaws}
    assert time.process_time() - began < 10


def test_a_key_that_is_a_mapping_leaves_the_rest_readable() -> None:
    document = read_document("? {a: [1, 2], b: {c: d}}\n: {x: [y]}\nz: 1\n")
    assert document.data == {"z": 1}
    assert [flaw.code for flaw in document.flaws] == ["bad-key"]


def test_of_two_equal_keys_the_first_is_kept_and_the_second_located() -> None:
    document = read_document("a: {b: 1}\na: {c: 2}\n")
    assert document.data == {"a": {"b": 1}}
    assert document.flaws[0].spot == Spot(2, 1, 1)
    assert ("a", "c") not in document.keys


@pytest.mark.parametrize(
    "text",
    [
        "a: [b",
        "a: 'b",
        'a: "\\d"',
        "a: b: c",
        "a\nb: c",
        "\ta: b",
        "a: @b",
        "%z",
        "a: !x!y z",
        "a: *",
        "- a\nb: c",
    ],
)
def test_both_parsers_complaints_have_our_words(text: str) -> None:
    flaw = read_document(f"k: 1\n{text}\n").flaws[-1]
    assert flaw.code in {"syntax", "tab"}
    assert "cannot be read as YAML" not in flaw.message
    assert flaw.hint
