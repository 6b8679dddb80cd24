"""The Toxiproxy servers behind the taps: which one works behind which link, and the clients to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from backupchaos.environments.base import InContainers, Sandbox
from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.links import addresses
from backupchaos.links.addresses import Address

if TYPE_CHECKING:
    from backupchaos.links.client import ToxiproxyClient
    from backupchaos.links.container import Official

Server = Literal["auto", "embedded", "toxiproxy", "container"]
"""``container``: the official image. ``auto`` never looks for Docker, which takes longer than most runs."""

Asking = tuple[Literal["never", "missing"] | None, bool]
"""What the user allows of Docker: may images be pulled, will a daemon behind a network do? See ``docker.engine``."""
NOTHING_ASKED: Asking = (None, False)


class Behind:
    """The embedded server, and the real one where it is wanted and can be had.

    ``used`` is ``embedded`` or ``toxiproxy <version>``, with how it runs if that is the official image. Raises
    ``MissingCapability`` from the constructor when the real one is asked for and is not to be had: no
    ``toxiproxy-server`` on PATH, or no image of it.
    """

    def __init__(
        self, sandbox: Sandbox, api_port: int, server: Server, asking: Asking = NOTHING_ASKED
    ) -> None:
        self._sandbox = sandbox
        self._api_port = api_port
        self._required = server in ("toxiproxy", "container")
        self._official: Official | None = None
        self._embedded: ToxiproxyClient | None = None
        self._real: ToxiproxyClient | None = None
        self.used = "embedded"
        if server == "container" and not isinstance(sandbox, InContainers):
            from backupchaos.links.container import Official

            self._official = Official(sandbox, *asking)
            self._real = self._official.client
            self.used = f"toxiproxy {self._real.version()} ({self._official.how})"
        elif server != "embedded":
            self._start("(container)" if server == "container" else "")

    def _start(self, how: str) -> None:
        from backupchaos.links.realserver import Unusable, start

        program = self._program()
        if not program:
            return
        try:
            self._real = start((program,), self._sandbox)
        except Unusable as error:
            if self._required:
                raise
            self.used = f"embedded ({error.reason})"
            return
        self.used = f"toxiproxy {self._real.version()} {how}".rstrip()

    def _program(self) -> str:
        """Empty where it is not there and need not be. In containers it comes from an image, not from PATH."""
        from backupchaos.links.realserver import PROGRAM, find

        if not isinstance(self._sandbox, InContainers):
            return find(required=self._required)
        if self._sandbox.has_program(PROGRAM):
            return PROGRAM
        if self._required:
            raise MissingCapability(
                PROGRAM, "no image with it is here", "docker/build toxiproxy, or docker pull"
            )
        return ""

    @property
    def real(self) -> bool:
        """Whether the real server is there."""
        return self._real is not None

    def carries(self, upstream: Address) -> bool:
        """Whether the real server is to work on the way to a place: it has no UNIX sockets.

        Raises ``MissingCapability`` if it was asked for by name and cannot.
        """
        if self._real is not None and upstream.path and self._required:
            raise MissingCapability(
                "UNIX sockets", "toxiproxy-server has TCP only", "use the embedded server, or let auto choose"
            )
        return self._real is not None and not upstream.path

    def client(self, *, real: bool) -> ToxiproxyClient:
        """The client to one of the servers; to the embedded one it is made on first use."""
        if real:
            assert self._real is not None
            return self._real
        if self._embedded is None:
            from backupchaos.links.client import ToxiproxyClient

            self._embedded = ToxiproxyClient(self._api_port, self._sandbox.connect)
        return self._embedded

    def close(self) -> None:
        """Close kept connections, and remove a container; idempotent."""
        for client in (self._embedded, self._real):
            if client is not None:
                client.close()
        if self._official is not None:
            self._official.close()


def upstream(given: int | str) -> Address:
    """Where a link leads: a port of this loopback, ``127.x:port``, ``[::1]:port``, or the path of a UNIX socket.

    Raises ``UsageProblem`` for anything else: a link never leaves the sandbox.
    """
    text = f"127.0.0.1:{given}" if isinstance(given, int) else given
    try:
        where = addresses.parse(addresses.UNIX + text if text.startswith("/") else text)
    except ValueError as error:
        raise UsageProblem(f"a link's upstream: {error}") from None
    if not where.path and where.host != "::1" and not (where.numeric and where.host.startswith("127.")):
        raise UsageProblem(
            f"a link's upstream must be on the loopback (127.0.0.1, [::1]), not {where.host!r}"
        )
    return where
