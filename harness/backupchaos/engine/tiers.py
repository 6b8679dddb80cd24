"""The services of a run besides the repository's server: started, asked whether they work, started again."""

from __future__ import annotations

import posixpath
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backupchaos.commands import Command
from backupchaos.engine import guard
from backupchaos.environments.base import InContainers, Place
from backupchaos.errors import HarnessBroken, UsageProblem
from backupchaos.model.words import choices, shown
from backupchaos.services.databases.base import Database
from backupchaos.targets.base import Tier

if TYPE_CHECKING:
    from backupchaos.engine.world import World
    from backupchaos.links.links import Link, Links
    from backupchaos.model.scenario import Scenario

START = 60.0
"""Seconds for a database to be made and to answer; a busy machine takes some."""
PAUSE = 0.1
"""Seconds between two questions whether it works."""


def check_places(scenario: Scenario) -> None:
    """Raise ``UsageProblem`` for what a file's author is told with line and column: names and places that cannot be."""
    from backupchaos.model.scenario import RESERVED

    for name in scenario.services:
        if name in RESERVED:
            raise UsageProblem(
                f"services: {name!r} means something else already. Taken: {', '.join(RESERVED)}"
            )
    for name, fault in scenario.faults.items():
        if fault.on_link and fault.on_link not in scenario.links:
            hint = choices(fault.on_link, scenario.links, "Places")
            raise UsageProblem(
                f"fault {name}: {fault.kind}: there is no place {shown(fault.on_link)}. {hint}"
            )


class TierServer:
    """One database of a run. It is its own ``faults.base.Server``: a fault may stop it and start it again."""

    forgets = ""
    """Nothing: each keeps what it has acknowledged."""

    def __init__(self, world: World, name: str, database: Database) -> None:
        self._world = world
        self.name = name
        self.database = database
        self.pid: int | None = None
        self.lines: list[str] = []
        self.link: Link
        self._home = posixpath.join(world.path(Place.STATE), name)
        self._port = int(world.sandbox.call("free_port"))
        plain = world.sandbox.mechanism == "plain"
        # In a plain sandbox an ordinary user stays who he is; root must not be what the database refuses to be.
        self._user = None if plain and not _root() else database.user
        self.shape: dict[str, Any] = {}
        """More arguments of ``Sandbox.spawn``, for what is run where the database is."""
        if isinstance(world.sandbox, InContainers):
            world.sandbox.use_image_beside(name, database.image)
            self.shape = {"beside": name}

    def make(self) -> None:
        """Its files, an empty database, a server that answers; raises ``HarnessBroken`` with its last words."""
        call = self._world.sandbox.call
        call("make_directory", path=self._home)
        for path, content, mode in self.database.files(self._home):
            call("write_file", path=path, base64=b64encode(content).decode(), mode=mode)
        for command in self.database.preparations(self._home):
            what = f"make {self.name}"
            done = self._world.run(
                command, what=what, timeout=START, role="service", user=self._user, **self.shape
            )
            if not done.ok:
                raise HarnessBroken(f"{self.name}: {command.argv[0]} failed: {done.output.strip()[-500:]}")
        self.restart()
        guard.check_port(self._world.sandbox, self._port)

    def connect(self, links: Links) -> None:
        """Put a link of its own name in front."""
        self.link = links.create(self.name, self._port)

    def restart(self) -> int:
        """Start it, for the first time or again; returns its pid when it answers to the password."""
        command = self.database.command(self._home, self._port)
        pid = self.pid = self._world.start_tier(command, self.name, self.lines, self._user, **self.shape)
        world = self._world

        def ended() -> bool:
            return pid in world.exits

        def listens() -> bool:
            # Asked of the kernel first: a connect that is refused could count as the job's.
            found = world.sandbox.call("network_stats")["listeners"]
            return ended() or any(entry["port"] == self._port for entry in found)

        if not world.loop.pump_until(listens, START):
            raise HarnessBroken(f"{self.name} ({self.database.name}) listens on no port after {START:g} s")
        if ended() or not world.loop.pump_until(lambda: ended() or self._works(), START) or ended():
            words = "; ".join(self.lines[-3:]) or "it printed nothing"
            what = "ended while it was starting" if ended() else f"did not answer within {START:g} s"
            raise HarnessBroken(f"{self.name} ({self.database.name}) {what}: {words}")
        return pid

    def _works(self) -> bool:
        command = self.database.ask(self._port)
        what = f"ask {self.name}"
        done = self._world.run(command, what=what, timeout=10.0, role="service", **self.shape)
        if self.database.answered(done):
            return True
        self._world.loop.pump_until(lambda: self.pid in self._world.exits, PAUSE)
        return False

    @property
    def tier(self) -> Tier:
        """As the target reaches it, through its link."""
        return self.database.tier(self.link.host, self.link.port)

    @property
    def direct(self) -> Tier:
        """As only the harness reaches it, past the link."""
        return self.database.tier("127.0.0.1", self._port)


def _root() -> bool:
    import os

    return os.geteuid() == 0


def start_tiers(world: World, databases: Mapping[str, Database], links: Links) -> None:
    """Start every service of the scenario, each behind a link of its own; in containers, each in one of its image."""
    for name, database in databases.items():
        server = TierServer(world, name, database)
        server.make()
        server.connect(links)
        world.tiers[name] = server


def dressed(command: Command, services: Mapping[str, Tier]) -> Command:
    """The command with the variables that say where its services are, and with their secrets hidden."""
    if not services:
        return command
    from dataclasses import replace

    from backupchaos.targets.base import tier_variables

    secrets = tuple(tier.password for tier in services.values())
    env = {**tier_variables(services), **command.env}
    return replace(command, env=env, secrets=(*command.secrets, *secrets))
