from __future__ import annotations

import time

import pytest

from backupchaos.model.patterns import WINDOW, check_log_pattern, check_pattern, matches
from backupchaos.model.words import Mistake

CHEAP = [
    "retry|connection",
    r"snapshot \w+ saved",
    r".*failed.*",
    r"(?:foo|bar)+baz",
    r"\d{1,3}\.\d{1,3}\.\d{1,3}",
    r"(a|b)*c",
    "(?i)a",
    r"^error: .+ denied$",
]
COSTLY = [
    r"(a+)+b",
    r"(a|a)*b",
    r"(a|ab)*c",
    r"(\w+ )+x",
    r".*a.*b.*c",
    "a?" * 30,
    r"(x*)*$",
    r"((a{1,9}){1,9}){1,9}b",
]


@pytest.mark.parametrize("pattern", CHEAP)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", COSTLY)
def test_explosive_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(Mistake, match="forever"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["a(", "[", "*", "x{,99999999999}", "(?P<n>a)(?P<n>b)", "a(?i)b", r"\8", "(?<=a+)b"]
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(Mistake, match="not a regular expression"):
        check_pattern(pattern)


def test_case_is_ignored_and_the_match_may_be_anywhere() -> None:
    assert matches("ENOSPC|no space", "write failed: No Space left on device")
    assert not matches("quota", "write failed")


def test_the_placeholder_is_a_literal_name() -> None:
    assert check_log_pattern("{path}: denied") == "{path}: denied"
    assert matches("{path}: denied", "open a.b: denied", ["a.b"])
    assert not matches("{path}: denied", "open axb: denied", ["a.b"])
    assert matches("{path}$", "open x(y", ["a", "x(y"])
    assert not matches("{path}", "anything", [])


def test_a_record_longer_than_the_window_is_searched_throughout() -> None:
    for at in (0, WINDOW - 3, WINDOW, 3 * WINDOW + 7, 12 * WINDOW):
        assert matches("needle", "x" * at + "needle" + "y" * WINDOW)


@pytest.mark.parametrize("pattern", [r".*failed.*", r"\w+x\d", r"(a|b)*c", r"(?:foo|bar)+baz"])
@pytest.mark.parametrize("line", ["x" * WINDOW, "foo" * 20_000, "ab" * 20_000], ids=["x", "foo", "ab"])
def test_hostile_lines_take_bounded_time(pattern: str, line: str) -> None:
    began = time.process_time()
    matches(pattern, line)
    assert time.process_time() - began < 10
