"""Programs of this machine, and what images have in their place."""

from __future__ import annotations

import glob
from dataclasses import replace

from backupchaos.environments.base import SyscallRule
from backupchaos.environments.docker.member import Member


class Programs:
    """Adapters name programs by their paths on this machine; an image has them elsewhere, or not at all.

    An image is asked once for each. The answer is a whole path, as the adapter's was: a job that is started with
    another PATH, or by a shell, finds its program as it would here.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}
        """(image, path on this machine) -> path in the image, or the bare name where it has no such program."""

    def inside(self, program: str, wanted: str, member: Member) -> str:
        """What to start in a container for a program of this machine, looked for as ``wanted``.

        At its very path first, then by its name on the image's PATH.
        """
        key = member.plan.image, program
        if key not in self._found:
            self._found[key] = member.which(wanted) or wanted.rpartition("/")[2]
        return self._found[key]

    def known(self, word: str, member: Member) -> str:
        """The same for a later word of a command line, which may be what a shell is told to start; empty for others."""
        return self._found.get((member.plan.image, word), "")

    def renamed(self, rule: SyscallRule, member: Member) -> SyscallRule:
        """A rule that waits for programs of this machine waits for them by the image's names."""
        names = {
            glob.escape(outside): f"*/{glob.escape(inside.rpartition('/')[2])}"
            for (image, outside), inside in self._found.items()
            if image == member.plan.image and inside != outside
        }
        return replace(rule, paths=tuple(names.get(path, path) for path in rule.paths))
