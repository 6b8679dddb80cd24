"""The agent's requests about volumes: limits, read-only, vanishing, images and power cuts."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from backupchaos.environments.local import images, isolation, volumes
from backupchaos.environments.local.answers import Pending, Refused
from backupchaos.environments.local.channel import Message


class VolumeRequests(ABC):
    """What the server knows to do with its volumes, as ``do_`` methods."""

    def __init__(self, root: isolation.Root | None, paths: Mapping[str, str]) -> None:
        self._root = root
        self._volumes = paths
        self._ballast: dict[str, int] = {}
        self._vanished: dict[str, int] = {}
        self._images: dict[str, int] = {}
        """Place -> its image, as a nameless file; only the agent and the loop device hold it."""
        self._copies: dict[str, int] = {}
        self._cuts: dict[str, int] = {}
        """Place -> how often its power was cut."""

    @abstractmethod
    def in_child(self, task: Callable[[], Any]) -> Pending:
        """Run a long task in a child of the agent; its result is the answer."""

    def _tmpfs(self, place: str) -> str:
        """The path of a volume that is still the tmpfs it began as."""
        if self._root is None:
            raise Refused("MissingCapability", "plain directories have no size, and cannot be unmounted")
        if place in self._images:
            raise Refused(
                "MissingCapability", f"the {place} volume is a disk image, on which only power fails"
            )
        return self._volumes[place]

    def do_usage(self, message: Message, fds: list[int]) -> list[int]:
        """Total and free bytes, total and free inodes of a volume."""
        found = os.statvfs(self._volumes[message["place"]])
        unit = found.f_frsize
        return [found.f_blocks * unit, found.f_bavail * unit, found.f_files, found.f_favail]

    def do_resize(self, message: Message, fds: list[int]) -> int:
        """Remount with another size; if more is used already, with what is used."""
        place = message["place"]
        path = self._tmpfs(place)
        try:
            size = volumes.set_size(path, message["size"])
        except volumes.Restless:
            raise Refused("HarnessBroken", f"{path} grows faster than it can be shrunk") from None
        if place in self._ballast:
            os.close(self._ballast.pop(place))
        return size

    def do_leave(self, message: Message, fds: list[int]) -> None:
        """Shrink until at most so many bytes are free."""
        place = message["place"]
        path = self._tmpfs(place)
        try:
            ballast = volumes.leave_space(path, message["left"])
        except volumes.Restless:
            raise Refused("HarnessBroken", f"{path} grows faster than it can be shrunk") from None
        if ballast >= 0:
            os.close(self._ballast.pop(place, os.dup(ballast)))
            self._ballast[place] = ballast

    def do_inodes(self, message: Message, fds: list[int]) -> None:
        """Allow ``left`` more files, or ``total`` in all."""
        path = self._tmpfs(message["place"])
        try:
            if message["left"] is not None:
                volumes.leave_inodes(path, message["left"])
            else:
                volumes.set_inodes(path, message["total"])
        except volumes.Restless:
            raise Refused("HarnessBroken", f"files are made in {path} faster than can be limited") from None

    def do_freeze(self, message: Message, fds: list[int]) -> float:
        """Read-only, or writable again; the moment since when."""
        path = self._tmpfs(message["place"])
        try:
            (volumes.freeze if message["frozen"] else volumes.thaw)(path)
        except volumes.Restless:
            raise Refused("HarnessBroken", f"{path} never stands still") from None
        return time.monotonic()

    def do_vanish(self, message: Message, fds: list[int]) -> dict[str, Any]:
        """Unmount, and say when; or mount again, and say what was written into the mount point meanwhile."""
        place = message["place"]
        path = self._tmpfs(place)
        if message["gone"]:
            if place in self._vanished:
                raise Refused("HarnessBroken", f"the {place} volume has vanished already")
            self._vanished[place] = volumes.vanish(path)
            return {"at": time.monotonic()}
        if place not in self._vanished:
            raise Refused("HarnessBroken", f"the {place} volume has not vanished")
        return volumes.reappear(path, self._vanished.pop(place))

    def do_volume(self, message: Message, fds: list[int]) -> dict[str, Any]:
        """What stands at the volume's place."""
        return volumes.look(self._volumes[message["place"]])

    def do_image(self, message: Message, fds: list[int]) -> None:
        """Put a disk image, handed over, in the place of a volume."""
        place = message["place"]
        path = self._tmpfs(place)
        image = os.dup(fds[0])
        try:
            images.replace(image, path)
        except OSError as problem:
            os.close(image)
            text = f"{problem.strerror} ({problem.filename})"
            raise Refused(
                "MissingCapability", f"no loop device with ext4 can be mounted here: {text}"
            ) from None
        self._images[place] = image

    def do_disk(self, message: Message, fds: list[int]) -> dict[str, int]:
        """What reached the disk of an image so far, and how often its power was cut."""
        place = message["place"]
        return {**images.statistics(self._volumes[place]), "cuts": self._cuts.get(place, 0)}

    def do_contents(self, message: Message, fds: list[int]) -> Pending:
        """What is on a volume: name -> (size, digest)."""
        return self.in_child(lambda: images.contents(self._volumes[message["place"]]))

    def do_remember(self, message: Message, fds: list[int]) -> Pending:
        """Keep what the disk of an image holds now."""
        place = message["place"]
        image, path = self._images[place], self._volumes[place]
        if place not in self._copies:
            self._copies[place] = os.memfd_create("volume image copy", os.MFD_CLOEXEC)
        copy = self._copies[place]
        return self.in_child(lambda: images.copied(image, copy, path))

    def do_cut(self, message: Message, fds: list[int]) -> Pending:
        """Cut the power of an image and mount it again."""
        place = message["place"]
        image, path = self._images[place], self._volumes[place]
        earlier = self._copies[place] if message["forget"] else None
        self._cuts[place] = self._cuts.get(place, 0) + 1
        return self.in_child(lambda: images.cut(image, path, earlier))
