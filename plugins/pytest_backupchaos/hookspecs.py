"""Hooks that a ``conftest.py`` may implement.

PYTEST_DONT_REWRITE: see ``plugin``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from backupchaos.targets.base import Target


@pytest.hookspec(firstresult=True)
def pytest_backup_target(config: pytest.Config, name: str) -> Target | None:
    """Return the ``Target`` for a name, or ``None`` if the name is not yours.

    Asked for every name that ``--backup-target``, the ini key or the fixture's ``target=`` gives, before
    installed adapters and target files are looked at. The first answer counts. Called once per name
    and process (under pytest-xdist: in every worker). To serve ``--backup-target``, implement it
    in the ``conftest.py`` of the root directory, because others are loaded later.
    """
