"""Changing a scenario from Python: what a test gives as keywords, checked like a file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backupchaos.durations import format_duration
from backupchaos.errors import UsageProblem
from backupchaos.model.scenario import Scenario, Source


def with_overrides(
    scenario: Scenario,
    base: Path,
    *,
    source: Source | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    **changes: Any,
) -> Scenario:
    """A copy with some top-level keys replaced; ``None`` leaves one as it is.

    ``source`` is a directory (relative to ``base``), a mapping of single keys as in YAML, or a whole
    ``Source``. Durations may be numbers of seconds. Raises ``UsageProblem`` with what is wrong.
    """
    given = {key: _plain(value) for key, value in changes.items() if value is not None}
    if source is not None:
        given["source"] = _source(scenario, source, base)
    if not given:
        return scenario
    return _validated({**scenario.to_yaml_dict(), **given})


def _source(scenario: Scenario, source: Any, base: Path) -> dict[str, Any]:
    if isinstance(source, Source):
        return source.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(source, Mapping):
        changed: dict[str, Any] = {**scenario.to_yaml_dict()["source"], **source}
        return changed
    path = Path(base, os.path.expanduser(os.fspath(source)))
    if not path.is_dir():
        raise UsageProblem(f"source: {str(path)!r} is not a directory")
    kept = scenario.to_yaml_dict()["source"]
    return {"path": str(path.resolve()), "change": kept["change"], "new": kept["new"]}


def _plain(value: Any) -> Any:
    """A bare number is seconds here: in Python it cannot be mistaken for text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_duration(value) if 0 <= value < math.inf else f"{value}s"
    return value


def _validated(data: dict[str, Any]) -> Scenario:
    from pydantic import ValidationError

    from backupchaos.model import messages

    try:
        return Scenario.model_validate(data, context={"from_file": True}, by_alias=True, by_name=False)
    except ValidationError as error:
        drafts = [messages.draft(dict(one)) for one in error.errors(include_url=False)]
        text = "; ".join(f"{draft.message}{'. ' + draft.hint if draft.hint else ''}" for draft in drafts)
        raise UsageProblem(f"scenario {data.get('scenario')}: {text}") from None
