from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos import units
from backupchaos.durations import format_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("250ms", 0.25), ("1m30s", 90.0), ("2h", 7200.0), ("1.5s", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("bad", ["5", 5, "5 minutes", "", "s", "-5s", "5s5", None, True, "1:30"])
def test_a_duration_without_a_unit_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="expected a duration with a unit"):
        units.parse_duration(bad)


@pytest.mark.parametrize(("text", "size"), [("16MiB", 2**24), ("1kB", 1000), ("512 KiB", 2**19), ("7B", 7)])
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("bad", ["16", 16, "16M", "MiB", "-1MiB", "1e3B"])
def test_a_size_without_a_unit_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="expected a size with a unit"):
        units.parse_size(bad)


def test_percentages_and_rates() -> None:
    assert units.parse_percent("50%") == 0.5
    assert units.parse_rate("1MiB/s") == 2**20
    for bad in ("101%", "50", 0.5, "-1%"):
        with pytest.raises(ValueError, match="percentage"):
            units.parse_percent(bad)
    with pytest.raises(ValueError, match="rate"):
        units.parse_rate("1MiB")


def test_ranges() -> None:
    assert units.parse_count_range(3) == (3, 3)
    assert units.parse_count_range("1..10") == (1, 10)
    assert units.parse_count_range("1..") == (1, None)
    for bad in (True, -1, "10..1", "a", "..3", 1.5):
        with pytest.raises(ValueError, match="number or a range"):
            units.parse_count_range(bad)


@given(st.integers(1, 10**6))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert units.parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-4)


@given(st.integers(0, 5), st.integers(0, 9))
def test_a_formatted_range_reads_back(low: int, more: int) -> None:
    limits = (low, low + more)
    text = units.format_range(limits)
    assert units.parse_count_range(int(text) if text.isdigit() else text) == limits
