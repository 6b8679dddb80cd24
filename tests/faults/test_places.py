"""A kind of fault that can be had on several places bites on each of them, and goes from each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from tests.faults import matrix, trying
from tests.faults.test_matrix import bit, came_and_went

from backupchaos.model.faults import KINDS

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]

SMALL: dict[str, dict[str, Any]] = {
    "disk.nearly_full": {"left": 8192},
    "disk.io_error": {"call": "write"},
}
"""The probe puts less on the other volumes than into the repository, and reads nothing from its temporary files."""


def places(kind: str) -> list[str]:
    """Where the model lets it be; nothing for names of links, which are any."""
    annotation = KINDS[kind].model_fields["place"].annotation
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


PAIRS = [(kind, place) for kind in sorted(KINDS) for place in places(kind) if len(places(kind)) > 1]


ELSEWHERE = [(kind, place) for kind, place in PAIRS if matrix.fault(kind)[kind] != place]
"""The others are in the matrix."""


@pytest.mark.parametrize(("kind", "place"), ELSEWHERE)
def test_it_bites_there_and_goes(kind: str, place: str, tmp_path: Path) -> None:
    fault = {**matrix.fault(kind), **SMALL.get(kind, {}), kind: place}
    told = trying.told(kind, trying.run(tmp_path, kind, idle=False, fault=fault))
    came_and_went(told)
    bit(told)


def test_the_volumes_are_among_them() -> None:
    assert ("disk.slow", "source") in PAIRS
    assert ("permission.denied", "cache") in PAIRS
