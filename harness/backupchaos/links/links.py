"""The engine's face of the links of one sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from backupchaos.environments.base import Sandbox
from backupchaos.errors import HarnessBroken, UsageProblem
from backupchaos.links.addresses import Address
from backupchaos.links.behind import NOTHING_ASKED, Asking, Behind, Server
from backupchaos.links.behind import upstream as check_upstream
from backupchaos.links.model import LinkEvent, LinkStats
from backupchaos.links.names import name_of
from backupchaos.links.process import LinkProcess, Refused
from backupchaos.links.validation import check_name

if TYPE_CHECKING:
    from backupchaos.links.client import Toxic, ToxiproxyClient

Mode = Literal["refused", "reset", "blackhole", "freeze"]
Stream = Literal["upstream", "downstream"]
TroubleKind = Literal["cut_after", "flap", "half_open", "loss", "corrupt"]
NameMode = Literal["", "unknown", "failing", "silent", "slow"]


class Links:
    """All links of a sandbox: a tap in front of each, behind it the toxics of a Toxiproxy server.

    ``server_used`` is ``embedded`` or ``toxiproxy <version>``; see ``behind`` for the servers and what is raised
    when one is not to be had. ``asking``, for the server ``container``: may its image be pulled, and will a Docker
    daemon behind a network do?
    """

    def __init__(
        self, sandbox: Sandbox, seed: int, server: Server = "auto", asking: Asking = NOTHING_ASKED
    ) -> None:
        self._links: dict[str, Link] = {}
        self._sandbox = sandbox
        self.process = LinkProcess(sandbox, seed, self._observe)
        try:
            self._behind = Behind(sandbox, self.process.api_port, server, asking)
        except BaseException:
            self.process.close()
            raise
        self.server_used = self._behind.used

    @property
    def client(self) -> ToxiproxyClient:
        """The client of the server behind the taps."""
        return self._behind.client(real=self.real)

    def create(self, name: str, upstream: int | str, *, listen: str = "") -> Link:
        """A new link to a port inside the sandbox, ``[::1]:port``, or the path of a UNIX socket.

        Names are ``[A-Za-z0-9_.-]``, unique. ``listen`` is an address or ``unix:/path``; by default a free port
        where the target can reach it. The real server has no UNIX sockets: with ``auto`` the embedded one works
        behind a link to one, else ``MissingCapability`` is raised. Raises ``UsageProblem`` with the reason when an
        address cannot be had.
        """
        check_name(name, "link name")
        if name in self._links:
            raise UsageProblem(f"link name {name!r} is used already")
        front, reached = self._sandbox.front()
        place = check_upstream(upstream)
        link = Link(self, name, real=self._behind.carries(place))
        if link.real:
            place = Address("127.0.0.1", link.client.create(name, str(place)).port)
        self._links[name] = link
        try:
            where = self.process.request(
                "create", link=name, upstream=str(place), listen=listen or f"{front}:0"
            )
        except BaseException as error:
            del self._links[name]
            if isinstance(error, Refused):
                raise UsageProblem(f"link {name!r}: {error.reason}") from None
            raise
        link.host, link.port, link.path = where["host"] if listen else reached, where["port"], where["path"]
        return link

    def __getitem__(self, name: str) -> Link:
        return self._links[name]

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def fileno(self) -> int:
        """Readable when ``events`` has something to return."""
        return self.process.fileno()

    def events(self) -> list[LinkEvent]:
        """What happened on all links since the last call, in order; never blocks.

        Raises ``HarnessBroken`` when the link process has died.
        """
        return self.process.events()

    def note(self, ev: str, link: str = "", **data: Any) -> None:
        """Write the harness's own event into the log, in order with the traffic."""
        self.process.request("note", ev=ev, link=link, data=data)

    def remove(self, name: str) -> None:
        """Cut a link's connections and give its port back."""
        self.process.request("remove", link=name)
        link = self._links.pop(name)
        if link.real:
            link.client.destroy(name)

    def close(self) -> None:
        """End the link process; its links vanish with it. Idempotent."""
        self._behind.close()
        self.process.close()

    def client_of(self, link: Link) -> ToxiproxyClient:
        """The client of the server behind a link."""
        return self._behind.client(real=link.real)

    @property
    def real(self) -> bool:
        """Whether the real Toxiproxy works behind those links that it can carry."""
        return self._behind.real

    @property
    def seeded(self) -> bool:
        """Whether the toxics' chances repeat with the seed; the real server's never do."""
        return not self.real

    @property
    def toxics_logged(self) -> bool:
        """Whether the server behind writes toxic changes into the event log itself."""
        return not self.real

    def _observe(self, event: LinkEvent) -> None:
        link = self._links.get(event.link)
        if link is not None:
            link.observe(event)


class Link:
    """One link. Modes of ``down``: see ``Link.down``. Byte counts are what the link let pass."""

    def __init__(self, links: Links, name: str, *, real: bool) -> None:
        self._links = links
        self.real = real
        """Whether the real Toxiproxy works behind it."""
        self._stats = LinkStats()
        self._arms = 0
        self.name = name
        self.host = "127.0.0.1"
        self.port = 0
        self.path = ""
        """Of the UNIX socket, if it is one that the link listens on; then there is no port."""

    @property
    def client(self) -> ToxiproxyClient:
        """The client of the server behind this link."""
        return self._links.client_of(self)

    @property
    def server_used(self) -> str:
        """As ``Links.server_used``, for this link alone."""
        return self._links.server_used if self.real == self._links.real else "embedded"

    def observe(self, event: LinkEvent) -> None:
        """Keep the totals."""
        self._stats.apply(event)

    def stats(self) -> LinkStats:
        """Totals as of now: with its answer the link process hands over every event before it.

        If it is dead they are those of its last events; ``Links.events`` tells that it is.
        """
        try:
            self._links.process.request("ping")
        except HarnessBroken:
            self._links.process.pump()
        return self._stats

    def _order(self, op: str, **arguments: Any) -> dict[str, Any]:
        return self._links.process.request(op, link=self.name, **arguments)

    def down(self, mode: Mode = "refused", cause: str = "") -> None:
        """Make the link unreachable until ``up``.

        ``refused``: live connections end as if the server was killed, connects get ECONNREFUSED.
        ``reset``: live connections and new ones get RST. ``blackhole``: live connections stall,
        connects are not answered. ``freeze``: all stall, connects succeed; nothing is lost. Events that
        this brings about bear ``cause``.
        """
        self._order("down", mode=mode, cause=cause)

    def up(self, cause: str = "") -> None:
        """Undo ``down``; what was stalled moves on. With a ``cause`` only what that one ordered, else anybody's."""
        self._order("up", cause=cause)

    def reset(self, cause: str = "") -> None:
        """Reset the live connections, once; new ones work."""
        self._order("reset", cause=cause)

    def state(self) -> dict[str, Any]:
        """What the tap says of itself now: ``mode``, ``cause``, connections ``open`` and ``silenced``, exact
        totals ``up``, ``down`` and ``accepted``, ``troubles`` as each describes itself, and ``stray_filters``:
        sockets on which the kernel still drops packets though nothing asks for it."""
        return self._order("stats")

    def filters_packets(self) -> bool:
        """Whether the kernel under the tap drops packets when told to."""
        return bool(self._order("packets")["usable"])

    def sees_refusals(self) -> bool:
        """Whether connects that are refused are seen at the link's port, so that strangers' are never counted."""
        return bool(self._order("knocks")["seen"])

    def afflict(self, kind: TroubleKind, name: str, **arguments: float | None) -> dict[str, Any]:
        """Bring a trouble into force that acts in the tap; returns how it describes itself.

        ``cut_after`` (bytes, connections), ``flap`` (down, up in seconds), ``half_open``, ``loss`` (share),
        ``corrupt`` (bits): see ``troubles`` and ``damage``. Its events bear ``name`` as their cause.
        """
        return self._order("afflict", kind=kind, name=name, **arguments)

    def relieve(self, name: str) -> bool:
        """End a trouble; False if there is none of that name."""
        return bool(self._order("relieve", name=name)["found"])

    def answer_names(self, mode: NameMode, *, delay: float = 0.0, cause: str = "") -> None:
        """How the sandbox's name server answers for this link's name from now on; see ``names.give_names``."""
        self._order("answer", host=name_of(self.name), mode=mode, delay=delay, cause=cause)

    def fail_first(self, count: int) -> None:
        """Reset the next ``count`` connections, then let all pass."""
        self._order("fail_first", count=count)

    def arm(
        self,
        count: int,
        *,
        direction: Literal["up", "down", "both"] = "up",
        action: str = "none",
        since: Literal["arm", "mark"] = "arm",
        key: str = "",
    ) -> str:
        """Act when ``count`` bytes have passed since now or since ``mark``; returns the trigger's key.

        ``action`` is ``none``, ``hold`` (nothing passes until ``release``) or ``down:<mode>``; it is
        done, and the ``trigger`` event written, before another byte passes.
        """
        self._arms += 1
        key = key or f"{self.name}/{self._arms}"
        self._order("arm", key=key, bytes=count, direction=direction, action=action, since=since)
        return key

    def disarm(self, key: str) -> bool:
        """Forget a trigger; False when it has fired already."""
        return bool(self._order("disarm", key=key)["found"])

    def hold(self) -> None:
        """Stop forwarding until ``release``; connects succeed, nothing is lost."""
        self._order("hold")

    def release(self) -> None:
        """End a ``hold``, whether by trigger or by call."""
        self._order("release")

    @property
    def tells_of_toxics(self) -> bool:
        """Whether the server behind it tells what its toxics have done to which connection."""
        return not self.real

    def mark(self) -> tuple[int, int]:
        """Count bytes from here for ``arm(since="mark")``; returns the totals (up, down) so far."""
        reply = self._order("mark")
        return reply["up"], reply["down"]

    def toxic(
        self,
        kind: str,
        stream: Stream = "downstream",
        toxicity: float = 1.0,
        *,
        name: str = "",
        **attributes: int,
    ) -> Toxic:
        """Add a toxic of the Toxiproxy model. Raises ``UsageProblem`` for what no server should get."""
        note = self._note if self.real else None
        return self.client.add_toxic(
            self.name, kind, stream, toxicity, name=name, attributes=attributes, note=note
        )

    def toxics(self) -> dict[str, Toxic]:
        """Name -> toxic, as the server behind the tap says now."""
        return self.client.get_proxy(self.name).toxics()

    def note(self, ev: str, **data: Any) -> None:
        """Write into the log what happened to the link where the tap could not see it."""
        self._links.note(ev, self.name, **data)

    def _note(self, ev: str, toxic: dict[str, Any]) -> None:
        self.note(ev, toxic=toxic)
