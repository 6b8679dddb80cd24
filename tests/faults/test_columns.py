"""No kind of fault, and no place that one can have, is left out of a column of the matrix, for root or for others.

What counts is what the tests are really given, read from their marks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.faults import matrix, test_killed, test_matrix, test_places

from backupchaos.faults.registry import mechanisms
from backupchaos.model.faults import KINDS

LASTING = {kind for kind in KINDS if not KINDS[kind].instant}
ORDINARY = set(KINDS) - matrix.NEEDS_ROOT


def given(test: Callable[..., Any]) -> list[Any]:
    """The values of its one ``parametrize``."""
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    (mark,) = (mark for mark in marks if mark.name == "parametrize")
    return list(mark.args[1])


def of_layers(test: Callable[..., Any]) -> set[str]:
    return {kind for layer in given(test) for kind in test_matrix.of_layer(layer)}


def of_batches(test: Callable[..., Any], moment: str) -> set[str]:
    return {kind for layer, when in given(test) if when == moment for kind in test_killed.batch(layer, when)}


COLUMNS: dict[str, tuple[set[str], set[str]]] = {
    "bites, undone": (set(given(test_matrix.test_it_bites_and_goes)), set(KINDS)),
    "met by nobody": (set(given(test_matrix.test_it_does_not_bite_who_touches_nothing)), set(KINDS)),
    "killed in force": (of_batches(test_killed.test_nothing_is_left, "applied"), set(KINDS)),
    "killed at its end": (of_batches(test_killed.test_nothing_is_left, "undoing"), LASTING),
    "both, ordinary": (of_layers(test_matrix.test_an_ordinary_user_has_it_too), set(KINDS)),
    "both, ordinary, plain": (
        of_layers(test_matrix.test_what_an_ordinary_user_has_of_it_without_namespaces),
        set(KINDS),
    ),
    "killed in force, ordinary": (
        of_batches(test_killed.test_nothing_of_an_ordinary_user_is_left, "applied") & ORDINARY,
        ORDINARY,
    ),
    "killed at its end, ordinary": (
        of_batches(test_killed.test_nothing_of_an_ordinary_user_is_left, "undoing") & ORDINARY,
        LASTING & ORDINARY,
    ),
}
"""Column -> (kinds that the test is given, kinds that there are)."""


@pytest.mark.parametrize("column", COLUMNS)
def test_no_kind_lacks_a_column(column: str) -> None:
    tried, there_are = COLUMNS[column]
    assert tried == there_are


def test_no_place_is_left_out() -> None:
    """``test_places`` has those that the matrix has not."""
    in_matrix = {(kind, matrix.fault(kind)[kind]) for kind in matrix.PROBED}
    of_models = {(kind, place) for kind in KINDS for place in test_places.places(kind)}
    assert of_models <= in_matrix | set(given(test_places.test_it_bites_there_and_goes))


def test_what_no_job_can_miss_is_how_a_job_is_started() -> None:
    assert all(KINDS[kind].whole_job for kind in matrix.ALWAYS)


def test_every_kind_has_a_mechanism() -> None:
    assert set(mechanisms()) == set(KINDS)
