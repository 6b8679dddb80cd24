"""Scenario files to ``Scenario`` values: strict, kind, and all mistakes of a file at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backupchaos.errors import Misplaced, UsageProblem
from backupchaos.model import messages, positions
from backupchaos.model.messages import Draft
from backupchaos.model.positions import Document
from backupchaos.model.problems import Problem, ScenarioErrors
from backupchaos.model.scenario import Scenario
from backupchaos.model.sense import contradictions
from backupchaos.model.source_text import checked, read_text, split_lines
from backupchaos.model.syntax import clamp

__all__ = ["Problem", "ScenarioErrors", "load_scenario", "load_scenario_text"]


def load_scenario(path: Path) -> Scenario:
    """The scenario in a YAML file; raises ScenarioErrors with every problem of the file, located."""
    name = str(path)
    return load_scenario_text(read_text(Path(path), name), name)


def located(mistake: Misplaced, path: Path) -> UsageProblem:
    """The same, with the line of this file in which it stands; as it is if the file cannot be read any more."""
    try:
        text = checked(read_text(path, str(path)), str(path))
    except ScenarioErrors:
        return mistake
    draft = Draft(mistake.place, "not-here", f"{mistake.place[-1]!r}: {mistake.message}", mistake.hint)
    return ScenarioErrors(_located(positions.read_document(text), [draft], text, str(path)))


def load_scenario_text(text: str, name: str) -> Scenario:
    """The scenario in YAML text; ``name`` stands for the file in messages. Raises ScenarioErrors."""
    text = checked(text, name)
    document = positions.read_document(text)
    scenario, drafts = _judge(document)
    problems = _located(document, drafts, text, name)
    if problems or scenario is None:
        raise ScenarioErrors(problems)
    return scenario


def _judge(document: Document) -> tuple[Scenario | None, list[Draft]]:
    if () in document.unusable:
        return None, []
    if not isinstance(document.data, dict):
        return None, [_not_a_mapping(document.data)]
    scenario, drafts = _validate(document.data)
    drafts = _without_echoes(drafts, document.unusable)
    bad = {one.path for one in drafts} | document.unusable
    if scenario is None or bad:
        scenario, again = _validate(_pruned(document.data, bad))
        if again:
            return None, drafts
    if scenario is not None:
        doubtful = bad | {(*one.path[:-1], one.guess) for one in drafts if one.guess}
        drafts += [
            one.draft for one in contradictions(scenario, document.data) if not _touches(one.paths, doubtful)
        ]
    return scenario, drafts


def _not_a_mapping(data: Any) -> Draft:
    hint = "Begin with 'scenario: my_scenario' and 'title: ...', each on its own line."
    if data is None:
        return Draft((), "empty", "the file has no content", hint)
    what = "a list" if isinstance(data, list) else "a single value"
    return Draft((), "wrong-type", f"expected keys and values at the top of the file, not {what}", hint)


def _validate(data: Any) -> tuple[Scenario | None, list[Draft]]:
    try:
        # By alias alone: 'for_' and 'place' are names for Python, not for files.
        return Scenario.model_validate(data, context={"from_file": True}, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, [messages.draft(dict(one)) for one in error.errors(include_url=False)]


def _without_echoes(drafts: list[Draft], unusable: set[positions.Path]) -> list[Draft]:
    """Leave out what only follows from another problem of the same place."""
    misspelt = {(*one.path[:-1], one.guess) for one in drafts if one.guess}
    kept = []
    for one in drafts:
        if one.code == "missing-key" and one.path in misspelt:
            continue
        below = any(one.path[: len(path)] == path for path in unusable)
        above = one.whole and any(path[: len(one.path)] == one.path for path in unusable)
        if one.code != "unknown-key" and (below or above):
            continue
        kept.append(one)
    return kept


def _pruned(data: dict[str, Any], bad: set[positions.Path]) -> dict[str, Any]:
    """The data without its bad places, so that the sense of the rest can still be judged."""
    left = copy.deepcopy(data)
    left.setdefault("scenario", "unnamed")
    left.setdefault("title", "untitled")
    # Longest first and last index first: removing one place must not move another.
    for path in sorted(
        bad, key=lambda path: (len(path), [str(part).zfill(6) for part in path]), reverse=True
    ):
        parent: Any = left
        for part in path[:-1]:
            try:
                parent = parent[part]
            except (KeyError, IndexError, TypeError):
                break
        else:
            _remove(parent, path)
    left["scenario"], left["title"] = str(left.get("scenario", "unnamed")), str(left.get("title", "untitled"))
    return left


def _remove(parent: Any, path: positions.Path) -> None:
    last = path[-1]
    if isinstance(parent, dict):
        parent.pop(last, None)
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent.pop(last)


def _touches(paths: tuple[positions.Path, ...], bad: set[positions.Path]) -> bool:
    return any(path[: len(one)] == one or one[: len(path)] == path for path in paths for one in bad)


def _located(document: Document, drafts: list[Draft], text: str, name: str) -> list[Problem]:
    lines = split_lines(text)
    unknown = {document.find(one.path, at_key=True) for one in drafts if one.code == "unknown-key"}
    found = [
        (flaw.spot, flaw.code, flaw.message, flaw.hint)
        for flaw in document.flaws
        if not (flaw.code == "missing-value" and flaw.spot in unknown)
    ]
    found += [(document.find(one.path, one.at_key), one.code, one.message, one.hint) for one in drafts]
    problems = []
    for found_at, code, message, hint in found:
        spot = clamp(found_at, lines)
        source = lines[spot.line - 1]
        problems.append(Problem(name, spot.line, spot.column, code, message, hint, source, spot.width))
    return problems
