"""The harness's orders to ``linkd``: JSON lines in, each answered by a ``reply`` event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from backupchaos.links import addresses, packets
from backupchaos.links.meter import DIRECTIONS
from backupchaos.links.registry import Registry
from backupchaos.links.tap import MODES, Tap

if TYPE_CHECKING:
    from backupchaos.links.resolver import Resolver


class Control:
    """Carries out one order at a time; a wrong order is answered with its reason."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._resolver: Resolver | None = None
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "create": self._create,
            "remove": self._remove,
            "down": self._down,
            "up": self._up,
            "reset": self._reset,
            "packets": lambda order: {"usable": packets.usable()},
            "knocks": lambda order: {"seen": self._registry.refusals.seen_by_port()},
            "hold": lambda order: self._link(order).hold(),
            "release": lambda order: self._link(order).release(),
            "mark": self._mark,
            "arm": self._arm,
            "disarm": lambda order: {"found": self._link(order).meter.disarm(str(order["key"]))},
            "fail_first": self._fail_first,
            "afflict": self._afflict,
            "relieve": lambda order: {"found": self._link(order).ills.relieve(str(order["name"]))},
            "name": self._name,
            "answer": self._answer,
            "note": self._note,
            "stats": self._stats,
            "census": self._census,
            "ping": lambda order: {},
        }

    def handle(self, line: bytes) -> None:
        """Carry out one line."""
        order: Any = None
        try:
            order = json.loads(line)
            result = self._operations[order["op"]](order) or {}
        except (ValueError, KeyError, TypeError, OSError) as error:
            key = order.get("id") if isinstance(order, dict) else None
            text = f"missing or unknown: {error}" if isinstance(error, KeyError) else str(error)
            self._registry.log.emit("reply", id=key, ok=False, error=text)
            return
        self._registry.log.emit("reply", id=order.get("id"), ok=True, **result)
        self._registry.log.flush()

    def _link(self, order: dict[str, Any]) -> Tap:
        link = self._registry.links.get(order["link"])
        if link is None:
            raise ValueError(f"no link {order['link']!r}")
        return link

    def _create(self, order: dict[str, Any]) -> dict[str, Any]:
        name = str(order["link"])
        if name in self._registry.links:
            raise ValueError(f"link {name!r} exists already")
        upstream = order["upstream"]
        if isinstance(upstream, int):
            upstream = f"127.0.0.1:{upstream}"
        addresses.parse(upstream)
        link = Tap(self._registry, name, order.get("listen", "127.0.0.1:0"), upstream)
        link.start()
        self._registry.add(link)
        assert link.door.address is not None
        return link.door.address._asdict()

    def _remove(self, order: dict[str, Any]) -> None:
        self._registry.remove(self._link(order))

    def _down(self, order: dict[str, Any]) -> None:
        self._link(order).go_down(order.get("mode", "refused"), str(order.get("cause", "")))

    def _up(self, order: dict[str, Any]) -> None:
        self._link(order).come_up(str(order.get("cause", "")))

    def _reset(self, order: dict[str, Any]) -> None:
        link = self._link(order)
        link.go_down("reset", str(order.get("cause", "")))
        link.come_up()  # nobody could come in between: this process has one thread

    def _mark(self, order: dict[str, Any]) -> dict[str, Any]:
        link = self._link(order)
        link.meter.mark()
        return self._totals(link)

    def _arm(self, order: dict[str, Any]) -> dict[str, Any]:
        link = self._link(order)
        direction, action, count = order.get("direction", "up"), order.get("action", "none"), order["bytes"]
        if direction not in DIRECTIONS:
            raise ValueError(f"unknown direction {direction!r}: one of {', '.join(DIRECTIONS)}")
        if action not in ("none", "hold", *(f"down:{mode}" for mode in MODES)):
            raise ValueError(f"unknown action {action!r}: none, hold or down:<mode>")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"bytes must be a number from 0 on, not {count!r}")
        since_mark = order.get("since", "arm") == "mark"
        link.meter.arm(str(order["key"]), direction, count, action, since_mark=since_mark)
        return self._totals(link)

    def _fail_first(self, order: dict[str, Any]) -> None:
        self._link(order).door.fail_next = max(0, int(order["count"]))

    def _afflict(self, order: dict[str, Any]) -> dict[str, Any]:
        from backupchaos.links import damage, troubles

        kinds: dict[str, type[troubles.Trouble]] = {**troubles.KINDS, **damage.KINDS}
        if order["kind"] not in kinds:
            raise ValueError(f"unknown trouble {order['kind']!r}: one of {', '.join(kinds)}")
        link = self._link(order)
        trouble = kinds[order["kind"]](link, str(order["name"]), order)
        link.ills.afflict(trouble)
        return trouble.describe()

    def _census(self, _order: dict[str, Any]) -> dict[str, Any]:
        from backupchaos.links.census import count

        return count(self._registry.loop)

    def _name(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._resolver is None:
            from backupchaos.links.resolver import Resolver

            self._resolver = Resolver(self._registry.loop, self._registry.log, int(order.get("port", 53)))
        self._resolver.know(str(order["host"]), str(order.get("address", "127.0.0.1")))
        return {"port": self._resolver.port}

    def _answer(self, order: dict[str, Any]) -> None:
        if self._resolver is None:
            raise ValueError("no name is served")
        mode, cause = str(order.get("mode", "")), str(order.get("cause", ""))
        self._resolver.answer(mode, float(order.get("delay", 0)), cause, str(order.get("host", "")))

    def _note(self, order: dict[str, Any]) -> None:
        data = {str(key): value for key, value in dict(order.get("data", {})).items()}
        self._registry.log.emit(str(order["ev"]), str(order.get("link", "")), **data)

    def _stats(self, order: dict[str, Any]) -> dict[str, Any]:
        """Whoever asks wants to know of all that has happened, not of the last tick's news."""
        self._registry.count()
        link = self._link(order)
        return self._totals(link) | self._troubles(link)

    @staticmethod
    def _troubles(link: Tap) -> dict[str, Any]:
        return {"cause": link.cause, **link.ills.describe()}

    @staticmethod
    def _totals(link: Tap) -> dict[str, Any]:
        return {
            "up": link.meter.up,
            "down": link.meter.down,
            "open": len(link.connections),
            "accepted": link.door.accepted,
            "mode": link.mode,
            "stalled": link.stalled,
            "silenced": sum(bool(conn.silenced) for conn in link.connections.values()),
        }
