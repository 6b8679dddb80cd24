"""What is said of a fault that was not met."""

from __future__ import annotations

import pytest

from backupchaos.checks.unmet import ADVICE, advice
from backupchaos.model.faults import KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_there_is_a_sentence_for_every_kind(kind: str) -> None:
    assert advice(kind) in ADVICE.values()


def test_the_nearest_counts() -> None:
    assert "at the start" in advice("disk.vanishes")
    assert advice("disk.readonly") == ADVICE["disk."]
    assert advice("third.party") not in ADVICE.values()


def test_no_sentence_is_for_nothing() -> None:
    assert {prefix for prefix in ADVICE if not any(kind.startswith(prefix) for kind in KINDS)} == set()
    used = {max((p for p in ADVICE if kind.startswith(p)), key=len) for kind in KINDS}
    assert set(ADVICE) - used == set()
