"""Counting what a link lets pass, and acting at an exact byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from backupchaos.links.flow import Direction
    from backupchaos.links.tap import Tap

DIRECTIONS = ("up", "down", "both")
SILENCE = 0.25
"""Seconds without a byte that make a ``silence`` event when the next one passes."""


@dataclass
class Arm:
    """One byte trigger. ``base_*`` is what the link had passed when counting began."""

    key: str
    direction: Literal["up", "down", "both"]
    threshold: int
    action: str
    base_up: int
    base_down: int

    def passed(self, up: int, down: int) -> int:
        """Bytes that count, given the link's totals."""
        up, down = up - self.base_up, down - self.base_down
        return up + down if self.direction == "both" else up if self.direction == "up" else down

    def counts(self, direction: Direction) -> bool:
        """Whether bytes of this direction bring the trigger nearer."""
        return self.direction in (direction, "both")


class Meter:
    """Totals of one link since its creation, and its byte triggers."""

    def __init__(self, link: Tap) -> None:
        self._link = link
        self.up = self.down = 0
        self.arms: list[Arm] = []
        self.moved: set[int] = set()
        """Numbers of the connections on which bytes have passed since the last sample."""
        self._mark = (0, 0)
        self._moved_at = 0.0

    def count(self, direction: Direction, count: int, conn: int) -> None:
        """Bytes have passed; may stall or cut the link before this returns."""
        if direction == "up":
            self.up += count
        else:
            self.down += count
        now = self._link.loop.time()
        if self._moved_at and now - self._moved_at >= SILENCE:
            self._link.emit("silence", conn, seconds=round(now - self._moved_at, 6))
        self._moved_at = now
        if not self.moved:
            self._link.registry.wake()
        self.moved.add(conn)
        if self.arms:
            self.pull(conn)

    def mark(self) -> None:
        """Count from here."""
        self._mark = (self.up, self.down)
        self._link.emit("mark", up=self.up, down=self.down)

    def arm(self, key: str, direction: str, threshold: int, action: str, *, since_mark: bool) -> None:
        """Set a trigger; it fires at once when its threshold is reached already."""
        base_up, base_down = self._mark if since_mark else (self.up, self.down)
        assert direction in DIRECTIONS
        self.arms.append(Arm(key, direction, threshold, action, base_up, base_down))  # type: ignore[arg-type]
        self.pull(0)

    def disarm(self, key: str) -> bool:
        """Forget a trigger; False when there is none of that key."""
        before = len(self.arms)
        self.arms = [arm for arm in self.arms if arm.key != key]
        return len(self.arms) < before

    def allowance(self, direction: Direction) -> int | None:
        """Bytes that may pass in this direction before the next trigger; None for no limit."""
        left = [arm.threshold - arm.passed(self.up, self.down) for arm in self.arms if arm.counts(direction)]
        return max(1, min(left)) if left else None

    def pull(self, conn: int) -> None:
        """Fire what is due: the event is on its way before the action is done."""
        due = [arm for arm in self.arms if arm.passed(self.up, self.down) >= arm.threshold]
        for arm in due:
            self.arms.remove(arm)
            passed = arm.passed(self.up, self.down)
            totals = {"up": self.up, "down": self.down}
            self._link.emit(
                "trigger", conn, arm=arm.key, dir=arm.direction, bytes=passed, action=arm.action, **totals
            )
            self._link.log.flush()
            if arm.action == "hold":
                self._link.hold()
            elif arm.action.startswith("down:"):
                self._link.go_down(arm.action[5:])
