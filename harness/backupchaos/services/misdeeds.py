"""What a server does wrong because it was told to: which requests are hit, and how, as pure decisions.

The gate in front of HTTP servers and our SFTP server both ask here before they answer. Whether a
request is hit depends on the seed, on what is asked for and on how often it was asked for, so that
neither the order in which parallel connections arrive nor the clock changes it. One exception: if
a fifth of the requests is to be hit, the fifth one is at the latest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Literal

What = Literal["errors", "throttle", "slow", "credentials"]
KINDS: tuple[What, ...] = ("credentials", "throttle", "errors", "slow")
"""In the order in which servers do it: who is it, may he come now, does it work, how long does it take."""
TOLD = 2000
"""So many strikes of one misdeed are told one by one; the rest is only counted."""
_LONGEST = 300

Emit = Callable[..., None]


@dataclass
class Misdeed:
    """One order, and what came of it. ``share`` of the requests is hit; ``delay``, ``retry_after`` in seconds."""

    name: str
    what: What
    share: float = 1.0
    status: int = 500
    retry_after: float = 1.0
    delay: float = 0.0
    seen: int = 0
    """Requests that came while it was in force, and that it could have hit."""
    hit: int = 0
    """Those of them that it did hit."""
    struck: int = 0
    """Those whose client was answered so."""
    again: int = 0
    """Refused requests that came once more."""
    soonest: float | None = None
    """Seconds after which the first of them came."""
    counts: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)
    refused: dict[tuple[str, str], float] = field(default_factory=dict, repr=False)

    def totals(self) -> dict[str, Any]:
        """What the harness is told of it."""
        shown = asdict(self)
        for key in ("counts", "refused"):
            del shown[key]
        return shown


@dataclass(frozen=True)
class Decision:
    """What becomes of one request: refused by one misdeed, delayed by any number, or neither."""

    method: str = ""
    target: str = ""
    at: float = 0.0
    """When it was decided, in ``time.monotonic``."""
    refused_by: Misdeed | None = None
    delayed_by: tuple[Misdeed, ...] = ()

    @property
    def delay(self) -> float:
        """Seconds by which the answer is late."""
        return sum(misdeed.delay for misdeed in self.delayed_by)


PASS = Decision()


class Misdeeds:
    """All that is in force now; ``emit`` gets an event for each strike."""

    def __init__(self, seed: int, emit: Emit, can: Iterable[What] = KINDS) -> None:
        self._seed = seed
        self._emit = emit
        self._can = frozenset(can)
        self._active: dict[str, Misdeed] = {}
        self.requests = 0
        """All requests so far, whatever became of them."""
        self.changed: list[Callable[[Misdeed, bool], None]] = []
        """Called when a misdeed comes into force (True) or ends (False)."""

    def impose(self, name: str, what: What, **settings: Any) -> dict[str, Any]:
        """Bring one into force; an order of the same name is replaced. Raises ValueError for what cannot be done."""
        if what not in self._can:
            raise ValueError(f"this server cannot do {what!r}")
        misdeed = self._active[name] = Misdeed(name, what, **settings)
        since = time.monotonic()
        for callback in self.changed:
            callback(misdeed, True)
        return {"t": since}

    def lift(self, name: str) -> dict[str, Any]:
        """End one; what it did in all. Raises KeyError for one that is not in force."""
        misdeed = self._active.pop(name)
        for callback in self.changed:
            callback(misdeed, False)
        return {"t": time.monotonic(), **misdeed.totals()}

    def status(self) -> dict[str, Any]:
        """What is in force, and how many requests there were."""
        return {
            "requests": self.requests,
            "active": {name: misdeed.totals() for name, misdeed in self._active.items()},
        }

    def find(self, what: What) -> Misdeed | None:
        """One of this kind, if it is in force."""
        return next((misdeed for misdeed in self._active.values() if misdeed.what == what), None)

    def decide(self, method: str, target: str, kinds: Iterable[What] = KINDS) -> Decision:
        """What becomes of a request; ``carried_out`` is to be called when that has happened."""
        self.requests += 1
        if not self._active:
            return PASS
        key = (method, target)
        refused: Misdeed | None = None
        delayed: list[Misdeed] = []
        for what in (what for what in KINDS if what in kinds):
            for misdeed in [m for m in self._active.values() if m.what == what]:
                self._note_return(misdeed, key)
                if (refused is None or what == "slow") and self._hits(misdeed, key):
                    if what == "slow":
                        delayed.append(misdeed)
                    else:
                        refused = misdeed
        return Decision(method, target, time.monotonic(), refused, tuple(delayed))

    def carried_out(self, decision: Decision) -> None:
        """The client has been answered as decided: count the strikes and tell of them."""
        if decision.refused_by is not None:
            decision.refused_by.refused[(decision.method, decision.target)] = time.monotonic()
            self._strike(decision.refused_by, decision)
        for misdeed in decision.delayed_by:
            self._strike(misdeed, decision)

    def _hits(self, misdeed: Misdeed, key: tuple[str, str]) -> bool:
        misdeed.seen += 1
        count = misdeed.counts[key] = misdeed.counts.get(key, 0) + 1
        # Random hashes a text the same way in every process, unlike hash().
        drawn = Random(f"{self._seed}/{misdeed.name}/{key[0]} {key[1]}/{count}").random()
        # A job of few requests might be spared altogether, and its run would prove nothing.
        overdue = not misdeed.hit and misdeed.seen * misdeed.share >= 1
        hits = overdue or drawn < misdeed.share
        misdeed.hit += hits
        return hits

    def _note_return(self, misdeed: Misdeed, key: tuple[str, str]) -> None:
        before = misdeed.refused.pop(key, None)
        if before is not None:
            gap = time.monotonic() - before
            misdeed.again += 1
            misdeed.soonest = gap if misdeed.soonest is None else min(gap, misdeed.soonest)

    def _strike(self, misdeed: Misdeed, decision: Decision) -> None:
        misdeed.struck += 1
        if misdeed.struck <= TOLD:
            target = decision.target[:_LONGEST]
            self.tell("struck", misdeed, method=decision.method, target=target, decided=decision.at)

    def tell(self, ev: str, misdeed: Misdeed, **data: Any) -> None:
        """Tell the harness what a misdeed has done."""
        self._emit(ev, fault=misdeed.name, what=misdeed.what, **data)
