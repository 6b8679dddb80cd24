"""The name that leads to the repository, or to another service."""

from __future__ import annotations

from typing import Any

from backupchaos.durations import format_duration
from backupchaos.errors import HarnessBroken
from backupchaos.faults.base import Fault, Spec
from backupchaos.faults.blows import Blows, blows
from backupchaos.faults.on_link import LinkFault
from backupchaos.history import Event
from backupchaos.links.links import NameMode
from backupchaos.links.names import name_of
from backupchaos.model.faults.network import DnsFailure, DnsSlow

CAUSE = (
    r"no such host|server misbehaving|\blookup \S+|name (?:or service )?(?:not known|resolution|does not resolve)"
    r"|resolv|no address associated|nodename nor servname|unknown host|getaddrinfo|\bEAI_|NXDOMAIN|SERVFAIL|\bdns\b"
)
TIMED_OUT = r"time[ds]?[ -]?out|deadline exceeded|\blink \S+ is silent"
PATIENCE = 0.3
"""Seconds after which our own question to a server that is to be silent counts as unanswered."""
_ANSWERS = {"unknown": "NXDOMAIN", "failing": "SERVFAIL", "silent": "none"}


class _Naming(LinkFault[Spec]):
    """What both share: they tell the sandbox's name server how to answer."""

    mechanism = "name server of the sandbox's own, on 127.0.0.1:53"
    needs = frozenset({"network"})
    cause = CAUSE

    @property
    def host(self) -> str:
        """The name that it is about."""
        return name_of(self.spec.on_link)

    def said(self, patience: float) -> str:
        """What the server answers now, asked from inside."""
        return str(self.ground.sandbox.call("ask_name", name=self.host, patience=patience)["answer"])

    def order(self, mode: NameMode, delay: float = 0.0) -> None:
        """Tell the server how to answer."""
        self.link.answer_names(mode, delay=delay, cause=self.name)

    def undo(self) -> None:
        """Let it answer rightly, at once."""
        self.order("")

    def verify_undone(self) -> None:
        """It does."""
        answer = self.said(5.0)
        if answer != "NOERROR":
            raise HarnessBroken(f"the name server still answers {answer}")
        self.over()

    def asked(self) -> list[Event]:
        """Questions for an address that were answered so; our own ask for something else."""
        return [event for event in self.met("name") if event["type"] in {"A", "AAAA"}]


class Failure(_Naming[DnsFailure]):
    """The name has no address, or nobody knows, or nobody says."""

    def cause_pattern(self) -> str:
        """Who gets no answer can only tell that the time was over."""
        return f"{CAUSE}|{TIMED_OUT}" if self.spec.mode == "silent" else CAUSE

    def apply(self) -> str:
        """Answer wrongly from now on."""
        self.order(self.spec.mode)
        answer = _ANSWERS[self.spec.mode]
        return f"questions for {self.host} get {'no answer' if answer == 'none' else answer}"

    def verify(self) -> None:
        """Ask it."""
        answer = self.said(PATIENCE if self.spec.mode == "silent" else 5.0)
        if answer != _ANSWERS[self.spec.mode]:
            raise HarnessBroken(f"the name server answers {answer}")

    def bite(self) -> list[str]:
        """Questions that were answered so."""
        asked = self.asked()
        words = (
            "left without an answer"
            if self.spec.mode == "silent"
            else f"answered {asked[0]['answer']}"
            if asked
            else ""
        )
        return [f"{len(asked)} questions for the name {words}"] if asked else []

    def blows(self) -> Blows:
        """When it was asked for."""
        return blows(
            "silence" if self.spec.mode == "silent" else "refusal", [event.t for event in self.asked()]
        )


class Slow(_Naming[DnsSlow]):
    """The address comes late."""

    cause = f"{CAUSE}|{TIMED_OUT}"

    def apply(self) -> str:
        """Hold answers back."""
        self.order("slow", self.spec.delay)
        return f"each answer for {self.host} comes {format_duration(self.spec.delay)} late"

    def verify(self) -> None:
        """There is no answer before it is due."""
        answer = self.said(min(self.spec.delay / 2, PATIENCE))
        if answer != "none":
            raise HarnessBroken(f"the name server answers {answer} at once")

    def bite(self) -> list[str]:
        """Questions whose answer was held back."""
        asked = self.asked()
        late = format_duration(self.spec.delay)
        return [f"{len(asked)} answers held back for {late}"] if asked and self.spec.delay > 0 else []

    def blows(self) -> Blows:
        """When it was asked for."""
        return blows("burden", [event.t for event in self.asked()])


MECHANISMS: dict[str, type[Fault[Any]]] = {"dns.failure": Failure, "dns.slow": Slow}
