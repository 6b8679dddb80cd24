"""All links of one ``linkd``, under one clock tick."""

from __future__ import annotations

from asyncio import AbstractEventLoop

from backupchaos.links.counters import Attempts, Refusals
from backupchaos.links.eventlog import EventLog
from backupchaos.links.tap import Tap
from backupchaos.links.watcher import Watcher

TICK = 0.025


class Registry:
    """Name -> link, and what the links share."""

    def __init__(
        self, loop: AbstractEventLoop, watcher: Watcher, log: EventLog, seed: int, *, isolated: bool
    ) -> None:
        self.loop = loop
        self.watcher = watcher
        self.log = log
        self.seed = seed
        self.isolated = isolated
        self.unix = False
        """Whether the HTTP API may be asked for UNIX sockets: who reaches it then has our rights to them."""
        self.links: dict[str, Tap] = {}
        self.dialling = 0
        self.own_refusals = 0
        self.refusals = Refusals(self)
        self.attempts = Attempts()
        self._ticking = False
        log.on_room(self._room)

    def add(self, link: Tap) -> None:
        """Make a link known."""
        self.links[link.name] = link
        link.emit("link", listen=link.listen, upstream=link.upstream)

    def remove(self, link: Tap) -> None:
        """Stop a link and forget it."""
        link.come_up_quietly()
        link.destroy()
        self.links.pop(link.name, None)
        link.emit("unlink", up=link.meter.up, down=link.meter.down)

    def leave(self) -> None:
        """The process is about to end: leave no socket files behind."""
        for link in self.links.values():
            link.leave()

    def wake(self) -> None:
        """Tick until nobody needs it any more."""
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK, self._tick)

    def count(self) -> bool:
        """Tell of connects that met nobody since the last tick; True while that is looked for at all."""
        looked = [self.refusals.poll(), self.attempts.poll(self.loop.time())]
        return any(looked)

    def _tick(self) -> None:
        now = self.loop.time()
        needed = [link.tick(now) for link in list(self.links.values())]
        needed.append(self.count())
        self._ticking = any(needed)
        if self._ticking:
            self.loop.call_later(TICK, self._tick)

    def _room(self) -> None:
        for link in self.links.values():
            link.resume_accepting()
