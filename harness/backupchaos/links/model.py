"""What the engine sees of a link: events and totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """One line of the event log.

    ``t`` is ``time.monotonic`` of the harness, ``seq`` orders all links of one process,
    ``link`` is empty for what concerns none, ``conn`` counts the accepted connections of a link
    from 1 (0: concerns the link as a whole). ``data`` depends on ``ev``:

    ========================  =========================================================
    link, unlink              listen, upstream / up, down
    open                      peer_port
    dial_ok, dial_fail        ms / error, ms
    first_byte, eof           dir (``up``: from the client)
    bytes                     up, down (totals of the link), open; at most every 50 ms;
                              each: connection -> [up, down] so far, of those that moved
    silence                   seconds without a byte on the link, ended by this connection
    close                     reason, up, down, ms, rst; lost_up, lost_down: read, never passed
    refused                   mode, count, exact; shared: another link may be meant as well
    exhausted                 error, open: no connection could be accepted for want of something
    trouble, relief           trouble: its kind, name and what it says of itself
    stranded                  count: connections that are half open now
    lost                      count: packets that the kernel dropped
    flip                      offset in the stream to the server, bit, was, now
    name                      name, type, answer, delay: a question to the sandbox's name server
    down, up                  mode / was
    trigger                   arm, dir, bytes, action, up, down
    fault_hit                 by (``down:<mode>``, ``hold``, a toxic), what, first
    hangup                    dir, how (fin, rst), during: gave up while the link was stalled
    mark, release             up, down / nothing
    toxic_add, toxic_patch,   toxic: its name, type, stream, toxicity, attributes
    toxic_del
    ========================  =========================================================

    What a fault of the harness brought about bears its name as ``cause``.
    """

    seq: int
    t: float
    ev: str
    link: str = ""
    conn: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: Mapping[str, Any]) -> LinkEvent:
        """From a decoded JSON line."""
        rest = {key: value for key, value in line.items() if key not in ("seq", "t", "ev", "link", "conn")}
        return cls(line["seq"], line["t"], line["ev"], line.get("link", ""), line.get("conn", 0), rest)


@dataclass(slots=True)
class LinkStats:
    """Totals of one link, kept from its events.

    ``connections`` were accepted, ``refused`` were not (``refused_exact`` is false when that count
    may contain others' failures), ``resets`` ended with RST by either side or by a fault,
    ``lost_up`` and ``lost_down`` are bytes that were read and never passed on.
    """

    connections: int = 0
    open: int = 0
    refused: int = 0
    refused_exact: bool = True
    dial_failures: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    lost_up: int = 0
    lost_down: int = 0
    resets: int = 0
    faults_hit: int = 0
    dropped_samples: int = 0

    def apply(self, event: LinkEvent) -> None:
        """Take an event of this link into account."""
        data = event.data
        self.dropped_samples += data.get("dropped", 0)
        match event.ev:
            case "open":
                self.connections += 1
                self.open += 1
            case "close":
                self.open -= 1
                self.resets += bool(data.get("rst"))
                self.lost_up += data.get("lost_up", 0)
                self.lost_down += data.get("lost_down", 0)
                self.totals(data.get("total_up", 0), data.get("total_down", 0))
            case "refused":
                self.refused += data["count"]
                self.refused_exact = self.refused_exact and data["exact"]
            case "dial_fail":
                self.dial_failures += 1
            case "fault_hit":
                self.faults_hit += bool(data.get("first"))
            case "bytes" | "trigger" | "mark" | "down" | "unlink":
                self.totals(data.get("up", 0), data.get("down", 0))

    def totals(self, up: int, down: int) -> None:
        """Totals only grow; events of one link come in order, replies may come between."""
        self.up_bytes = max(self.up_bytes, up)
        self.down_bytes = max(self.down_bytes, down)
