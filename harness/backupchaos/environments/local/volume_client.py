"""The harness's side of the requests about volumes."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from backupchaos.environments.base import Place, Usage, VolumeState
from backupchaos.errors import MissingCapability


class VolumeClient(ABC):
    """Part of ``LocalSandbox``. All methods raise ``MissingCapability`` in a plain sandbox, whose volumes are
    directories, and ``HarnessBroken`` when the volume changes faster than it can be limited.
    """

    mechanism: str

    def __init__(self) -> None:
        self._imaged: set[Place] = set()

    @abstractmethod
    def _ask(self, what: str, fds: Sequence[int] = (), **arguments: Any) -> Any: ...

    def usage(self, place: Place) -> Usage:
        """Space on a volume now."""
        return Usage(*self._ask("usage", place=str(place)))

    def resize(self, place: Place, size: int) -> None:
        """Change a volume's size while it is in use; never below what is used then."""
        self._ask("resize", place=str(place), size=size)

    def leave(self, place: Place, left: int) -> None:
        """Shrink a volume until at most ``left`` bytes are free, and more than ``left`` less a page."""
        self._ask("leave", place=str(place), left=left)

    def limit_files(self, place: Place, *, left: int | None = None, total: int = 0) -> None:
        """Allow only ``left`` more files on a volume, or else ``total`` in all."""
        self._ask("inodes", place=str(place), left=left, total=total)

    def freeze(self, place: Place, frozen: bool) -> float:
        """Make a volume read-only for every path, or writable again; open files are not concerned.

        Returns since when, as ``time.monotonic``.
        """
        return float(self._ask("freeze", place=str(place), frozen=frozen))

    def vanish(self, place: Place, gone: bool) -> dict[str, float]:
        """Unmount a volume, so that an empty writable directory remains, or mount it again.

        Open files keep working on the volume. The answer is ``at``, the moment (time.monotonic) since which it is gone;
        when it comes back, how many ``files`` and ``bytes`` were written into the directory; those are removed.
        """
        return dict(self._ask("vanish", place=str(place), gone=gone))

    def volume(self, place: Place) -> VolumeState:
        """What stands at a volume's place now."""
        return VolumeState(**self._ask("volume", place=str(place)))

    def use_image(self, place: Place) -> None:
        """Put the volume on an ext4 disk image of the same size, with what is on it so far.

        Raises ``MissingCapability`` without mkfs.ext4, without loop devices, or for an ordinary user.
        """
        from backupchaos.environments.local import images

        if place in self._imaged:
            return
        if self.mechanism != "root namespaces":
            reason = f"a file system can be mounted from an image by root only, and this sandbox has {self.mechanism}"
            raise MissingCapability("image", reason, "run as root")
        try:
            image = images.formatted(self.usage(place).total)
        except FileNotFoundError as problem:
            raise MissingCapability("image", str(problem.strerror), "apt install e2fsprogs") from None
        except OSError as problem:
            raise MissingCapability(
                "image", f"{os.strerror(problem.errno or errno.EIO)}: {problem}"
            ) from None
        try:
            self._ask("image", [image], place=str(place))
        except MissingCapability as problem:
            raise MissingCapability("image", problem.reason) from None
        finally:
            os.close(image)
        self._imaged.add(place)

    def disk(self, place: Place) -> dict[str, int]:
        """By the kernel's count of an image's disk: ``sectors`` written, ``flushes`` asked for; -1 if not known.

        ``cuts`` is how often its power was cut.
        """
        return dict(self._ask("disk", place=str(place)))

    def contents(self, place: Place) -> dict[str, tuple[int, str]]:
        """Everything on a volume: name -> (size in bytes, digest)."""
        return {
            name: (size, digest) for name, (size, digest) in self._ask("contents", place=str(place)).items()
        }

    def remember(self, place: Place) -> None:
        """Keep what an image's disk holds now, for ``cut_power``."""
        self._ask("remember", place=str(place))

    def cut_power(self, place: Place, *, forget: bool = False) -> dict[str, Any]:
        """Shut an image's file system down without a flush, and mount it again.

        With ``forget`` the disk is what it was when ``remember`` was called. Nobody may have a file open on it.
        Returns ``at`` (time.monotonic) and ``disk`` at that moment.
        """
        return dict(self._ask("cut", place=str(place), forget=forget))
