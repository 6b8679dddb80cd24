"""The job's network is gone, as if somebody had pulled the card: its address, its route, and whoever was behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backupchaos.environments.base import Sandbox, SandboxEvent, SyscallRule, Unpluggable
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.base import Ground
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.moments import job_end
from backupchaos.faults.network import Down
from backupchaos.model.faults.network import NetworkDown

DIALS = 1000
"""So many attempts to connect are reported in each window."""


def pluggable(sandbox: Sandbox) -> Unpluggable:
    """The sandbox as one whose network can be taken away; raises ``MissingCapability`` if that is not so."""
    if isinstance(sandbox, Unpluggable):
        return sandbox
    raise MissingCapability(
        "outlet",
        f"network.down with mode unreachable: the {sandbox.mechanism} sandbox has no network that could be taken away",
        "use --backup-env=docker, or another mode",
    )


class Unplugged(Down):
    """``mode: unreachable``: connects fail at once for want of a route, live connections go silent and may live on after it.

    The tap sees neither. The supervisor tells of every connect to the link's address, and none can have succeeded then; it
    goes into the link's log as refused. Of live connections the kernel tells how much it could not get rid of.
    """

    needs = frozenset({"syscalls"})

    def __init__(self, name: str, spec: NetworkDown, ground: Ground) -> None:
        super().__init__(name, spec, ground)
        self._stuck: list[tuple[int, int]] = []
        self._away: list[tuple[float, float | None]] = []
        """Since when it was away for certain, and until when, in the history's seconds."""
        self._deaf: Callable[[], None] | None = None

    @property
    def outlet(self) -> Unpluggable:
        """The sandbox, which can do it; raises ``MissingCapability`` where it cannot."""
        return pluggable(self.ground.sandbox)

    def available(self) -> None:
        """Raise ``MissingCapability`` unless the job's only link stands on a network that can be taken away."""
        outlet = self.outlet
        self.mechanism = outlet.unplugging
        if self.ground.tiers:
            raise MissingCapability(
                "outlet",
                "network.down with mode unreachable takes the whole network away, and this scenario has more links than one",
                "use mode refused, or leave out the other services",
            )
        if self.link.host != outlet.outlet():
            raise HarnessBroken(
                f"the link listens on {self.link.host}, not on the network that can be taken away"
            )

    def rules(self) -> Sequence[SyscallRule]:
        """Report every attempt to reach the link."""
        where = (f"{self.link.host}:{self.link.port}",)
        return [SyscallRule(self._rule, ("connect",), where, "observe", times=DIALS)]

    @property
    def _rule(self) -> str:
        return f"{self.name}.refused"

    def apply(self) -> str:
        """Take the network away."""
        if self.ground.means is not None and self._deaf is None:
            self._deaf = self.ground.means.on_sandbox(self._dialled)
        self.outlet.unplug(True)
        self._away.append((self.ground.history.now(), None))
        self.ground.sandbox.arm(self._rule, True)
        self.link.note("down", mode=self.spec.mode, cause=self.name)
        return f"{self.outlet.unplugging}: {self.link.host} is gone, and no route leads there"

    def verify(self) -> None:
        """The kernel has the address no more."""
        if self.outlet.plugged():
            raise HarnessBroken(f"the kernel still has the address {self.link.host}")

    def after_job(self) -> None:
        """Look at what the job could not get rid of."""
        if self.begun:
            self._look()

    def undo(self) -> None:
        """Put the network back, at the same address."""
        try:
            self._look()
            self.ground.sandbox.arm(self._rule, False)
        finally:
            if self._away and self._away[-1][1] is None:
                self._away[-1] = (self._away[-1][0], self.ground.history.now())
            if not self.outlet.plugged():
                self.outlet.unplug(False)
        self.link.note("up", was=self.spec.mode, cause=self.name)

    def verify_undone(self) -> None:
        """The kernel has the address again, and the link is as it was."""
        if not self.outlet.plugged():
            raise HarnessBroken(f"the kernel still has no address {self.link.host}")
        super().verify_undone()

    def bite(self) -> list[str]:
        """Data that nobody acknowledged, attempts to connect that had no route."""
        facts = []
        if self._stuck:
            connections, size = max(self._stuck, key=lambda stuck: stuck[1])
            facts.append(
                f"{connections} live connections went silent with {size} bytes that could not be sent"
            )
        if count := self.refusals():
            facts.append(f"{count} connection attempts had no route")
        return facts

    def blows(self) -> Blows:
        """Connects that had no route; with live connections nobody knows when they were missed, but that it was meanwhile."""
        if not self._stuck:
            return super().blows()
        now = self.ground.history.now()
        return blows("silence", [(start, now if end is None else end) for start, end in self._away])

    def strays(self) -> list[str]:
        """The network is away again. What is in the link's log in its name stands there by our own hand."""
        return came_back(self)

    def _look(self) -> None:
        """Only what the job had begun: what others send after it proves nothing."""
        if not self._away or (job_end(self.ground.history) < self._away[-1][0] and not self.after_the_job):
            return
        found = self.ground.sandbox.call("unanswered", host=self.link.host, port=self.link.port)
        if found["bytes"]:
            self._stuck.append((found["connections"], found["bytes"]))

    def _dialled(self, event: SandboxEvent) -> None:
        if event.kind != "syscall" or event.data.get("rule") != self._rule or not self._away:
            return
        t = event.t - self.ground.history.t0
        if any(start <= t and (end is None or t <= end) for start, end in self._away):
            self.link.note("refused", count=1, exact=True, cause=self.name)
