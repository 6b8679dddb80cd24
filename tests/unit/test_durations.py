"""Durations in words: limits can be read back, measured ones can be read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos.durations import format_duration, measured
from backupchaos.units import LONGEST, parse_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0ms"),
        (5e-7, "0.0005ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (2.5, "2.5s"),
        (60, "1m"),
        (60.00001, "1m0.00001s"),
        (90, "1m30s"),
        (3900, "1h5m"),
        (86400, "24h"),
        (129600, "36h"),
        (172800, "2d"),
        (31622400, "366d"),
        (31622399, "365d23h59m59s"),
    ],
)
def test_a_limit_as_in_a_file(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
    assert parse_duration(words) == pytest.approx(seconds, abs=1e-9)


@given(st.floats(0, LONGEST))
def test_every_limit_reads_back(seconds: float) -> None:
    words = format_duration(seconds)
    assert parse_duration(words) == pytest.approx(seconds, abs=1e-6)
    assert "e" not in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-0.001, "0.00 s"),
        (0.0, "0.00 s"),
        (2.5, "2.50 s"),
        (59.99, "59.99 s"),
        (59.996, "1 min"),
        (65, "1 min 5 s"),
        (3599.7, "1 h"),
        (3900, "1 h 5 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
        (31622400, "366 d"),
    ],
)
def test_what_was_measured_is_readable(seconds: float, words: str) -> None:
    assert measured(seconds) == words


@given(st.floats(0, 1e12))
def test_what_was_measured_is_never_an_exponent(seconds: float) -> None:
    assert re.fullmatch(r"\d+\.\d\d s|\d+ (min|h|d)( \d+ (s|min|h))?", measured(seconds))
