"""What a comparison says: aspects, differences, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any


class Aspect(StrEnum):
    """One promise about restored paths. Tools promise different things, so each can be left out.

    ``TYPE`` covers what a path is, and that FIFOs, sockets and devices come back; ``LINKS`` the
    presence and the target of symlinks; ``EMPTY_DIRS`` the presence of directories as such (without
    it a directory is only owed as far as something lies in it). ``MTIME`` is of files, ``DIR_MTIME``
    and ``LINK_MTIME`` of directories and symlinks. ``SPARSE``: a sparse file must not come back much
    larger on disk. ``ROOT``: the selected metadata of the root directory itself.
    """

    CONTENT = "content"
    TYPE = "type"
    MODE = "mode"
    OWNER = "owner"
    MTIME = "mtime"
    DIR_MTIME = "dir_mtime"
    LINK_MTIME = "link_mtime"
    XATTRS = "xattrs"
    LINKS = "links"
    HARDLINKS = "hardlinks"
    EMPTY_DIRS = "empty_dirs"
    SPARSE = "sparse"
    ROOT = "root"


STRICT = frozenset(Aspect)
"""Every aspect there is."""
ALL = STRICT - {Aspect.SPARSE, Aspect.ROOT}
"""All that a tree copied elsewhere should keep; holes and the root are affairs of the destination."""
CONTENT_ONLY = frozenset({Aspect.CONTENT, Aspect.TYPE, Aspect.LINKS})
"""Whole content under the right name, and nothing about metadata."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing wrong with one path. ``expected`` and ``observed`` are safe to print.

    ``what`` is missing, extra, unreadable, type, size, content, mode, owner, mtime, xattrs, target,
    hardlink or sparse.
    """

    path: bytes
    what: str
    expected: str
    observed: str
    display: str

    def __str__(self) -> str:
        return f"{self.display}: {self.what}: expected {self.expected}, found {self.observed}"


SEVERE = frozenset({"missing", "extra", "unreadable", "type", "size", "content", "target"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a comparison; counts are in paths, ``*_bytes`` in bytes of regular files.

    ``expected`` = ``identical`` + ``different`` + ``missing`` + ``waived``, where waived paths are
    those that the compared aspects do not ask for. ``per_aspect`` holds every aspect compared, with
    the number of paths that differ in it (0: compared and fine; absent: not compared).
    ``expected_errors`` and ``actual_errors`` count what the two scans could not read. ``first`` are
    the first differences in path order, loss of content before loss of metadata.
    """

    aspects: tuple[Aspect, ...]
    mtime_granularity_ns: int
    expected: int = 0
    identical: int = 0
    different: int = 0
    missing: int = 0
    waived: int = 0
    extra: int = 0
    expected_bytes: int = 0
    identical_bytes: int = 0
    different_bytes: int = 0
    missing_bytes: int = 0
    extra_bytes: int = 0
    expected_errors: int = 0
    actual_errors: int = 0
    per_aspect: Mapping[str, int] = field(default_factory=dict)
    first: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs, and everything on both sides could be read."""
        wrong = self.different + self.missing + self.extra + self.expected_errors + self.actual_errors
        return wrong == 0 and not any(self.per_aspect.values())

    @property
    def vacuous(self) -> bool:
        """Whether nothing was compared at all: then `equal` proves nothing."""
        return self.identical + self.different + self.missing == 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON (paths by surrogateescape)."""
        data = asdict(self)
        data["aspects"] = [aspect.value for aspect in self.aspects]
        for item in data["first"]:
            item["path"] = item["path"].decode("utf-8", "surrogateescape")
        data["first"] = list(data["first"])
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """Return the comparison that `to_dict` was taken of."""
        values = {f.name: data[f.name] for f in fields(cls)}
        values["aspects"] = tuple(Aspect(name) for name in values["aspects"])
        values["first"] = tuple(
            Difference(
                item["path"].encode("utf-8", "surrogateescape"),
                item["what"],
                item["expected"],
                item["observed"],
                item["display"],
            )
            for item in values["first"]
        )
        return cls(**values)

    def __str__(self) -> str:
        head = (
            f"{self.expected} expected: {self.identical} identical, {self.different} different, "
            f"{self.missing} missing, {self.extra} extra"
        )
        if self.expected_errors or self.actual_errors:
            head += f"; {self.expected_errors} + {self.actual_errors} unreadable"
        return "\n".join([head, *map(str, self.first)])
