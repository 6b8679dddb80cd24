"""Each kind of model error in the user's words: what was expected, and what to write instead.

The model library speaks of tuples, instances and extra inputs; its texts never reach the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backupchaos.model import guide
from backupchaos.model.faults import KINDS
from backupchaos.model.positions import Path
from backupchaos.model.words import Mistake, choices, escape, listed, nearest, shorten, shown


@dataclass(frozen=True)
class Draft:
    """A problem whose place is still a path in the document."""

    path: Path
    code: str
    message: str
    hint: str = ""
    at_key: bool = False
    guess: str = ""
    """The word that was most likely meant."""
    whole: bool = False
    """It is about the mapping as a whole, so that an unusable value inside may be its only cause."""


Error = dict[str, Any]


def draft(error: Error) -> Draft:
    """The problem behind one entry of ``ValidationError.errors()``."""
    return _WRITERS.get(error["type"], _other)(error)


def file_path(loc: tuple[str | int, ...]) -> Path:
    """The model library's location without what is not in the file: union tags and the mark of a key."""
    parts = [part for part in loc if part != "[key]"]
    if len(parts) > 2 and parts[0] == "faults" and parts[2] in KINDS:
        del parts[2]
    return tuple(parts)


def _name(path: Path) -> str:
    """How a message calls the value at ``path``."""
    keys = [part for part in path if isinstance(part, str)]
    return f"'{escape(shorten(keys[-1]))}'" if keys else "the scenario"


def _unknown_key(error: Error) -> Draft:
    path = file_path(error["loc"])
    key, section = str(path[-1]), guide.section(error["loc"][:-1])
    message = f"unknown key '{escape(shorten(key))}' in {section.title}"
    hint = choices(key, section.keys, "Valid keys")
    if section.keys == guide.TOP.keys and key in KINDS:
        hint = f"Faults stand under 'faults:', each with a name: faults: {{my_fault: {guide.example(key)}}}"
    elif nearest(key, section.keys) is None and (home := guide.home(key)):
        hint = f"'{key}' belongs under '{home}:'. {hint}"
    return Draft(path, "unknown-key", message, hint, at_key=True, guess=nearest(key, section.keys) or "")


def _missing_key(error: Error) -> Draft:
    path = file_path(error["loc"])
    section = guide.section(error["loc"][:-1])
    key = str(path[-1])
    message = f"{section.title} has no '{key}'"
    return Draft(path, "missing-key", message, f"Add {guide.SAMPLES[key]}", at_key=True)


def _unknown_word(error: Error) -> Draft:
    path = file_path(error["loc"])
    # Texts are quoted, numbers are not.
    words = [text or number for text, number in re.findall(r"'([^']*)'|(\d+)", error["ctx"]["expected"])]
    value = error["input"]
    if error["loc"][-1] == "[key]":
        what = "law" if path[0] == "waive" else "command"
        message = f"unknown {what} {shown(value)} in {_name(path[:-1])}"
        return Draft(path, "unknown-word", message, choices(value, words), at_key=True)
    near = nearest(value, words) if isinstance(value, str) else None
    hint = f"Did you mean '{near}'?" if near else f"Write '{words[0]}'." if len(words) == 1 else ""
    return Draft(path, "unknown-word", f"{_name(path)}: expected {listed(words)}, not {shown(value)}", hint)


def _fault_kind(error: Error) -> Draft:
    path, value = file_path(error["loc"]), error["input"]
    title = f"the fault {_name(path)}"
    kinds = list(KINDS)
    if not isinstance(value, dict):
        message = f"{title}: expected a mapping with a fault kind, not {shown(value)}"
        near = nearest(value, kinds) if isinstance(value, str) else None
        hint = f"Write {guide.example(near or 'network.down')}. {_kinds(near or '')}"
        return Draft(path, "wrong-type", message, hint)
    known = [key for key in value if key in KINDS]
    if len(known) > 1:
        message = f"{title} has {len(known)} kinds: {', '.join(known)}"
        return Draft(
            path, "several-kinds", message, "Write one fault for each, each with a name.", at_key=True
        )
    common = set(guide.SHARED)
    strange = [key for key in value if key not in common]
    guess = next((key for key in strange if nearest(key, kinds)), None)
    if guess is None:
        words = [(key, value[key]) for key in strange if isinstance(value[key], str)]
        meant = next((word for key, word in words if word in KINDS), None)
        key = next((key for key, word in words if word == meant), strange[0] if strange else None)
        hint = f"Write {guide.example(meant)}" if meant else _kinds(key or "")
        spot = (*path, key) if key is not None else path
        return Draft(spot, "unknown-fault", f"{title} names no fault kind", hint, at_key=True, whole=True)
    message = f"{title}: unknown fault kind '{escape(guess)}'"
    hint = f"Did you mean '{nearest(guess, kinds)}'? {_kinds(guess)}"
    return Draft((*path, guess), "unknown-fault", message, hint, at_key=True)


def _kinds(word: str) -> str:
    """The kinds of the group that a word belongs to; else all of them, by group."""
    groups: dict[str, list[str]] = {}
    for kind in KINDS:
        group, name = kind.split(".")
        groups.setdefault(group, []).append(name)
    known = (nearest(word, list(KINDS)) or word).partition(".")[0]
    if known in groups:
        return f"Kinds of '{known}': {', '.join(groups[known])}."
    return "Kinds: " + "; ".join(f"{group}.({' '.join(names)})" for group, names in groups.items()) + "."


def _type(expected: str, sample: Callable[[Error], str] | str = "") -> Callable[[Error], Draft]:
    def write(error: Error) -> Draft:
        path = file_path(error["loc"])
        hint = sample(error) if callable(sample) else sample
        message = f"{_name(path)}: expected {expected}, not {shown(error['input'])}"
        return Draft(path, "wrong-type", message, hint)

    return write


def _quote(error: Error) -> str:
    value = error["input"]
    return f'Put it in quotes: "{shown(value)}"' if isinstance(value, int | float) else ""


def _truth(error: Error) -> str:
    word = str(error["input"]).lower()
    if word in {"yes", "on", "y", "1"}:
        return "Did you mean 'true'?"
    return "Did you mean 'false'?" if word in {"no", "off", "n", "0"} else ""


def _mapping(error: Error) -> Draft:
    path, value = file_path(error["loc"]), error["input"]
    sample = next((guide.SHAPES[str(part)] for part in reversed(path) if part in guide.SHAPES), "")
    hint = f"Write {sample}" if sample else ""
    expected = "a mapping"
    if path[-1:] in {("when",), ("until",)}:
        expected = "a mapping with one condition" + (", or 'start'" if path[-1] == "when" else "")
    return Draft(path, "wrong-type", f"{_name(path)}: expected {expected}, not {shown(value)}", hint)


def _list(error: Error) -> Draft:
    path, value = file_path(error["loc"]), error["input"]
    sample = guide.LISTS.get(str(path[-1]), "[a, b]")
    message = f"{_name(path)}: expected a list, not {shown(value)}"
    return Draft(path, "wrong-type", message, f"Write {sample}")


def _pattern(error: Error) -> Draft:
    path, value = file_path(error["loc"]), str(error["input"])
    at_key = error["loc"][-1] == "[key]"
    if at_key or path[0] == "faults":  # a place of a fault is the name of a service
        expected, better = "lower-case letters, digits and '_', beginning with a letter", r"[^a-z0-9_]+"
    else:
        expected, better = "lower-case letters, digits, '-' and '_'", r"[^a-z0-9_-]+"
    fixed = re.sub(better, "_", value.lower()).strip("_-")
    if not value.isascii():
        fixed = ""
    if at_key and fixed[:1].isdigit():
        fixed = f"{str(path[0]).rstrip('s')}_{fixed}"
    hint = f"Did you mean '{shorten(fixed, 40)}'?" if fixed else ""
    message = f"{shown(value)} is no name: expected {expected}"
    return Draft(path, "bad-name", message, hint, at_key=at_key)


def _length(error: Error) -> Draft:
    path, context = file_path(error["loc"]), error["ctx"]
    if "max_length" in context:
        limit, size = context["max_length"], len(error["input"])
        message = f"{_name(path)}: expected at most {limit} characters, not {size}"
        return Draft(path, "too-long", message, "Shorten it.", at_key=error["loc"][-1] == "[key]")
    what = "a text" if error["type"] == "string_too_short" else "at least one entry"
    return Draft(path, "empty", f"{_name(path)}: expected {what}, and it is empty", "Fill it in.")


def _bound(error: Error) -> Draft:
    path, context = file_path(error["loc"]), error["ctx"]
    limit = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
    return Draft(path, "out-of-range", f"{_name(path)}: expected {limit}, not {shown(error['input'])}")


def _mistake(error: Error) -> Draft:
    path, reason = file_path(error["loc"]), error["ctx"]["error"]
    if not isinstance(reason, Mistake):
        return Draft(path, "bad-value", f"{_name(path)}: {escape(shorten(str(reason), 200))}", whole=True)
    whole = isinstance(error["input"], dict)
    section = guide.find(error["loc"]) if whole else None
    title = section.title if section else _name(path)
    spot = (*path, reason.key) if reason.key else path
    return Draft(spot, reason.code, f"{title}: {reason}", reason.hint, at_key=bool(reason.key), whole=whole)


def _other(error: Error) -> Draft:
    path = file_path(error["loc"])
    message = f"{_name(path)}: {shown(error['input'])} cannot stand here"
    return Draft(path, "bad-value", message, "See the scenario reference, docs/scenarios.md.")


_WRITERS: dict[str, Callable[[Error], Draft]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "literal_error": _unknown_word,
    "fault_kind": _fault_kind,
    "string_type": _type("text", _quote),
    "int_type": _type("a whole number", "Write it in digits, such as 3."),
    "bool_type": _type("true or false", _truth),
    "model_type": _mapping,
    "dict_type": _mapping,
    "tuple_type": _list,
    "string_pattern_mismatch": _pattern,
    "string_too_short": _length,
    "string_too_long": _length,
    "too_short": _length,
    "greater_than_equal": _bound,
    "less_than_equal": _bound,
    "value_error": _mistake,
}
