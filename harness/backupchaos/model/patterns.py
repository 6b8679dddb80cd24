"""Regular expressions on a tool's log: bounded in cost, with a placeholder for faulted files.

Log lines come from the tool under test and may be hostile, and Python's engine backtracks: so a pattern whose
worst case explodes is refused when the scenario is read, and a line is searched in windows of fixed size.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from backupchaos.model.words import Mistake, nearest

PATH = "{path}"
"""In ``expect.log``: the name of a faulted file, as a path below the source or the repository."""

WINDOW = 1000
_WINDOWS = 16
"""So much of one record is searched; the rest of a longer one is noise, or an attack."""
_COST_LIMIT = 2.5 * WINDOW**2
_PATH = re.compile(r"(?<!\\)\{path\}")
_PLACEHOLDER = re.compile(r"(?<!\\)\{([A-Za-z_]+)\}")


def check_pattern(pattern: str) -> str:
    """The pattern itself; raises Mistake if it is no regular expression, too costly, or has a placeholder."""
    found = _PLACEHOLDER.search(pattern)
    if found:
        where = "stands only in 'expect: log:'" if found[0] == PATH else "is no placeholder"
        hint = "Write the name out, or put a backslash before a literal brace."
        raise Mistake(f"{found[0]} {where}", code="bad-placeholder", hint=hint)
    return _sound(pattern)


def check_log_pattern(pattern: str) -> str:
    """As ``check_pattern``, but ``{path}`` may stand in it."""
    for found in _PLACEHOLDER.finditer(pattern):
        if found[0] != PATH:
            near = nearest(found[1], ["path", "file", "name", "filename"])
            hint = f"Did you mean '{PATH}'?" if near else f"The only placeholder is {PATH}."
            raise Mistake(f"unknown placeholder {found[0]}", code="bad-placeholder", hint=hint)
    _sound(_PATH.sub("path", pattern))
    return pattern


def names_a_file(pattern: str) -> bool:
    """Whether ``{path}`` stands in the pattern, and not as a literal brace."""
    return _PATH.search(pattern) is not None


@lru_cache(maxsize=256)
def compiled(pattern: str, paths: tuple[str, ...] = ()) -> re.Pattern[str]:
    """The pattern ready to search, ignoring case; ``{path}`` matches any of ``paths`` literally, else nothing."""
    names = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    filled = _PATH.sub(lambda _: f"(?:{names})" if paths else "(?!)", pattern)
    return re.compile(filled, re.IGNORECASE)


def matches(pattern: str, line: str, paths: Iterable[str] = ()) -> bool:
    """Whether the pattern occurs in the line; in bounded time also for a hostile line of any length.

    Of a longer record the first 16,000 characters are searched.
    """
    expression = compiled(pattern, tuple(paths))
    if len(line) <= WINDOW:
        return expression.search(line) is not None
    last = min(len(line), _WINDOWS * WINDOW)
    return any(expression.search(line, at, at + WINDOW) for at in range(0, last, WINDOW // 2))


def _sound(pattern: str) -> str:
    # Patterns with inline flags in odd places only warn; a warning is no message for an author.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            re.compile(pattern, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError, Warning) as error:
            hint = "Put a backslash before a literal . * + ? ( ) [ ] { } ^ $ | and write it in single quotes."
            raise Mistake(f"not a regular expression: {error}", code="bad-pattern", hint=hint) from None
        if _cost(_parser().parse(pattern)) > _COST_LIMIT:
            hint = "Use at most two of * and +, and none within another; one short word finds a log line."
            raise Mistake(
                "this pattern can take forever on an unlucky line", code="costly-pattern", hint=hint
            )
    return pattern


def _parser() -> Any:
    """Python's own parser of regular expressions; it has no public name since 3.11."""
    return importlib.import_module("re._parser")


def _cost(sequence: Any) -> float:
    """How many ways a backtracking engine may try at one starting point; 1 for a fixed text."""
    cost = 1.0
    for operation, argument in sequence:
        cost = min(cost * _cost_of(str(operation), argument), 1e18)
    return cost


def _cost_of(operation: str, argument: Any) -> float:
    if operation.endswith("_REPEAT"):
        low, high, body = argument
        low, high = min(int(low), WINDOW), min(int(high), WINDOW)
        inner = _cost(body)
        choices = high - low + 1
        return float(choices) if inner == 1 else float(min(inner ** min(high, 60), 1e18)) * choices
    if operation == "SUBPATTERN":
        return _cost(argument[-1])
    if operation in {"ASSERT", "ASSERT_NOT"}:
        return _cost(argument[1])
    if operation == "ATOMIC_GROUP":
        return _cost(argument)
    if operation == "BRANCH":
        costs = [_cost(alternative) for alternative in argument[1]]
        return max(costs) if _told_apart(argument[1]) else sum(costs)
    if operation == "GROUPREF_EXISTS":
        return sum(_cost(part) for part in argument[1:] if part)
    return 1.0


def _told_apart(alternatives: Any) -> bool:
    """The first character says which alternative it is, so that only one is ever tried."""
    firsts = set()
    for alternative in alternatives:
        if not len(alternative) or str(alternative[0][0]) != "LITERAL":
            return False
        firsts.add(chr(alternative[0][1]).lower())
    return len(firsts) == len(alternatives)
