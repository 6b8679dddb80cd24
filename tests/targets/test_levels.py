"""How grave a line is: a quick search that finds exactly what a plain one would."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos.targets.base import WARNS, LogRecord
from backupchaos_targets.parsing import WORDS_OF_ERRORS, any_of, plain_level, plain_record

WORDS = sorted(WORDS_OF_ERRORS)
CASES = st.sampled_from(["lower", "upper", "title", "__str__"])
PIECES = st.one_of(
    st.text(max_size=6),
    st.sampled_from(WORDS),
    st.sampled_from([word[:-1] for word in WORDS]),
    st.sampled_from([word[1:] for word in WORDS]),
    st.sampled_from(["warn", "WARNING: ", "[warning] ", "İ", "ß", "ſ", "\n", ""]),
)
LINES = st.lists(st.tuples(CASES, PIECES).map(lambda both: _said(*both)), max_size=5).map("".join)


def _said(how: str, piece: str) -> str:
    return str(getattr(piece, how)())


def slowly(line: str) -> str:
    """The meaning: each word looked for by itself."""
    if WARNS.match(line):
        return "warning"
    lower = line.lower()
    if any(word in lower for word in WORDS_OF_ERRORS):
        return "error"
    return "warning" if "warn" in lower else "info"


@given(LINES)
def test_the_quick_search_finds_what_the_plain_one_does(line: str) -> None:
    assert plain_level(line) == slowly(line)
    assert plain_record(line) == LogRecord(slowly(line), line)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_found_and_no_part_of_it(word: str) -> None:
    assert plain_level(f"x {word.upper()}.") == "error"
    for part in (word[:-1], word[1:]):
        assert plain_level(f"x {part} y") == slowly(f"x {part} y")


WORDS_OF_AB = st.lists(st.text("ab.*", min_size=1, max_size=4), min_size=1, max_size=6)


@given(WORDS_OF_AB, st.text("ab.*", max_size=12))
def test_any_words_are_found(words: list[str], text: str) -> None:
    assert (any_of(words).search(text) is not None) == any(word in text for word in words)


def test_it_looks_at_the_first_letter_of_every_place_only_once() -> None:
    """A list of alternatives would try each at each place; the tree has as many branches as there are first letters."""
    top = any_of(WORDS).pattern.removeprefix("(?:").removesuffix(")")
    depth, branches = 0, 1
    for letter in re.sub(r"\\.", "x", top):
        depth += (letter == "(") - (letter == ")")
        branches += letter == "|" and depth == 0
    assert branches == len({word[0] for word in WORDS if not any(o != word and o in word for o in WORDS)})
