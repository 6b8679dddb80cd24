"""Faults of mounts in a sandbox of containers: each container has mounts of its own of the shared volumes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from backupchaos.environments.base import Place, VolumeState
from backupchaos.environments.docker.member import Member
from backupchaos.environments.local.volume_client import VolumeClient
from backupchaos.errors import HarnessBroken, MissingCapability


class ContainerMounts(VolumeClient):
    """Part of ``DockerSandbox``. What happens to a mount happens in every container that has the volume, now or later."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen: set[Place] = set()
        self._vanished: set[Place] = set()

    @abstractmethod
    def holders(self, place: Place) -> Sequence[Member]:
        """The containers that have a volume, the keeper first."""

    def caught_up(self, member: Member) -> None:
        """A container that was made in the middle of a fault finds the volumes as the others see them."""
        for place in self._frozen & set(member.plan.volumes):
            member.freeze(place, True)
        for place in self._vanished & set(member.plan.volumes):
            member.vanish(place, True)

    def freeze(self, place: Place, frozen: bool) -> float:
        """See ``Sandbox.freeze``; since the last of the containers has it so."""
        done: list[Member] = []
        try:
            for member in self.holders(place):
                moment = member.freeze(place, frozen)
                done.append(member)
        except BaseException:
            for member in done:
                member.freeze(place, not frozen)
            raise
        (self._frozen.add if frozen else self._frozen.discard)(place)
        return moment

    def vanish(self, place: Place, gone: bool) -> dict[str, float]:
        """See ``Sandbox.vanish``; what was written into the directories of all containers is added up."""
        found: dict[str, float] = {}
        done: list[Member] = []
        try:
            for member in self.holders(place):
                for key, value in member.vanish(place, gone).items():
                    found[key] = value if key == "at" else found.get(key, 0) + value
                done.append(member)
        except BaseException:
            for member in done:
                member.vanish(place, not gone)
            raise
        (self._vanished.add if gone else self._vanished.discard)(place)
        return found

    def volume(self, place: Place) -> VolumeState:
        """What stands at a volume's place, which must be the same everywhere."""
        states = [member.volume(place) for member in self.holders(place)]
        seen = {(state.mounted, state.read_only) for state in states}
        if len(seen) > 1:
            raise HarnessBroken(f"the containers do not agree on the {place} volume: {states}")
        return states[0]

    def use_image(self, place: Place) -> None:
        """Not in containers."""
        reason = f"the {place} volume would have to be a disk image, and containers have no loop devices"
        raise MissingCapability("image", reason, "use --backup-env=local as root")
