"""Durations, sizes, rates and percentages as people write them: ``5s``, ``16MiB``, ``50%``.

Numbers without a unit are refused everywhere: ``timeout: 30`` has cost people enough.
Internally durations are seconds (float), sizes are bytes (int), percentages fractions (float).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from backupchaos.durations import format_duration
from backupchaos.model.words import Mistake, shown

# Lengths are bounded, so that no value overflows; ASCII digits only, as in the published JSON Schema.
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|us|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|us|s|m|h|d) ?){{1,5}}(?<! )")
_LONG = re.compile(r"[0-9]{16,}(?:\.[0-9]+)?(?:ms|us|s|m|h|d)")
"""A duration but for its digits."""
_DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(rf"({_NUMBER}) ?(B|KiB|MiB|GiB|kB|MB|GB)")
_SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_HUGE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([TPE]i?B|B|[KMG]iB|[kMG]B)")
"""What is well written, in units or with digits that nothing here needs."""
_PERCENT = re.compile(rf"({_NUMBER}) ?%")
LONGEST = 366 * 24 * 3600.0
"""Seconds: nobody waits for more than a year, and kernels and servers count in ways that overflow some day."""
LARGEST = 2**48
"""Bytes, or bytes per second: more than any disk has, and few enough to be written in digits."""
_RANGE = re.compile(r"([0-9]{1,9})(?:\.\.([0-9]{0,9}))?")
_LOOSE = re.compile(rf"({_NUMBER}) ?([A-Za-z%]*)(/s)?")
# What people write instead, lower case; only where there is no doubt.
_MEANT_DURATION = {
    **dict.fromkeys(("", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("msec", "millis", "milliseconds"), "ms"),
    **{unit: unit for unit in _DURATION_UNITS},
}
_MEANT_SIZE = {
    **dict.fromkeys(("k", "kb", "kib"), "KiB"),
    **dict.fromkeys(("m", "mb", "mib"), "MiB"),
    **dict.fromkeys(("g", "gb", "gib"), "GiB"),
    **dict.fromkeys(("b", "byte", "bytes"), "B"),
}


def _refused(what: str, code: str, value: object, guess: str = "") -> Mistake:
    hint = f"Did you mean '{guess}'?" if guess else ""
    return Mistake(f"expected {what}, not {shown(value)}", code=code, hint=hint)


def _bounded(value: Any, most: float, words: str, hint: str, written: object) -> Any:
    """The value itself; raises ``Mistake`` if it is beyond all sense, or no finite number."""
    if value <= most:
        return value
    raise Mistake(f"expected {words}, not {shown(written)}", code="too-large", hint=hint)


def _no_longer(seconds: float, written: object) -> float:
    words = f"a duration of at most {format_duration(LONGEST)} (a year)"
    return float(_bounded(seconds, LONGEST, words, "Write a shorter one, such as 10m.", written))


def _no_larger(size: int, written: object) -> int:
    words = f"a size of at most {format_size(LARGEST)}"
    return int(_bounded(size, LARGEST, words, "It is too large for any disk.", written))


def _no_faster(rate: int, written: object) -> int:
    words = f"a rate of at most {format_size(LARGEST)}/s"
    return int(_bounded(rate, LARGEST, words, "Nothing here is as fast.", written))


def _loose(value: object) -> tuple[str, str, str] | None:
    """Number, unit in lower case and '/s' of a value that is nearly right."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _LOOSE.fullmatch(str(value).strip())
    return (match[1], match[2].lower(), match[3] or "") if match else None


def parse_duration(text: object) -> float:
    """Seconds in ``"1m30s"``, ``"250ms"``; raises ValueError naming the accepted form."""
    if isinstance(text, str) and _DURATION.fullmatch(text):
        parts = _DURATION_PART.findall(text)
        return _no_longer(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts), text)
    if isinstance(text, str) and _LONG.fullmatch(text):
        return _no_longer(math.inf, text)
    loose = _loose(text)
    unit = _MEANT_DURATION.get(loose[1]) if loose and not loose[2] else None
    guess = f"{loose[0]}{unit}" if loose and unit else ""
    raise _refused("a duration with a unit, such as 5s, 250ms or 1m30s", "bad-duration", text, guess)


def _no_unit_here(text: object, end: str = "") -> None:
    """Raise a ``Mistake`` of its own for a size whose number or unit is beyond all bounds."""
    match = _HUGE.fullmatch(text.removesuffix(end)) if isinstance(text, str) else None
    if match and match[2] not in _SIZE_UNITS:
        hint = f"Units: {', '.join(_SIZE_UNITS)}."
        raise Mistake(f"'{match[2]}' is no unit here", code="bad-size", hint=hint)
    if match:
        if len(match[1].partition(".")[0]) > 15:
            (_no_faster if end else _no_larger)(LARGEST + 1, text)
        words = f"expected a size with at most 9 digits after the point, not {shown(text)}"
        raise Mistake(words, code="bad-size", hint="Write it in a smaller unit.")


def _near_size(value: object) -> str:
    loose = _loose(value)
    unit = _MEANT_SIZE.get(loose[1]) if loose else None
    return f"{loose[0]}{unit}" if loose and unit else ""


def parse_size(text: object) -> int:
    """Bytes in ``"16MiB"``, ``"512 B"``; raises ValueError naming the accepted form."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match:
        return _no_larger(int(Decimal(match[1]) * _SIZE_UNITS[match[2]]), text)
    _no_unit_here(text)
    loose = _loose(text)
    guess = _near_size(text) if loose and not loose[2] else ""
    if loose and not loose[1]:
        # Nobody can know which unit was meant.
        hint = "Add a unit: B, KiB, MiB or GiB."
        raise Mistake(f"expected a size with a unit, not {shown(text)}", code="bad-size", hint=hint)
    raise _refused("a size with a unit, such as 512KiB or 16MiB", "bad-size", text, guess)


def parse_rate(text: object) -> int:
    """Bytes per second in ``"512KiB/s"``."""
    match = _SIZE.fullmatch(text[:-2]) if isinstance(text, str) and text.endswith("/s") else None
    if match:
        return _no_faster(int(Decimal(match[1]) * _SIZE_UNITS[match[2]]), text)
    if isinstance(text, str) and text.endswith("/s"):
        _no_unit_here(text, "/s")
    near = _near_size(text)
    raise _refused("a rate, such as 512KiB/s", "bad-rate", text, f"{near}/s" if near else "")


def parse_percent(text: object) -> float:
    """The fraction 0..1 in ``"50%"``."""
    match = _PERCENT.fullmatch(text) if isinstance(text, str) else None
    if match and 0 <= float(match[1]) <= 100:
        return float(match[1]) / 100
    loose, guess = _loose(text), ""
    if loose and not loose[1] and not loose[2] and float(loose[0]) <= 100:
        # 0.5 is half to some; 50 can only be per cent.
        guess = f"{float(loose[0]) * 100:g}%" if "." in loose[0] and float(loose[0]) <= 1 else f"{loose[0]}%"
    raise _refused("a percentage from 0% to 100%, such as 50%", "bad-percentage", text, guess)


def parse_count_range(value: object) -> tuple[int, int | None]:
    """``3`` -> (3, 3); ``"1..10"`` -> (1, 10); ``"1.."`` -> (1, None): an inclusive range."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value, value
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match:
        low = int(match[1])
        high = low if match[2] is None else int(match[2]) if match[2] else None
        if high is None or high >= low:
            return low, high
    pair = (
        re.fullmatch(r"([0-9]{1,9}) ?(?:-|to|\.\.|\.\.\.|,) ?([0-9]{1,9})", value)
        if isinstance(value, str)
        else None
    )
    guess = "..".join(sorted(pair.groups(), key=int)) if pair else ""
    raise _refused("a number or a range, such as 3, 1..10 or 1..", "bad-range", value, guess)


def format_size(size: int) -> str:
    """The largest binary unit that keeps the number short: ``16MiB``, ``1.5KiB``."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _SIZE_UNITS[unit]:
            return f"{round(size / _SIZE_UNITS[unit], 2):g}{unit}"
    return f"{size}B"


def format_range(limits: tuple[int, int | None]) -> str:
    """The inverse of ``parse_count_range``, as text."""
    low, high = limits
    return str(low) if low == high else f"{low}..{'' if high is None else high}"


def _unless(kind: type | tuple[type, ...], parse: Any, bounded: Any = None) -> Any:
    """Let Python code pass the internal value directly, within bounds; YAML only ever has strings here."""

    def convert(value: object, info: Any) -> object:
        from_file = bool(info.context and info.context.get("from_file"))
        if not from_file and isinstance(value, kind) and not isinstance(value, bool):
            return bounded(value, value) if bounded else value
        return parse(value)

    return BeforeValidator(convert)


def _text(pattern: str, description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "pattern": pattern, "description": description, "examples": list(examples)}
    )


def _exactly(show: Callable[[Any], str], parse: Callable[[object], Any], plain: Callable[[Any], str]) -> Any:
    """The short form where it reads back to the same value, else all digits: a stored scenario is the same one."""

    def serialize(value: Any) -> str:
        short = show(value)
        try:
            back = parse(short)
        except Mistake:  # an exponent, which nobody writes: 1e-05%
            return plain(value)
        # A float may differ in its last digit after the way through text; a whole number may not.
        same = back == value or (isinstance(value, float) and math.isclose(back, value, rel_tol=1e-12))
        return short if same else plain(value)

    return PlainSerializer(serialize, when_used="json")


def _digits(value: float) -> str:
    """Every digit that may be written, no exponent."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


_SCHEMA_NUMBER = r"[0-9]{1,15}(\.[0-9]{1,9})?"
_SCHEMA_SIZE = rf"^{_SCHEMA_NUMBER} ?(B|KiB|MiB|GiB|kB|MB|GB)"
_SCHEMA_DURATION = rf"^{_SCHEMA_NUMBER}(ms|us|s|m|h|d)( ?{_SCHEMA_NUMBER}(ms|us|s|m|h|d)){{0,4}}$"

Duration = Annotated[
    float,
    _unless((int, float), parse_duration, _no_longer),
    _exactly(format_duration, parse_duration, lambda seconds: f"{_digits(seconds)}s"),
    _text(_SCHEMA_DURATION, "A duration with a unit", "5s", "250ms", "1m30s"),
]
Size = Annotated[
    int,
    _unless(int, parse_size, _no_larger),
    _exactly(format_size, parse_size, lambda size: f"{size}B"),
    _text(rf"{_SCHEMA_SIZE}$", "A size with a unit", "16MiB", "512KiB"),
]
Rate = Annotated[
    int,
    _unless(int, parse_rate, _no_faster),
    _exactly(lambda rate: f"{format_size(rate)}/s", parse_rate, lambda rate: f"{rate}B/s"),
    _text(rf"{_SCHEMA_SIZE}/s$", "A rate in bytes per second", "512KiB/s"),
]
Percent = Annotated[
    float,
    _unless(float, parse_percent),
    _exactly(lambda share: f"{share * 100:g}%", parse_percent, lambda share: f"{_digits(share * 100)}%"),
    _text(r"^(100(\.0{1,9})?|0{0,10}[0-9]{1,2}(\.[0-9]{1,9})?) ?%$", "A percentage from 0% to 100%", "50%"),
]
CountRange = Annotated[
    tuple[int, int | None],
    _unless(tuple, parse_count_range),
    PlainSerializer(format_range, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "exclusiveMaximum": 10**9},
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.\.[0-9]{0,9})?$"},
            ],
            "description": "A number or an inclusive range",
            "examples": [3, "1..10", "1.."],
        }
    ),
]
