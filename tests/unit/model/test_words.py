from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos.model.faults import KINDS
from backupchaos.model.words import choices, escape, listed, nearest, shown


@given(st.text(alphabet=st.characters()))
def test_escaped_text_is_one_printable_line(text: str) -> None:
    assert escape(text).isprintable()
    escape(text).encode("utf-8")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("network.dwon", "network.down"),
        ("disk_full", "disk.full"),
        ("Disk.Full", "disk.full"),
        ("bitflip", "repository.bitflip"),
        ("pause", "process.pause"),
        ("meteor", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_nearest(word: str, near: str | None) -> None:
    assert nearest(word, KINDS) == near


def test_values_in_words() -> None:
    values: list[object] = ["a\n", "", None, True, 3, [], {}]
    assert [shown(value) for value in values] == [
        "'a\\n'",
        "an empty text",
        "nothing",
        "true",
        "3",
        "a list",
        "a mapping",
    ]
    assert len(shown("x" * 1000)) < 70


def test_lists_and_choices() -> None:
    assert listed(["a", "b", "c"]) == "a, b or c"
    assert choices("b1", ["a", "b2"]) in {"Valid: a, b2.", "Did you mean 'b2'? Valid: a, b2."}
