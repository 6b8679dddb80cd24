"""A server behind a link is killed or restarted; what it does wrong with requests: ``service_answers``."""

from __future__ import annotations

import signal
from typing import Any

from backupchaos.durations import measured
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults import service_answers
from backupchaos.faults.afterwards import came_back, too_often
from backupchaos.faults.base import Fault, Means, Server, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.moments import LAG, job_end
from backupchaos.faults.on_link import STRIKES
from backupchaos.faults.strangers import need_own_refusals, surely_ours
from backupchaos.history import Event
from backupchaos.model.faults.service import ServiceKill, ServiceRestart

GONE = (
    r"connection (was |is )?(refused|reset|lost|closed|aborted|broken)|broken pipe|\beof\b|unreachable|no route"
    r"|ECONN|EPIPE|(cannot|could not|couldn't|failed to|unable to) (re)?connect|\blinks?\b.*(failed|down|silent)"
    r"|disconnected|time[d -]?out|connect(ion)? (failed|error)"
)
"""What clients say of a server that is no longer there."""
PATIENCE = 1.0
"""Seconds for a server to end by itself, before its connections are cut, and again before it is killed."""


class _Away(Fault[Spec]):
    """The server's processes are ended; its port refuses until it is there again.

    The tap in front goes on listening, as a load balancer would; so it is told to refuse in the dead
    server's place, and clients get from the kernel what they would get without it.
    """

    mechanism = "signal to the server's process tree; the link refuses while it is away"
    cause = GONE

    def __init__(self, name: str, spec: Spec, ground: Any) -> None:
        super().__init__(name, spec, ground)
        self._away: list[tuple[float, float | None]] = []
        self._pid = 0

    def available(self) -> None:
        """Raise ``MissingCapability`` for a server that would itself lose what the job stored."""
        forgets = self.ground.means.server(self.spec.on_link).forgets if self.ground.means is not None else ""
        if forgets:
            raise MissingCapability(
                "durable server",
                f"{self.spec.kind}: this server is no fair judge, since {forgets}",
                "use repository: sftp, webdav or rest, or the server minio",
            )

    @property
    def link(self) -> Any:
        """The link in front of it; a scenario without it never gets here."""
        link = self.ground.link_to(self.spec.on_link)
        if link is None:
            raise HarnessBroken(
                f"fault {self.name} needs a server, but there is none for {self.spec.on_link}"
            )
        return link

    @property
    def means(self) -> Means:
        """The engine's help."""
        if self.ground.means is None:
            raise HarnessBroken(f"fault {self.name}: there is nobody to stop a server")
        return self.ground.means

    @property
    def server(self) -> Server:
        """Who is stopped and started."""
        server = self.means.server(self.spec.on_link)
        if server.pid is None:
            raise HarnessBroken(f"fault {self.name}: there is no server to stop")
        return server

    def stop(self, number: int) -> None:
        """End the server and everything it started; from then on its port refuses."""
        pid = self._pid = self.server.pid or 0
        self._away.append((self.ground.history.now(), None))
        send, polite = self.ground.sandbox.signal, number != signal.SIGKILL
        # A server that is killed must not see its clients go, and none may come in between: so it is frozen first.
        if not send(pid, number if polite else signal.SIGSTOP, tree=True):
            raise HarnessBroken("the server was not running any more")
        ended = polite and self._ends(PATIENCE)
        self.link.down("refused", cause=self.name)
        if ended or (polite and self._ends(PATIENCE)):
            return
        send(pid, signal.SIGKILL, tree=True)
        if not self._ends(10 * PATIENCE):
            raise HarnessBroken(f"the server, process {pid}, survived SIGKILL")

    def _ends(self, timeout: float) -> bool:
        return self.means.wait(self._pid, timeout) is not None

    def start(self) -> None:
        """Start it again and open its port, the latter even if the former failed."""
        try:
            self.server.restart()
        finally:
            self.link.up(cause=self.name)
            if self._away:  # else there was no server to stop
                self._away[-1] = (self._away[-1][0], self.ground.history.now())

    def verify_undone(self) -> None:
        """A server runs, and its port listens (no connection is made: it would be counted).

        If the link is in a mode of another fault, that one has the port.
        """
        if self.server.pid in self.means.exits:
            raise HarnessBroken("the server that was started again has ended")
        state = self.link.state()
        if state["mode"] != "up" and state["cause"] != self.name:
            return
        listeners = self.ground.sandbox.call("network_stats")["listeners"]
        if not any(entry["port"] == self.link.port for entry in listeners):
            raise HarnessBroken("the server runs again, but its port does not listen")

    def bite(self) -> list[str]:
        """Connections that died with the server, attempts that found nobody."""
        died, missed, _ = self._met()
        refused = sum(int(event.get("count", 1)) for event in missed)
        facts = []
        if died:
            facts.append(f"{len(died)} live connections died with the server")
        if refused:
            facts.append(f"{refused} connection attempts found no server")
        if facts:
            code = self.means.exits[self._pid][0]
            seconds = sum((end or start) - start for start, end in self._away)
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            facts.append(
                f"the server's process {self._pid} ended by {how}, it was away for {measured(seconds)}"
            )
        return facts

    def after_job(self) -> None:
        """What was refused must be known to be the job's, if it lost no live connection."""
        super().after_job()
        died, missed, doubtful = self._met()
        if doubtful and not died and not missed:
            need_own_refusals(self.spec.kind, self.ground.sandbox, self.link)

    def _met(self) -> tuple[list[Event], list[Event], list[Event]]:
        """(connections that died with the server, attempts that found nobody, those that may be strangers')
        while the job was there to meet them."""
        limit = job_end(self.ground.history) + LAG
        links = [e for e in self.ground.history.of("link") if e["link"] == self.spec.on_link]
        mine = [e for e in links if e.get("cause") in (None, "", self.name)]
        events = [event for event in mine if event.t <= limit and self._while_away(event.t)]
        closes = [event for event in events if event["ev"] == "close"]
        died = [e for e in closes if str(e.get("reason")) in ("down", "upstream_fin", "upstream_rst")]
        refused = [event for event in events if event["ev"] == "refused"]
        missed = [event for event in refused if surely_ours(event)]
        missed += [event for event in closes if event.get("reason") == "dial_fail"]
        return died, missed, [event for event in refused if not surely_ours(event)]

    def blows(self) -> Blows:
        """When connections died, and when attempts found nobody."""
        died, missed, _ = self._met()
        return blows("refusal", [event.t for event in (*died, *missed)])

    def strays(self) -> list[str]:
        """A server that ended when nobody of ours ended it, refusals in its name while it was there, one stop too many."""
        facts = too_often(self, len(self._away), "the server was stopped")
        pid = self.means.server(self.spec.on_link).pid
        if self.windows and not self._open and pid in self.means.exits:
            code = self.means.exits[pid][0]
            facts.append(f"the server, process {pid}, ended with {code} while it was to run")
        facts += [
            f"{event['ev']} at {event.t:.3f} s on connection {event['conn']}"
            for event in self.ground.history.of("link")
            if event["ev"] in STRIKES and event.get("cause") == self.name
            if not (self._while_away(event.t - LAG) or self._while_away(event.t) or self._at_work(event.t))
        ]
        return facts + ([] if self._open else came_back(self))

    @property
    def _open(self) -> bool:
        """It is away by our doing."""
        return bool(self._away) and self._away[-1][1] is None

    def _while_away(self, t: float) -> bool:
        return any(start <= t and (end is None or t <= end) for start, end in self._away)


class Kill(_Away[ServiceKill]):
    """The server dies, and comes back when the fault ends."""

    def apply(self) -> str:
        """Kill it."""
        self.stop(getattr(signal, f"SIG{self.spec.signal}"))
        return f"SIG{self.spec.signal} to the server, its port refuses"

    def verify(self) -> None:
        """The kernel has reported the end of its process."""
        if self._pid not in self.means.exits:
            raise HarnessBroken(f"the server, process {self._pid}, still runs")

    def undo(self) -> None:
        """Start it again on the same port, with the same keys and data; returns when it answers."""
        self.start()


class Restart(_Away[ServiceRestart]):
    """The server is stopped as for an upgrade, and is there again as soon as it has started."""

    def apply(self) -> str:
        """TERM, wait for its end, start it again."""
        try:
            self.stop(signal.SIGTERM)
        finally:
            self.start()
        begin, end = self._away[-1]
        return f"stopped by SIGTERM and started again, away for {measured((end or begin) - begin)}"

    def verify(self) -> None:
        """Another process than before runs and listens."""
        if self.server.pid == self._pid:
            raise HarnessBroken("the server was not started again")
        self.verify_undone()


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "service.kill": Kill,
    "service.restart": Restart,
    **service_answers.MECHANISMS,
}
