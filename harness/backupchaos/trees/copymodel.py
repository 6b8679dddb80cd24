"""What bounds a copy, and what it says afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """Where a copy stops being reasonable; None is no limit.

    More than ``max_bytes`` (of data, holes left out) or ``max_entries`` raises; a file larger than
    ``max_file_bytes`` is skipped and recorded. ``one_file_system`` leaves out what other mounts
    hold, and records their mount points. Directories and files named in ``exclude`` stay behind, with
    all that lies in them.
    """

    max_bytes: int | None = None
    max_entries: int | None = None
    max_file_bytes: int | None = None
    one_file_system: bool = True
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CopySummary:
    """What was copied. ``skipped`` and ``unreadable`` hold up to 100 (path, reason) pairs each.

    ``not_kept`` counts metadata that this user or file system could not keep, by kind. ``copied`` is
    in bytes of data, holes left out. ``files`` counts paths, so hard links count.
    """

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    hard_links: int = 0
    fifos: int = 0
    copied: int = 0
    skipped_count: int = 0
    unreadable_count: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    not_kept: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every path and all of its metadata came along."""
        return not (self.skipped_count or self.unreadable_count or self.not_kept)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)
