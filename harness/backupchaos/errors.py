"""The four error families; they are never mixed.

    BackupChaosError
    ├── UsageProblem          the user's mistake: bad scenario, unknown target (exit 4)
    │   └── Misplaced         a value of a scenario that this machine does not have
    ├── MissingCapability     the environment lacks something: skip, or fail where it is required
    └── HarnessBroken         our fault: the run is ``invalid`` and we apologise
        └── Unfit             the scenario's: it asks what this world cannot give, known only once it stands

The fourth family, *the target misbehaved*, is no exception: it is a verdict with evidence.
"""

from __future__ import annotations


class BackupChaosError(Exception):
    """Base of everything this package raises on purpose."""


class UsageProblem(BackupChaosError):
    """A mistake in what the user wrote; the message is located and says what to do."""


class Misplaced(UsageProblem):
    """A value of a scenario that only this machine shows to be wrong; ``place`` leads to it, for a located message."""

    def __init__(self, place: tuple[str, ...], message: str, hint: str = "") -> None:
        super().__init__(f"{'.'.join(place)}: {message}" + (f". {hint}" if hint else ""))
        self.place, self.message, self.hint = place, message, hint


class MissingCapability(BackupChaosError):
    """Something that a scenario needs is not to be had here.

    ``capability`` is the word that ``--backup-require`` takes; ``hint`` says what would help.
    """

    def __init__(self, capability: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{capability}: {reason}" + (f" ({hint})" if hint else ""))
        self.capability = capability
        self.reason = reason
        self.hint = hint


class HarnessBroken(BackupChaosError):
    """The harness itself failed: the run says nothing about the target."""


class Unfit(HarnessBroken):
    """A number of the scenario does not fit the world of this run; the message says which way to change it.

    The run is ``invalid`` as any that was broken off, but nobody is asked to report it.
    """
