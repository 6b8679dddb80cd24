"""What the rules about contradictions share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backupchaos.model.messages import Draft
from backupchaos.model.positions import Path

Written = Mapping[str, Any]
"""The file as plain values, to tell what was given from what is a default."""


@dataclass(frozen=True)
class Contradiction:
    """A problem and every place it rests on: if one of those is itself in doubt, nothing is said."""

    draft: Draft
    paths: tuple[Path, ...]


def clash(path: Path, code: str, message: str, hint: str, *also: Path, at_key: bool = False) -> Contradiction:
    """A contradiction to be shown at ``path``, or at its key; it also rests on the places in ``also``."""
    return Contradiction(Draft(path, code, message, hint, at_key=at_key), (path, *also))


def given(written: Written, *path: str) -> bool:
    """Whether the author wrote this key."""
    value: Any = written
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True
