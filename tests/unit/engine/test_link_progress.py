"""How much a job has moved over its link: for the schedule as it was last told, for the judge as it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from backupchaos.engine.progress import LinkProgress


def test_in_all_asks_the_link_and_does_not_wait_for_its_news() -> None:
    """A job may end in the 50 ms between two of them, in which it moved nearly all."""
    link = SimpleNamespace(
        mark=lambda: (1000, 500),
        stats=lambda: SimpleNamespace(up_bytes=1100, down_bytes=510),
        state=lambda: {"up": 9000, "down": 700},
    )
    facts = SimpleNamespace(bytes=0)
    progress = LinkProgress(cast(Any, link), "", cast(Any, None), cast(Any, facts))
    progress.begin()
    assert progress.moved() == (100, 10)
    assert progress.in_all() == (8000, 200)
    assert facts.bytes == 8000
