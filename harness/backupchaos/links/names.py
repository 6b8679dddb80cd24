"""Giving the repository a name inside a sandbox, so that the faults of names have something to hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupchaos.environments.base import Sandbox
from backupchaos.errors import HarnessBroken, MissingCapability

if TYPE_CHECKING:
    from backupchaos.links.links import Links

NAME = "repository.backupchaos.test"
"""Below ``test``, which no name server of the world will ever know (RFC 6761)."""


def give_name(sandbox: Sandbox, links: Links) -> str:
    """Let every process of a sandbox resolve ``NAME`` to 127.0.0.1, by a name server of its own.

    Raises ``MissingCapability`` without a network of its own, and ``HarnessBroken`` if a lookup fails then.
    """
    if "network" not in sandbox.capabilities or sandbox.front()[1] != "127.0.0.1":
        raise MissingCapability(
            "network",
            f"the {sandbox.mechanism} sandbox has no loopback of its own on which a name server could answer "
            "target and link alike",
            "see: backupchaos doctor",
        )
    links.process.request("name", host=NAME)
    sandbox.call("use_own_names")
    found = sandbox.call("look_up", name=NAME)
    if found != ["127.0.0.1"]:
        raise HarnessBroken(f"the name {NAME} resolves to {found or 'nothing'} in the sandbox")
    return NAME
