"""A network that a container can be taken off and put back on, as if somebody had pulled the cable and its card."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backupchaos.environments.docker.names import ISOLATED
from backupchaos.errors import HarnessBroken, MissingCapability

if TYPE_CHECKING:
    from docker import DockerClient

    from backupchaos.environments.docker.member import Member

_TRIES = 5
"""Somebody else may take the range of addresses between two questions."""


class Outlet:
    """One container's place on a network of its own; tried out by whoever makes it.

    Target, service and link have one network name space: what they send to this address never leaves it, and still
    has no route when the engine has taken the network away. The address comes back with it, so that connections live on.
    Raises ``MissingCapability`` from the constructor.
    """

    def __init__(
        self, client: DockerClient, name: str, labels: Mapping[str, str], member: Member, before: str
    ) -> None:
        """``before`` is the network that the container was on so far, and leaves for this one."""
        from docker.errors import APIError

        self._member = member
        try:
            self._network, self.address = _network(client, name, labels)
            # The engine gives an internal network whose bridge has no address a default route, to nobody: with it
            # connects would wait for an answer first.
            client.networks.get(before).disconnect(member.wrapped)
            for away in (False, True, False):
                self._move(away)
        except APIError as problem:
            text = f"the engine cannot take a container off a network: {problem.explanation or problem}"
            raise MissingCapability("outlet", text) from None

    def unplug(self, away: bool) -> None:
        """Take the container off, or put it back; raises ``HarnessBroken`` if the engine refuses."""
        from docker.errors import APIError

        try:
            self._move(away)
        except APIError as problem:
            word = "disconnect the container from" if away else "connect the container to"
            raise HarnessBroken(
                f"the engine did not {word} its network: {problem.explanation or problem}"
            ) from None

    def plugged(self) -> bool:
        """Whether the kernel has the address: it lets nobody bind to another."""
        with self._member.open_socket() as probe:
            try:
                probe.bind((self.address, 0))
            except OSError:
                return False
        return True

    def _move(self, away: bool) -> None:
        if away:
            self._network.disconnect(self._member.wrapped)
        else:
            self._network.connect(self._member.wrapped, ipv4_address=self.address)
        if self.plugged() is away:
            raise MissingCapability(
                "outlet", "the engine moved a container between networks, and its kernel saw nothing"
            )


def _network(client: DockerClient, name: str, labels: Mapping[str, str]) -> tuple[Any, str]:
    """A network whose range the engine has chosen, named to it once more: only so may addresses be asked for."""
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    def made(ipam: IPAMConfig | None) -> Any:
        return client.networks.create(
            name, driver="bridge", internal=True, options=ISOLATED, labels=dict(labels), ipam=ipam
        )

    left = _TRIES
    while True:
        draft = made(None)
        try:
            draft.reload()
            subnet = draft.attrs["IPAM"]["Config"][0]["Subnet"]
        finally:
            draft.remove()
        try:
            network = made(IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]))
        except APIError:
            left -= 1
            if not left:
                raise
        else:
            return network, str(ipaddress.ip_network(subnet)[2])  # the first is the bridge's
