"""How much a job has moved over each of its links, and the byte at which a link must stop for a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backupchaos.engine.schedule import Facts, Schedule

if TYPE_CHECKING:
    from backupchaos.engine.world import World
    from backupchaos.links.links import Link


class LinkProgress:
    """One link during one job. ``tier`` is the service that it leads to, empty for the repository."""

    def __init__(self, link: Link, tier: str, schedule: Schedule, facts: Facts) -> None:
        self._link = link
        self.tier = tier
        self._schedule = schedule
        self._facts = facts
        self._base = (0, 0)
        self._armed: int | None = None
        self._key = ""

    def begin(self) -> None:
        """Count from here."""
        self._base = self._link.mark()

    def moved(self) -> tuple[int, int]:
        """Bytes (up, down) since the job began."""
        stats = self._link.stats()
        return stats.up_bytes - self._base[0], stats.down_bytes - self._base[1]

    def look(self) -> int:
        """Tell the schedule how much has gone up; returns all that has moved."""
        up, down = self.moved()
        self._tell(up)
        return up + down

    def _tell(self, up: int) -> None:
        if self.tier:
            self._facts.tiers[self.tier] = max(self._facts.moved(self.tier), up)
        else:
            self._facts.bytes = max(self._facts.bytes, up)

    def arm(self) -> None:
        """Let the link stop at the next byte that makes a step due, if there is one."""
        threshold = self._schedule.threshold(self._facts, self.tier)
        if threshold is None or threshold == self._armed:
            return
        if self._armed is not None and not self._link.disarm(self._key):
            return  # it has stopped already, and who hears of that will ask again
        self._key = self._link.arm(threshold, direction="up", action="hold", since="mark")
        self._armed = threshold

    def reached(self, event: Any) -> bool:
        """Whether this event says that the link has stopped there."""
        if event.ev != "trigger" or event.data.get("arm") != self._key or self._armed is None:
            return False
        self._tell(self._armed)
        return True

    def let_go(self) -> None:
        """Nothing stays stopped by us."""
        if self._armed is None:
            return
        self._link.disarm(self._key)
        self._link.release()
        self._armed = None


def links_of(world: World, schedule: Schedule, facts: Facts) -> Iterator[LinkProgress]:
    """The links of a run: the repository's first, if it has one."""
    if world.link is not None:
        yield LinkProgress(world.link, "", schedule, facts)
    for name, server in world.tiers.items():
        yield LinkProgress(server.link, name, schedule, facts)
