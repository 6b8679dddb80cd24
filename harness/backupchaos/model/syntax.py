"""The YAML parser's complaints in words that say what to do."""

from __future__ import annotations

import re
from typing import Any

from backupchaos.model.positions import DEPTH_LIMIT, Flaw, Spot
from backupchaos.model.source_text import split_lines
from backupchaos.model.words import escape, shorten

# One row per complaint of either parser (libyaml, pure Python): (its words, our message, what to do).
# The order matters: context comes first in the searched text, so that the telling word wins.
_ADVICE: tuple[tuple[str, str, str], ...] = (
    (
        r"unknown escape character|did not find expected hexdecimal|expected escape sequence",
        "in double quotes a backslash starts an escape, and this is none",
        "Use single quotes; regular expressions are best written in them: '\\d+'.",
    ),
    (
        r"quoted scalar.*(end of stream|document)",
        "this quoted text is not closed",
        "Add the closing quote; a quote within '...' is written twice.",
    ),
    (
        r"flow mapping|expected ',' or '}'",
        "this '{...}' lacks a comma or its '}'",
        "Write {key: value, key: value}; quote text that contains , : { } [ ] or #.",
    ),
    (
        r"flow sequence|expected ',' or ']'",
        "this '[...]' lacks a comma or its ']'",
        "Write [a, b]; quote text that contains , : { } [ ] or #.",
    ),
    (
        r"mapping values are not allowed",
        "a ':' is not expected here",
        "Put text that contains ': ' in quotes, or check the indentation of this line.",
    ),
    (
        r"could not find expected ':'",
        "expected 'key: value', and there is no ':'",
        "Add ': ' after the key, or join this line to the one above.",
    ),
    (
        r"did not find expected key|expected <block end>|did not find expected '-' indicator|inconsistent",
        "this line does not fit the lines above it",
        "Check its indentation: keys of one mapping start in the same column.",
    ),
    (
        r"(block sequence|sequence) entries are not allowed",
        "a list item is not expected here",
        "Put each '- item' on a line of its own, below its key.",
    ),
    (r"block scalar", "this '|' or '>' text is not well formed", "Indent its lines below the key."),
    (r"undefined tag|tag", "a tag ('!...') is not allowed in a scenario", "Remove it, or quote the text."),
    (
        r"alias|anchor",
        "aliases and anchors are not allowed in a scenario",
        "Quote text that begins with * or &.",
    ),
    (
        r"directive",
        "a line that begins with '%' is not allowed in a scenario",
        "Remove it, or quote the text.",
    ),
    (
        r"document start",
        "the scenario has ended, and more text follows",
        "Is the indentation of this line right?",
    ),
    (r"node content", "a value is expected here", "Give one, or put the text in quotes."),
)


def explain(error: Any, text: str) -> Flaw:
    """A located flaw for a ``yaml.YAMLError`` raised while reading ``text``."""
    problem, context = str(getattr(error, "problem", "") or ""), str(getattr(error, "context", "") or "")
    mark = getattr(error, "problem_mark", None)
    start = getattr(error, "context_mark", None)
    lines = split_lines(text)
    if mark is None:
        return Flaw(Spot(1, 1), "syntax", f"cannot be read as YAML: {escape(shorten(str(error), 100))}")
    spot = clamp(Spot(mark.line + 1, mark.column + 1), lines)
    if "nesting depth" in problem:  # libyaml has a limit of its own, and looks far ahead of what it tells
        return too_deep(spot)
    if "cannot start any token" in problem or "found a tab" in problem:
        return _bad_start(spot, lines)
    for words, message, hint in _ADVICE:
        if re.search(words, f"{context}: {problem}"):
            if start is not None and any(
                word in message for word in ("not closed", "lacks", "there is no ':'")
            ):
                spot = clamp(Spot(start.line + 1, start.column + 1), lines)
            return Flaw(spot, "syntax", message, hint)
    return Flaw(spot, "syntax", f"cannot be read as YAML from here: {escape(shorten(problem, 100))}")


def too_deep(spot: Spot) -> Flaw:
    """More levels than any scenario needs."""
    hint = "A scenario has five at most. Is it the right file?"
    return Flaw(spot, "too-deep", f"more than {DEPTH_LIMIT} levels", hint)


def _bad_start(spot: Spot, lines: list[str]) -> Flaw:
    line = lines[spot.line - 1]
    char = line[spot.column - 1 : spot.column]
    if char == "\t" or "\t" in line[: spot.column]:
        at = line.index("\t") + 1
        return Flaw(Spot(spot.line, at), "tab", "YAML is indented with spaces, not tabs", "Replace the tab.")
    message = f"a value cannot begin with '{escape(char)}'" if char else "a value is expected here"
    return Flaw(spot, "syntax", message, "Put the text in quotes.")


def clamp(spot: Spot, lines: list[str]) -> Spot:
    """A place within the text: the parser may point behind the last line, and people look where there is text."""
    if spot.line > len(lines) or (spot.line == len(lines) and not lines[-1].strip()):
        last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=1)
        return Spot(last, max(1, len(lines[last - 1])))
    return spot
