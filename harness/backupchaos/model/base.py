"""The base of every model: unknown keys are errors, values never change."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Strict and frozen; fields are named in Python and, where they differ, by alias in YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)
