"""The server behind the link does wrong when it is asked: it fails, refuses, or takes its time."""

from __future__ import annotations

from typing import Any, ClassVar

from backupchaos.durations import measured
from backupchaos.errors import HarnessBroken, MissingCapability
from backupchaos.faults.afterwards import came_back
from backupchaos.faults.base import Fault, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.moments import job_end
from backupchaos.history import Event
from backupchaos.model.faults.service import (
    ServiceCredentialsExpire,
    ServiceErrors,
    ServiceSlow,
    ServiceThrottle,
)
from backupchaos.services.control import ServiceControl
from backupchaos.services.gate_answers import phrase
from backupchaos.services.misdeeds import TOLD, What

HTTP_ONLY = "use a target that speaks s3, rest or webdav"
CLOCKS = 0.001
"""Seconds by which two readings of the same clock may differ through rounding."""


class Told(Fault[Spec]):
    """The server, or the gate in front of it, does wrong with requests because it is told to."""

    what: ClassVar[What]

    def __init__(self, name: str, spec: Spec, ground: Any) -> None:
        super().__init__(name, spec, ground)
        self._spans: list[tuple[float, float | None]] = []
        self._totals = {"seen": 0, "struck": 0, "again": 0}
        self._soonest: float | None = None

    def available(self) -> None:
        """Raise ``MissingCapability`` where nobody can be told."""
        control = self.ground.means.control if self.ground.means is not None else None
        if control is None:
            raise MissingCapability(
                "obedient server",
                f"{self.spec.kind}: the repository's server cannot be told to do wrong",
                HTTP_ONLY if self.what == "throttle" else "use the server asyncssh, or one that speaks HTTP",
            )
        if self.what not in control.can:
            raise MissingCapability(
                "http repository",
                f"{self.spec.kind}: {control.name} serves SFTP, which has no such answer",
                HTTP_ONLY,
            )
        self.mechanism = f"answers of the {control.name}"
        self._control = control

    @property
    def control(self) -> ServiceControl:
        """Who is told."""
        return self._control

    @property
    def http(self) -> bool:
        """HTTP, or SFTP."""
        return "throttle" in self.control.can

    def settings(self) -> dict[str, Any]:
        """The order, besides what it is."""
        return {}

    def apply(self) -> str:
        """Give the order; it holds when this returns."""
        self._spans.append((self.control.impose(self.name, self.what, **self.settings()), None))
        return self.describe()

    def describe(self) -> str:
        """What happens from now on."""
        raise NotImplementedError

    def verify(self) -> None:
        """The process that answers says so."""
        if self.name not in self.control.status()["active"]:
            raise HarnessBroken(f"the {self.control.name} does not do what it was told")

    def undo(self) -> None:
        """Lift the order; answers that wait go out."""
        totals = self.control.lift(self.name)
        if self._spans:  # else the order was never given
            self._spans[-1] = (self._spans[-1][0], totals["t"])
        for key in self._totals:
            self._totals[key] += totals.get(key, 0)
        found = [gap for gap in (self._soonest, totals.get("soonest")) if gap is not None]
        self._soonest = min(found, default=None)
        self.ground.history.append("request", ev="total", fault=self.name, what=self.what, **self._totals)

    def verify_undone(self) -> None:
        """The process that answers has no such order any more."""
        if self.name in self.control.status()["active"]:
            raise HarnessBroken(f"the {self.control.name} still does what it was told")

    def told(self, ev: str) -> list[Event]:
        """What the process has told of this fault."""
        events = self.ground.history.of("request")
        return [event for event in events if event["ev"] == ev and event.get("fault") == self.name]

    def strikes(self, ev: str = "struck") -> list[Event]:
        """What the job met. It is told after the client has been answered, so the job may have ended by then."""
        history = self.ground.history
        limit = job_end(history)
        return [e for e in self.told(ev) if e.get("decided", e.t + history.t0) - history.t0 <= limit]

    def blows(self) -> Blows:
        """When it was decided that a request is refused, or that a session ends."""
        if len(self.told("struck")) >= TOLD:
            return blows("untimed", self.spans())
        return blows("refusal", [*map(self._decided, self.strikes()), *(e.t for e in self.strikes("cut"))])

    def _decided(self, event: Event) -> float:
        return float(event["decided"]) - self.ground.history.t0

    @property
    def struck(self) -> str:
        """How often the job was hit; of how many, where nobody but the job was there to be hit."""
        hits = len(self.strikes())
        alone = self._totals["struck"] == len(self.told("struck"))
        return f"{hits} of {self._totals['seen']}" if alone and hits == self._totals["struck"] else f"{hits}"

    def again(self) -> str:
        """How clients came back."""
        if not self._totals["again"]:
            return ""
        return f"; {self._totals['again']} were tried again, the first after {measured(self._soonest or 0)}"

    def strays(self) -> list[str]:
        """Strikes decided while the order did not hold, by the clock of the process that decided them; or an
        order that it has again."""
        struck = [
            f"{event['method']} {event['target']} at {event.t:.3f} s"
            for event in self.told("struck")
            if not any(
                start - CLOCKS <= event["decided"] and (end is None or event["decided"] <= end + CLOCKS)
                for start, end in self._spans
            )
        ]
        return struck + came_back(self)


class Errors(Told[ServiceErrors]):
    """A share of the requests fails."""

    what = "errors"
    cause = r"internal ?(server )?error|SSH_FX_FAILURE"

    def settings(self) -> dict[str, Any]:
        """Share and status."""
        return {"share": self.spec.share, "status": self.spec.status}

    def cause_pattern(self) -> str:
        """The words of the status, its number where it is called one, or what SFTP says."""
        return _status(self.spec.status) if self.http else self.cause

    def describe(self) -> str:
        """Share and answer."""
        answer = f"{self.spec.status} {phrase(self.spec.status)}" if self.http else "SSH_FX_FAILURE"
        return f"{self.spec.share:.0%} of the requests get {answer}"

    def bite(self) -> list[str]:
        """Requests that failed."""
        answer = self.spec.status if self.http else "SSH_FX_FAILURE"
        fact = f"{self.struck} requests answered by {answer}{self.again()}"
        return [fact, *_first(self.strikes())] if self.strikes() else []


class Throttle(Told[ServiceThrottle]):
    """Come back later."""

    what = "throttle"
    cause = r"slow ?down|too ?many ?requests|throttl|rate[ -]?limit|(reduce|lower) your request rate|retry[ -]after"

    def settings(self) -> dict[str, Any]:
        """Share, status, and when to come back."""
        spec = self.spec
        return {"share": spec.share, "status": spec.status, "retry_after": spec.retry_after}

    def cause_pattern(self) -> str:
        """The words of the code, or of the status."""
        return f"{self.cause}|{_status(self.spec.status)}"

    def describe(self) -> str:
        """Share, answer, and when to come back."""
        spec = self.spec
        return f"{spec.share:.0%} of the requests get {spec.status}, Retry-After: {round(spec.retry_after)}"

    def bite(self) -> list[str]:
        """Requests that were sent away, and how soon they came back."""
        fact = f"{self.struck} requests answered by {self.spec.status}{self.again()}"
        return [fact, *_first(self.strikes())] if self.strikes() else []


class Slow(Told[ServiceSlow]):
    """Every answer later."""

    what = "slow"
    cause = r"time[d -]?out|deadline exceeded|too slow|slow (server|answer|response)"

    def settings(self) -> dict[str, Any]:
        """How much."""
        return {"delay": self.spec.delay}

    def describe(self) -> str:
        """How much."""
        each = "" if self.http else ", one after the other"
        return f"each answer {self.spec.delay * 1000:g} ms later{each}"

    def bite(self) -> list[str]:
        """Answers that were held back."""
        fact = f"{len(self.strikes())} answers held back for {self.spec.delay * 1000:g} ms each"
        return [fact, *_first(self.strikes())] if self.strikes() else []

    def blows(self) -> Blows:
        """From each decision to its answer."""
        return blows("burden", [(self._decided(event), event.t) for event in self.strikes()])


class CredentialsExpire(Told[ServiceCredentialsExpire]):
    """Nobody with the job's credentials is let in."""

    what = "credentials"
    cause = (
        r"InvalidAccessKeyId|access key id|unauthori[sz]ed|forbidden|(permission|access) (was )?denied"
        r"|authenticat|credentials?\b|log ?in (was |is )?(refused|denied|failed)|refuses the login"
        r"|(status|http|code|response|error)\D{0,20}40[13]\b"
    )

    def describe(self) -> str:
        """What the answer is."""
        if self.http:
            return "all requests are refused as of an unknown key or user"
        return "sessions ended, logins refused"

    def bite(self) -> list[str]:
        """Sessions that were ended, logins or requests that were refused."""
        cut = len(self.strikes("cut"))
        what = "requests" if self.http else "logins"
        facts = [f"{cut} live sessions ended by the server"] if cut else []
        if self.strikes():
            facts.append(f"{self.struck} {what} refused{self.again()}")
        return facts


def _status(status: int) -> str:
    """How clients write a status: by its words, or by its number where they call it one."""
    words = phrase(status).replace(" ", " ?").replace("-", "[ -]?")
    return rf"{words}|(status|http|code|response|unexpected|error)\D{{0,20}}{status}\b"


def _first(events: list[Event]) -> list[str]:
    return [f"the first: {e['method']} {e['target'][:120]} at {e.t:.2f} s" for e in events[:1]]


MECHANISMS: dict[str, type[Fault[Any]]] = {
    "service.errors": Errors,
    "service.throttle": Throttle,
    "service.slow": Slow,
    "service.credentials_expire": CredentialsExpire,
}
