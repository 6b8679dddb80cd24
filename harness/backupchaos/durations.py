"""Durations in words: limits as people write them in a file, and what was measured as people read it.

Nothing of ours is imported, so that reports can use it too.
"""

from __future__ import annotations

_NANO = 10**9
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_duration(seconds: float) -> str:
    """A limit, as ``units.parse_duration`` reads it back: ``250ms``, ``5s``, ``1m30s``, ``1h5m``, ``366d``.

    To the microsecond from a second on, below that to the nanosecond. 36 hours are ``36h``: days are counted from two on.
    """
    if seconds < 1:
        return f"{_plain(round(seconds * _NANO), 6)}ms"
    whole, micro = divmod(round(seconds * 10**6), 10**6)
    days, rest = divmod(whole, _DAY) if whole >= 2 * _DAY else (0, whole)
    hours, rest = divmod(rest, _HOUR)
    minutes, last = divmod(rest, _MINUTE)
    parts = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if count]
    if last or micro or not parts:
        parts.append(f"{_plain(last * 10**6 + micro, 6)}s")
    return "".join(parts)


def measured(seconds: float) -> str:
    """What took so long: ``2.50 s``, ``1 min 5 s``, ``1 h 5 min``, ``366 d``; a time that is no more than a moment is ``0.00 s``."""
    if seconds < _MINUTE - 0.005:
        return f"{max(0.0, seconds):.2f} s"
    whole = round(seconds)
    for size, unit, below, part in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {unit}" + (f" {rest // below} {part}" if rest >= below else "")
    return f"{seconds:.2f} s"


def _plain(count: int, places: int) -> str:
    """A fixed-point number, without an exponent and without idle digits."""
    whole, rest = divmod(count, 10**places)
    return f"{whole}.{rest:0{places}}".rstrip("0").rstrip(".")
