"""Servers that do wrong when told to: started only where a fault of the scenario needs one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupchaos.commands import Command
from backupchaos.engine.world import World
from backupchaos.errors import HarnessBroken
from backupchaos.model.faults.service import OnRequests
from backupchaos.model.scenario import Scenario
from backupchaos.services.base import Obedient, Service
from backupchaos.services.control import Handed, ServiceControl, gate_command
from backupchaos.services.misdeeds import KINDS

HTTP = frozenset({"s3", "rest", "webdav"})


class Controlled:
    """How the server of one run is started: as it is, obeying orders itself, or behind a gate that does."""

    def __init__(self, world: World, scenario: Scenario, service: Service, seed: int) -> None:
        self._world = world
        self._service = service
        self._seed = seed
        self._wanted = any(isinstance(fault, OnRequests) for fault in scenario.faults.values())
        self._watched = -1

    def start(self, command: Command) -> int:
        """Start the server, for the first time or again; its pid."""
        service, world = self._service, self._world
        if not self._wanted or service.kind in HTTP or not isinstance(service, Obedient):
            return world.start_service(command)
        told = service.obeying(command, self._seed)
        control = world.control or self._control(service.name, service.can)
        try:
            pid = control.connect(lambda fds: world.start_service(told, pass_fds=fds))
        except HarnessBroken as error:
            world.loop.pump_until(lambda: False, 0.2)  # its own words say more
            words = "; ".join(world.service_lines[-3:]) or "it printed nothing"
            raise HarnessBroken(f"{error}: {words}") from error
        self._watch(control)
        return pid

    def front(self, port: int) -> int:
        """The port for clients: the gate's where one is needed, else the server's own."""
        service, world = self._service, self._world
        if not self._wanted or service.kind not in HTTP:
            return port
        control = self._control(f"gate in front of {service.name}", frozenset(KINDS))
        command = gate_command(port, service.kind, self._seed)

        def spawn(fds: Handed) -> int:
            # Its output goes where a server's goes: to the history, and to the words of an error.
            return world.start_service(command, role="link", pass_fds=fds)

        control.connect(spawn)
        self._watch(control)
        return int(control.ready["port"])

    def _control(self, name: str, can: frozenset[Any]) -> ServiceControl:
        def happened(event: Mapping[str, Any]) -> None:
            data = {key: value for key, value in event.items() if key not in ("seq", "t")}
            self._world.history.append("request", at=float(event["t"]), **data)

        control = ServiceControl(name, can, happened)
        self._world.control = control
        return control

    def _watch(self, control: ServiceControl) -> None:
        loop = self._world.loop
        loop.remove(self._watched)
        fd = self._watched = control.fileno()

        def poll() -> None:
            control.poll()
            if control.fileno() == fd and not control.alive:
                loop.remove(fd)  # at its end a pipe is readable for ever
                if control.name.startswith("gate "):
                    raise HarnessBroken(f"the {control.name} ended by itself")

        loop.add(fd, poll)
