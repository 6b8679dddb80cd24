from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from backupchaos import units
from backupchaos.model.words import Mistake

PARSERS = [
    units.parse_duration,
    units.parse_size,
    units.parse_rate,
    units.parse_percent,
    units.parse_count_range,
]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("250ms", 0.25),
        ("1m30s", 90),
        ("1h 5m", 3900),
        ("2d", 172800),
        ("1d12h", 129600),
        ("1.5h", 5400),
        ("10us", 1e-5),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("16MiB", 2**24), ("512 B", 512), ("1.5KiB", 1536), ("1kB", 1000), ("2GB", 2 * 10**9)]
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size
    assert units.parse_rate(f"{text}/s") == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s s",
        "5s ",
        " 5s",
        "-5s",
        "5S",
        "1,5s",
        "٥s",
        "1e3s",
        "5s\n",
        "9" * 400 + "s",
        5,
        None,
    ],
)
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "16", "MiB", "16mib", "16M", "-1B", "16MiB ", "9" * 400 + "B", 16, True, []]
)
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("parse", "value", "guess"),
    [
        (units.parse_duration, 30, "30s"),
        (units.parse_duration, "2 min", "2m"),
        (units.parse_duration, "3 days", "3d"),
        (units.parse_size, "16mb", "16MiB"),
        (units.parse_size, "16M", "16MiB"),
        (units.parse_rate, "1MB", "1MiB/s"),
        (units.parse_rate, "1mb/s", "1MiB/s"),
        (units.parse_percent, 0.5, "50%"),
        (units.parse_percent, 50, "50%"),
        (units.parse_count_range, "10-1", "1..10"),
        (units.parse_count_range, "1...3", "1..3"),
    ],
)
def test_guesses(parse: object, value: object, guess: str) -> None:
    assert callable(parse)
    with pytest.raises(Mistake) as caught:
        parse(value)
    assert caught.value.hint == f"Did you mean '{guess}'?"
    parse(guess)


@given(st.sampled_from(PARSERS), st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_nothing_but_a_mistake_ever_comes_out(parse: object, value: object) -> None:
    assert callable(parse)
    try:
        parse(value)
    except Mistake as mistake:
        assert str(mistake).isprintable()
        assert len(str(mistake)) < 250


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (units.Size, st.integers(0, 2**48)),
        (units.Rate, st.integers(1, 2**40)),
        (units.Duration, st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 6))),
        (units.Percent, st.integers(0, 10**6).map(lambda n: n / 10**6)),
        (
            units.CountRange,
            st.tuples(st.integers(0, 10**8), st.one_of(st.none(), st.integers(10**8, 10**9 - 1))),
        ),
    ],
    ids=["size", "rate", "duration", "percent", "range"],
)
def test_what_is_written_reads_back_the_same(kind: Any, numbers: st.SearchStrategy[object]) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(kind)

    @given(numbers)
    def check(value: object) -> None:
        text = adapter.dump_python(value, mode="json")
        again = adapter.validate_python(text, context={"from_file": True})
        if isinstance(value, float) and isinstance(again, float):
            assert math.isclose(value, again, rel_tol=1e-12, abs_tol=1e-12)
        else:
            assert again == value

    check()


@pytest.mark.parametrize("text", ["1m0.00001s", "0.0000005ms", "8784h", "366d"])
def test_no_written_duration_breaks_what_stores_it(text: str) -> None:
    adapter: TypeAdapter[float] = TypeAdapter(units.Duration)
    seconds = adapter.validate_python(text, context={"from_file": True})
    stored = adapter.dump_python(seconds, mode="json")
    again = adapter.validate_python(stored, context={"from_file": True})
    assert again == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("kind", [units.Duration, units.Size, units.Rate])
def test_python_code_is_held_to_the_same_bounds(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a .* of at most"):
        TypeAdapter(kind).validate_python(10**18)
