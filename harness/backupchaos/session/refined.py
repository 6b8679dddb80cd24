"""What a target says of scenarios that may not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from backupchaos.model.words import shown
from backupchaos.targets.base import Target

_ALIKE = 0.88
"""One letter in ten is wrong; ``disk_full_nas`` is somebody's own, and no misspelt ``disk_full``."""


def misspelt(targets: Iterable[Target], known: Iterable[str]) -> list[str]:
    """A line for each scenario that a target refines and that is not among those ``known``, but has almost the name of one.

    Other unknown names pass: they may be scenarios of a project that are not selected today.
    """
    names = frozenset(known)
    lines = []
    for target in targets:
        for word in sorted(target.profile.refinements.keys() - names):
            if close := get_close_matches(word, sorted(names), n=1, cutoff=_ALIKE):
                lines.append(
                    f"target {target.name}: 'expect' refines the scenario {shown(word)}, which is not known here "
                    f"and changes nothing. Did you mean {shown(close[0])}?"
                )
    return lines
