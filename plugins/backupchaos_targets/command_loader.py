"""Target files and project tables to ``TargetFile`` values, with every mistake located."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backupchaos.model import positions
from backupchaos.model.base import Model
from backupchaos.model.problems import Problem, ScenarioErrors
from backupchaos.model.source_text import checked, read_text, split_lines
from backupchaos.model.words import Mistake, choices, escape, listed, shorten, shown
from backupchaos_targets.command_model import JsonKeys, Line, LogGrammar, Promises, Refined, TargetFile

_SECTIONS: dict[str, type[Model]] = {"log": LogGrammar, "promises": Promises}
_COMMANDS = {
    "init",
    "backup",
    "snapshots",
    "restore",
    "check",
    "version",
    "unlock",
    "prune",
    "other_version",
    "stdin",
}
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
TARGET_FILE = "Give the path of a target's YAML file, or the name of an adapter: backupchaos list shows them."
_SERVICE = "lower-case letters, digits and '_', beginning with a letter"
_NAME = "letters, digits, '.', '-' and '_', beginning with a letter or digit"


def load_yaml(path: Path) -> TargetFile:
    """The target in a YAML file; raises ScenarioErrors with every problem of the file, located."""
    name = str(path)
    text = checked(read_text(path, name, wanted=TARGET_FILE), name)
    document = positions.read_document(text)
    lines = split_lines(text)

    def problem(spot: positions.Spot, code: str, message: str, hint: str) -> Problem:
        return Problem(name, spot.line, spot.column, code, message, hint, lines[spot.line - 1], spot.width)

    # The reader of the YAML is made for scenarios and says so.
    problems = [
        problem(f.spot, f.code, f.message.replace("a scenario", "a target file"), f.hint)
        for f in document.flaws
    ]
    if () in document.unusable:
        raise ScenarioErrors(problems)
    if not isinstance(document.data, dict):
        hint = "Begin with 'target: my_tool' and 'backup: ...', each on its own line."
        message = "expected keys and values at the top of the file"
        raise ScenarioErrors([*problems, problem(positions.Spot(1, 1), "wrong-type", message, hint)])
    made, errors = _validate(document.data)
    for error in errors:
        path_, code, message, hint, at_key = _explain(error)
        if not any(path_[: len(bad)] == bad for bad in document.unusable):
            problems.append(problem(document.find(path_, at_key), code, message, hint))
    if problems or made is None:
        raise ScenarioErrors(problems)
    return made


def load_table(name: str, table: Mapping[str, Any], file: Path) -> TargetFile:
    """The target in ``[tool.backupchaos.target.NAME]``; raises ScenarioErrors with file and keys."""
    data = {"target": name, **table}
    made, errors = _validate(data)
    problems = []
    if table.get("target", name) != name:
        message = f"tool.backupchaos.target.{name}.target: the table's name is the target's name"
        problems.append(Problem(str(file), 0, 0, "two-names", message, "Leave the key out."))
    for error in errors:
        path, code, message, hint, _ = _explain(error)
        where = ".".join(["tool.backupchaos.target", name, *map(str, path)])
        problems.append(Problem(str(file), 0, 0, code, f"{escape(where)}: {message}", hint))
    if problems or made is None:
        raise ScenarioErrors(problems)
    return made


def _validate(data: Mapping[str, Any]) -> tuple[TargetFile | None, list[dict[str, Any]]]:
    try:
        return TargetFile.model_validate(data, context={"from_file": True}, by_alias=True, by_name=False), []
    except ValidationError as error:
        found: list[dict[str, Any]] = [dict(one) for one in error.errors(include_url=False)]
    for one in found:
        loc = one["loc"]
        # A command in one text or list is a mapping only to the model; its place is the key.
        if loc and loc[0] in _COMMANDS and not isinstance(data.get(str(loc[0])), dict):
            one["loc"] = loc[:1]
        elif loc[:1] == ("recorded",) and len(loc) > 2 and not isinstance(data["recorded"][loc[1]], dict):
            one["loc"] = loc[:2]
        elif loc[:1] == ("uses",) and "[key]" not in loc:
            # So is the list of names, and the one kind of a service.
            one["loc"] = loc[: 2 if isinstance(data["uses"], dict) else 1]
    return None, found


def _model_at(loc: tuple[str | int, ...]) -> type[Model]:
    """The model whose key the last part of ``loc`` is."""
    if len(loc) < 2:
        return TargetFile
    if loc[0] in _COMMANDS or (loc[0] == "recorded" and len(loc) > 2):
        return Line
    if loc[0] == "expect":
        return Refined
    return JsonKeys if loc[:2] == ("log", "json") and len(loc) > 2 else _SECTIONS.get(str(loc[0]), TargetFile)


def _keys(model: type[Model]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _explain(error: dict[str, Any]) -> tuple[positions.Path, str, str, str, bool]:
    """(path, code, message, hint, whether the key is at fault) of one entry of ``ValidationError.errors()``."""
    kind, loc, value = error["type"], tuple(part for part in error["loc"] if part != "[key]"), error["input"]
    words = [str(part) for part in loc if isinstance(part, str)]
    name = f"'{escape(shorten(words[-1]))}'" if words else "the target"
    context = error.get("ctx") or {}
    reason = context.get("error")
    if kind == "extra_forbidden":
        return (
            loc,
            "unknown-key",
            f"unknown key {name}",
            choices(loc[-1], _keys(_model_at(loc)), "Valid keys"),
            True,
        )
    if kind == "missing":
        hint = (
            "Add a sentence that the report can print." if loc[-1] == "reason" else f"Add '{loc[-1]}: ...'."
        )
        return loc, "missing-key", f"there is no {name}", hint, True
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        return (
            loc,
            "unknown-word",
            f"{name}: expected {listed(valid)}, not {shown(value)}",
            choices(value, valid),
            False,
        )
    if kind in _TYPES:
        return loc, "wrong-type", f"{name}: expected {_TYPES[kind]}, not {shown(value)}", "", False
    if kind == "string_pattern_mismatch":
        expected = _NAME if loc == ("target",) else _SERVICE
        return loc, "bad-name", f"{name}: {shown(value)} is no name: expected {expected}", "", False
    if isinstance(reason, Mistake):
        spot = (*loc, reason.key) if reason.key else loc
        shown_name = f"'{reason.key}'" if reason.key else name
        return spot, reason.code, f"{shown_name}: {reason}", reason.hint, bool(reason.key)
    # What is left are lengths and the like, whose texts are fit for people.
    return loc, "bad-value", f"{name}: {escape(shorten(str(reason or error['msg']), 200))}", "", False
