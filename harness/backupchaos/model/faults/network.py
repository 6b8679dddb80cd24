"""Faults of a link, to the repository or to another service of the scenario, and of the name that leads there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from backupchaos.model.faults.amounts import Share, SomeBytes
from backupchaos.model.faults.base import FaultSpec, LinkPlace
from backupchaos.model.words import Mistake
from backupchaos.units import Duration, Rate

SHORTEST = 0.01
"""Seconds below which nobody could tell a pause from the machine's own."""


def _lasting(value: float) -> float:
    if value >= SHORTEST:
        return value
    raise Mistake("expected at least 10ms", code="zero", hint="Write such as 500ms.")


def _in_milliseconds(value: float) -> float:
    if value == 0:  # nothing at all has a message of its own
        return value
    if value < 0.001:
        raise Mistake("expected at least 1ms", code="zero", hint="Write such as 200ms.")
    if abs(value * 1000 - round(value * 1000)) > 1e-6:
        raise Mistake("expected whole milliseconds", code="fraction", hint="Write such as 200ms.")
    return value


def _in_kilobytes(value: int) -> int:
    if value == 0 or value >= 1000:
        return value
    raise Mistake("expected at least 1000B/s", code="zero", hint="Write such as 64KiB/s.")


Lasting = Annotated[Duration, AfterValidator(_lasting)]
Delay = Annotated[Duration, AfterValidator(_in_milliseconds)]
"""Toxiproxy counts in milliseconds: less would be no delay, and a part of one is lost."""
Trickle = Annotated[Rate, AfterValidator(_in_kilobytes)]
"""Toxiproxy counts in thousands of bytes."""


class _OnLink(FaultSpec):
    layer = "network"
    needs_link = True


class NetworkDown(_OnLink):
    """The link is gone: live connections are cut, new ones are refused (or reset)."""

    kind = "network.down"
    place: LinkPlace = Field(alias="network.down", description="Where")
    mode: Literal["refused", "reset", "unreachable"] = Field(
        default="refused",
        description="How new connections fail; with unreachable a container loses its network: there is no route for "
        "them, and live ones are not cut but silent",
    )

    @property
    def unplugs(self) -> bool:
        """See ``FaultSpec``."""
        return self.mode == "unreachable"

    @property
    def leaves_stranded(self) -> bool:
        """Without a network the end of a connection does not reach the server either."""
        return self.unplugs


class NetworkBlackhole(_OnLink):
    """The link is silent: nothing arrives, nothing is refused."""

    kind = "network.blackhole"
    strands = True
    place: LinkPlace = Field(alias="network.blackhole", description="Where")


class NetworkReset(_OnLink):
    """Live connections are reset once; new ones work."""

    kind = "network.reset"
    instant = True
    needs_progress = True
    place: LinkPlace = Field(alias="network.reset", description="Where")


class NetworkSlow(_OnLink):
    """The link carries no more than a rate, in each direction and per connection."""

    kind = "network.slow"
    place: LinkPlace = Field(alias="network.slow", description="Where")
    rate: Trickle = Field(description="Bytes per second")


class NetworkLatency(_OnLink):
    """Every byte arrives later; jitter varies the delay."""

    kind = "network.latency"
    place: LinkPlace = Field(alias="network.latency", description="Where")
    delay: Delay = Field(description="How much later each byte arrives")
    jitter: Delay = Field(default=0.0, description="The delay varies by so much either way")


class NetworkCutAfter(_OnLink):
    """Every connection is cut when it has sent so many bytes."""

    kind = "network.cut_after"
    place: LinkPlace = Field(alias="network.cut_after", description="Where")
    size: SomeBytes = Field(description="How much each connection may send")
    connections: int | None = Field(
        default=None, ge=1, le=1_000_000, description="How many connections are cut so; all if left out"
    )


class NetworkFlap(_OnLink):
    """The link comes and goes by turns."""

    kind = "network.flap"
    place: LinkPlace = Field(alias="network.flap", description="Where")
    down: Lasting = Field(default=0.5, description="How long it is away each time, and first of all")
    up: Lasting = Field(default=0.5, description="How long it works in between")


class NetworkLoss(_OnLink):
    """A share of the packets is lost."""

    kind = "network.loss"
    strands = True
    place: LinkPlace = Field(alias="network.loss", description="Where")
    share: Share = Field(default=0.05, description="Which share of the packets, from either side")


class NetworkHalfOpen(_OnLink):
    """The other side of live connections is gone without a word; new connections work. After it they are reset."""

    kind = "network.half_open"
    strands = True
    needs_progress = True
    place: LinkPlace = Field(alias="network.half_open", description="Where")


class NetworkSlice(_OnLink):
    """Data arrive in small pieces with pauses in between."""

    kind = "network.slice"
    place: LinkPlace = Field(alias="network.slice", description="Where")
    size: SomeBytes = Field(default=512, description="How large the pieces are on average")
    delay: Duration = Field(default=0.001, description="The pause between pieces")


class NetworkCorrupt(_OnLink):
    """Bytes to the server change on their way, unseen by TCP, and not the first 4 KiB of a connection."""

    kind = "network.corrupt"
    place: LinkPlace = Field(alias="network.corrupt", description="Where")
    bits: int = Field(
        default=1, ge=1, le=1000, description="How many bits of each connection flip, some 32 KiB apart"
    )


class DnsFailure(_OnLink):
    """The server's name cannot be resolved."""

    kind = "dns.failure"
    place: LinkPlace = Field(alias="dns.failure", description="Where")
    mode: Literal["unknown", "failing", "silent"] = Field(
        default="failing", description="The answer: no such name, server failure, or none at all"
    )


class DnsSlow(_OnLink):
    """The server's name is resolved late."""

    kind = "dns.slow"
    place: LinkPlace = Field(alias="dns.slow", description="Where")
    delay: Lasting = Field(default=1.0, description="How much later each answer comes")


KINDS: tuple[type[FaultSpec], ...] = (
    NetworkDown,
    NetworkBlackhole,
    NetworkReset,
    NetworkSlow,
    NetworkLatency,
    NetworkCutAfter,
    NetworkFlap,
    NetworkLoss,
    NetworkHalfOpen,
    NetworkSlice,
    NetworkCorrupt,
    DnsFailure,
    DnsSlow,
)
