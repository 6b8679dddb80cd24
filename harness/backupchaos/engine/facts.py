"""What is known about a running job: the schedule is stepped with it, and tests make it up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


class Feed:
    """What came one after the other, each with a number, so that everybody who watches has a place of their own."""

    def __init__(self, items: Iterable[str] = ()) -> None:
        self._items = list(items)
        self._first = 0

    @property
    def end(self) -> int:
        """The number that the next one will have."""
        return self._first + len(self._items)

    def append(self, item: str) -> None:
        """The next one."""
        self._items.append(item)

    def since(self, number: int) -> Iterator[tuple[int, str]]:
        """From a number on, as far as they are remembered."""
        skip = max(0, number - self._first)
        return iter(list(enumerate(self._items[skip:], self._first + skip)))

    def forget(self, before: int) -> None:
        """All with lower numbers; the others keep theirs."""
        gone = max(0, min(before - self._first, len(self._items)))
        del self._items[:gone]
        self._first += gone


@dataclass
class Facts:
    """What is known about the running job.

    ``now`` is seconds since its start; ``bytes`` is how much went over the link to the repository or onto
    its disk, ``tiers`` how much went to each other service; ``attempts`` counts from 1; ``lines`` are those of its
    log, ``states`` those that it entered, both only as long as the schedule may still ask for them.
    """

    now: float = 0.0
    bytes: int = 0
    tiers: dict[str, int] = field(default_factory=dict)
    attempts: int = 1
    states: Feed = field(default_factory=Feed)
    lines: Feed = field(default_factory=Feed)
    calls: set[str] = field(default_factory=set)
    """Call triggers that have been reached, as ``call_key`` names them."""
    started: bool = False
    exited: bool = False
    """The job's process has exited; faults may still act on what it left."""
    ended: bool = False

    def moved(self, tier: str) -> int:
        """How much went to a service; to the repository, if the name is empty."""
        return self.tiers.get(tier, 0) if tier else self.bytes
