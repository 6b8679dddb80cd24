"""Manifests: one JSON line per path of a tree, in an order that lets two of them be merged.

Line one is a header (format, version, order, the root's own metadata), then one line per path in
the order of `order_key`, then a trailer with the summary. A manifest without its trailer was cut
short, and reading it raises: half a list of what must be there would hide losses.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, BinaryIO

from .display import display_path
from .entry import (
    Entry,
    EntryType,
    TreeError,
    canonical_line,
    full_line,
    plain,
)
from .scanner import Scanner
from .walk import open_root, refuse_inside, walk

FORMAT = "backupchaos-manifest"
VERSION = 1
ORDER = "path components, byte by byte"
_SHOWN_ERRORS = 20

_COUNTED = (
    "entries",
    "files",
    "directories",
    "symlinks",
    "others",
    "size",
    "allocated",
    "hardlinks",
    "errors",
)

PathLike = str | bytes | os.PathLike[Any]


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """What a scan saw. ``size`` is in bytes of regular files, hard links counted once per path.

    ``identity`` is the sha256 over the canonical lines: equal for equal trees wherever they lie
    (the root's own metadata, allocation and holes do not count). ``errors`` counts paths that could
    not be read in full, and directories that changed meanwhile; ``first_errors`` shows up to 20.
    """

    identity: str
    entries: int = 0
    files: int = 0
    directories: int = 0
    symlinks: int = 0
    others: int = 0
    size: int = 0
    allocated: int = 0
    hardlinks: int = 0
    errors: int = 0
    first_errors: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything could be read; a manifest that is not complete proves nothing."""
        return self.errors == 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ManifestSummary:
        """Return the summary that `to_dict` was taken of."""
        values = {f.name: data[f.name] for f in fields(cls)}
        values["first_errors"] = tuple((str(p), str(e)) for p, e in values["first_errors"])
        return cls(**values)


@dataclass(slots=True)
class _Tally:
    digest: Any = field(default_factory=hashlib.sha256)
    check: Any = field(default_factory=hashlib.sha256)  # over the lines as written, against damage
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))
    first_errors: list[tuple[str, str]] = field(default_factory=list)

    def add(self, entry: Entry, canonical: str, line: str) -> None:
        self.digest.update(canonical.encode("ascii") + b"\n")
        self.check.update(line.encode("ascii") + b"\n")
        counts = self.counts
        counts["entries"] += 1
        counts[_PLURAL.get(entry.type, "others")] += 1
        counts["size"] += entry.size
        counts["allocated"] += entry.allocated
        if entry.hardlink is not None:
            counts["hardlinks"] += 1
        if entry.error:
            self.fail(entry.path, entry.error)

    def fail(self, path: bytes, error: str) -> None:
        self.counts["errors"] += 1
        if len(self.first_errors) < _SHOWN_ERRORS:
            self.first_errors.append((display_path(path), error))

    def summary(self) -> ManifestSummary:
        return ManifestSummary(self.digest.hexdigest(), first_errors=tuple(self.first_errors), **self.counts)


_PLURAL = {EntryType.FILE: "files", EntryType.DIRECTORY: "directories", EntryType.SYMLINK: "symlinks"}


def scan(root: PathLike, out: PathLike | BinaryIO) -> ManifestSummary:
    """Write the manifest of the tree at ``root`` to ``out`` (a path or a binary file).

    Links are never followed and the root is never left; entries that cannot be read are recorded
    with their error and counted in the summary. Memory does not grow with the number of files, but
    with the largest directory and with inodes of which some names were not met yet. Raises
    `TreeError` when the root is no directory or ``out`` lies inside of it, OSError when ``out``
    cannot be written.
    """
    if not isinstance(out, str | bytes | os.PathLike):
        return _scan(root, out)
    fd = open_root(root)
    try:
        refuse_inside(os.fstat(fd), plain(out), "write the manifest")
    finally:
        os.close(fd)
    with open(plain(out), "wb") as file:
        return _scan(root, file)


def _scan(root: PathLike, out: BinaryIO) -> ManifestSummary:
    tally = _Tally()
    scanner = Scanner()
    lines: list[str] = []
    for step in walk(root):
        if step.leaving:
            if step.error:
                tally.fail(step.path, step.error)
            continue
        entry = scanner.entry(step)
        if not step.path:
            if entry.error:
                raise TreeError(f"cannot read the tree {display_path(plain(root))}: {entry.error}")
            lines.append(_header(entry))
            continue
        canonical = canonical_line(entry)
        lines.append(full_line(entry, canonical))
        tally.add(entry, canonical, lines[-1])
        if len(lines) >= 256:
            _write(out, lines)
    summary = tally.summary()
    lines.append(
        json.dumps({"end": summary.to_dict(), "check": tally.check.hexdigest()}, separators=(",", ":"))
    )
    _write(out, lines)
    return summary


def _header(root: Entry) -> str:
    metadata = json.loads(canonical_line(root))
    return json.dumps(
        {"format": FORMAT, "version": VERSION, "order": ORDER, "root": metadata}, separators=(",", ":")
    )


def _write(out: BinaryIO, lines: list[str]) -> None:
    lines.append("")
    out.write("\n".join(lines).encode("ascii"))
    lines.clear()
