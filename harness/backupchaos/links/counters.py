"""Counting connection attempts that never reach a program.

*Refused*: seen at the link's port (``knocks``). Where that cannot be had, the kernel's AttemptFails counter of the
network namespace serves for all links that are down, and the events say whose each may have been. It names no port, so
a count is exact only when nothing else fails to connect, and the namespace belongs to the run alone; elsewhere each is
marked ``strangers``: any program of the machine may have been meant, so it proves nothing.
*Blackhole*: sockets in SYN_SENT towards the link's port, each seen once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backupchaos.links.knocks import Knocks
    from backupchaos.links.registry import Registry
    from backupchaos.links.tap import Tap

_SYN_SENT = "02"
_OPEN = (1, 8)
"""Established, and closed by the other side only."""
_SYN_INTERVAL = 0.05


def attempt_fails() -> int:
    """Tcp AttemptFails of this network namespace since it began."""
    with open("/proc/net/snmp", encoding="ascii") as file:
        names, values = [line.split() for line in file if line.startswith("Tcp:")]
    return int(values[names.index("AttemptFails")])


def connecting(ports: set[int]) -> dict[int, set[tuple[int, str]]]:
    """Port -> (source port, inode) of the sockets that wait for an answer from it."""
    found: dict[int, set[tuple[int, str]]] = {port: set() for port in ports}
    for fields in _table():
        if fields[3] == _SYN_SENT:
            port = _port(fields[2])
            if port in found:
                found[port].add((_port(fields[1]), fields[9]))
    return found


def far_ends(port: int) -> dict[int, tuple[int, int]]:
    """Source port -> (TCP state, bytes without acknowledgement) of the sockets that are connected to a port.

    The end of the stream, which TCP counts as a byte, is not counted.
    """
    found = {}
    for fields in _table():
        if _port(fields[2]) == port:
            state, waiting = int(fields[3], 16), int(fields[4].partition(":")[0], 16)
            found[_port(fields[1])] = state, max(0, waiting - (state not in _OPEN))
    return found


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _table() -> Iterator[list[str]]:
    """The TCP sockets of this network namespace, a list of fields for each."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            yield line.split(None, 10)


class Refusals:
    """Tells of refusals of the links that are down with mode ``refused``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._links: dict[str, Tap] = {}
        self._last = 0
        self._own = 0
        self._knocks: Knocks | None = None

    def begin(self, link: Tap) -> None:
        """The link is about to be shut."""
        self.poll(final=True)
        if not self._links:
            self._last = attempt_fails()
            self._own = self._registry.own_refusals
            self._knocks = self._watch()
        self._links[link.name] = link
        self._registry.wake()

    def seen_by_port(self) -> bool:
        """Whether refusals will be told by port. Found out by doing it."""
        found = self._watch()
        if found is not None:
            found.close()
        return found is not None

    def _watch(self) -> Knocks | None:
        """By port, if all links have addresses of IPv4. Whatever these are: to one of the namespace's own the kernel goes by
        the loopback, and from elsewhere its counter would not see them either."""
        doors = [link.door.address for link in self._registry.links.values() if link.countable]
        if any(door is not None and ":" in door.host for door in doors):
            return None
        from backupchaos.links.knocks import watch

        return watch()

    def end(self, link: Tap) -> dict[str, Any]:
        """The link is about to listen again."""
        self.poll(final=True)
        self._links.pop(link.name, None)
        if not self._links and self._knocks is not None:
            self._knocks.close()
            self._knocks = None
        return {}

    def poll(self, *, final: bool = False) -> bool:
        """Report new refusals; True while a link is down."""
        if not self._links:
            return False
        if self._knocks is not None:
            self._by_port(self._knocks)
            return True
        registry = self._registry
        if registry.dialling and not final:
            return True  # one of these failures could be ours; look again when the dial is over
        now = attempt_fails()
        own, self._own = registry.own_refusals - self._own, registry.own_refusals
        count, self._last = now - self._last - own, now
        if count > 0:
            alone = len(self._links) == 1
            exact = alone and not own and not registry.dialling and registry.isolated
            # A connect that another, silent link has never answered fails, too.
            alone = alone and not (registry.attempts.active and len(registry.links) > 1)
            exact = exact and not registry.attempts.active
            for link in self._links.values():
                shared: dict[str, Any] = {} if alone else {"shared": sorted(registry.links)}
                shared |= {} if registry.isolated else {"strangers": True}
                link.emit("refused", mode="refused", count=count, exact=exact, **shared, **link.blame())
        return True

    def _by_port(self, knocks: Knocks) -> None:
        """What each link has refused itself, and nothing else."""
        found, complete = knocks.take()
        for link in self._links.values():
            if count := found.get(link.port, 0):
                link.emit("refused", mode="refused", count=count, exact=complete, **link.blame())


class Attempts:
    """Sees the connects that wait for a link with mode ``blackhole``."""

    def __init__(self) -> None:
        self._links: dict[str, Tap] = {}
        self._seen: dict[str, set[tuple[int, str]]] = {}
        self._polled = 0.0

    @property
    def active(self) -> bool:
        """Whether a link is in that mode."""
        return bool(self._links)

    def begin(self, link: Tap) -> None:
        """The link's queue is full now. Our own filler, if it waits, is no attempt."""
        self._links[link.name] = link
        self._seen[link.name] = connecting({link.port})[link.port]
        link.registry.wake()

    def end(self, link: Tap) -> None:
        """The link is about to answer again."""
        if link.name in self._links:
            self.poll(self._polled + 1)
            del self._links[link.name], self._seen[link.name]

    def poll(self, now: float) -> bool:
        """Report new attempts; True while a link is in that mode."""
        if not self._links:
            return False
        if now - self._polled >= _SYN_INTERVAL - 0.002:
            self._polled = now
            found = connecting({link.port for link in self._links.values()})
            for name, link in self._links.items():
                for source in sorted(found[link.port] - self._seen[name]):
                    self._seen[name].add(source)
                    link.emit(
                        "refused", mode="blackhole", count=1, exact=True, peer_port=source[0], **link.blame()
                    )
        return True
