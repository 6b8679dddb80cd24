"""A control restore counts for the same server only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from backupchaos.engine.attempt import Attempt


def test_another_server_has_a_control_of_its_own() -> None:
    cache: dict[str, bool] = {}
    asked: list[bool] = []
    for words in ("sftp (asyncssh)", "sftp (openssh)", "sftp (openssh)"):
        attempt: Any = Attempt.__new__(Attempt)
        attempt.words = {"repository": words}
        attempt.target, attempt.version = SimpleNamespace(name="x"), "1"
        attempt.scenario = SimpleNamespace(source="source")
        attempt.options = SimpleNamespace(seed=1, control_cache=cache)
        attempt._control(
            SimpleNamespace(
                world=SimpleNamespace(privileges=(False, None), services={}),
                control=lambda *, restore: asked.append(restore),
            )
        )
    assert asked == [True, True, False]
