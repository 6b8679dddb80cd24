"""No kind of fault may leave the question open whether it can strike outside of its window."""

from __future__ import annotations

from typing import Any

import pytest

from backupchaos.faults.base import Fault
from backupchaos.faults.files_held import Held
from backupchaos.faults.registry import mechanisms
from backupchaos.model.faults import KINDS

MECHANISMS: dict[str, type[Fault[Any]]] = {**mechanisms(), "file.locked, advisory": Held}


@pytest.mark.parametrize("kind", sorted({*KINDS, *MECHANISMS}))
def test_it_looks_for_strays_or_says_why_there_is_nothing_to_look_for(kind: str) -> None:
    mechanism = MECHANISMS[kind]
    looks = mechanism.strays is not Fault.strays
    assert looks != bool(mechanism.no_strays), "one of both: a check, or a reason why there can be none"
    assert looks or len(mechanism.no_strays.split()) > 5
