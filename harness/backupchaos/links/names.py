"""Giving servers names inside a sandbox, so that the faults of names have something to hit."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from backupchaos.environments.base import Sandbox
from backupchaos.errors import HarnessBroken, MissingCapability

if TYPE_CHECKING:
    from backupchaos.links.links import Links

DOMAIN = "backupchaos.test"
"""Below ``test``, which no name server of the world will ever know (RFC 6761)."""


def name_of(link: str) -> str:
    """The name that leads to a link, where it has one; hosts have no underscores."""
    return f"{link.lower().replace('_', '-')}.{DOMAIN}"


NAME = name_of("repository")


def give_names(sandbox: Sandbox, links: Links, places: Collection[str]) -> dict[str, str]:
    """Let every process of a sandbox resolve the links' names to 127.0.0.1, by a name server of its own.

    Returns link -> name. Raises ``MissingCapability`` without a network of its own, and ``HarnessBroken``
    if a lookup fails then.
    """
    if sandbox.front()[1] != "127.0.0.1":
        raise MissingCapability(
            "network",
            "a link that is to become unreachable has no name: the name server would be gone with it",
            "put the faults of names into a scenario of their own",
        )
    if "network" not in sandbox.capabilities:
        raise MissingCapability(
            "network",
            f"the {sandbox.mechanism} sandbox has no loopback of its own on which a name server could answer "
            "target and link alike",
            "see: backupchaos doctor",
        )
    names = {place: name_of(place) for place in places}
    for name in names.values():
        links.process.request("name", host=name)
    sandbox.call("use_own_names")
    for name in names.values():
        found = sandbox.call("look_up", name=name)
        if found != ["127.0.0.1"]:
            raise HarnessBroken(f"the name {name} resolves to {found or 'nothing'} in the sandbox")
    return names
