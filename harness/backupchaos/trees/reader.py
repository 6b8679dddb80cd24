"""Reading manifests back, and refusing those that cannot be trusted."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from .display import display_path
from .entry import Entry, ManifestError, describe, from_dict, order_key, plain
from .manifest import FORMAT, VERSION, ManifestSummary, PathLike


class ManifestReader:
    """The entries of a manifest, checked as they are read: version, order, count, and that it ends.

    ``root`` is the root's own metadata, at hand once the iteration has begun; ``summary`` comes with
    the end. Raises `ManifestError` for a manifest that cannot be trusted.
    """

    def __init__(self, source: PathLike | BinaryIO) -> None:
        self.root: Entry | None = None
        self.summary: ManifestSummary | None = None
        self._source = source

    def __iter__(self) -> Iterator[Entry]:
        if isinstance(self._source, str | bytes | os.PathLike):
            with _opened(self._source) as file:
                yield from self._entries(file, display_path(plain(self._source)))
        else:
            yield from self._entries(self._source, "manifest")

    def _entries(self, file: BinaryIO, name: str) -> Iterator[Entry]:
        last = b""
        check = ""
        digest = hashlib.sha256()
        count = 0
        for number, line in enumerate(file, 1):
            try:
                data = json.loads(line)
                if number == 1:
                    self.root = _check_header(data, name)
                    continue
                if "end" in data:
                    self.summary = ManifestSummary.from_dict(data["end"])
                    check = data["check"]
                    continue
                entry = from_dict(data)
            except (KeyError, TypeError, ValueError, AttributeError) as exc:
                if isinstance(exc, ManifestError):
                    raise
                raise ManifestError(
                    f"{name}:{number}: not a manifest line ({type(exc).__name__}); scan again"
                ) from exc
            key = order_key(entry.path)
            if self.summary is not None or key <= last:
                raise ManifestError(
                    f"{name}:{number}: out of order at {display_path(entry.path)}; scan again"
                )
            last = key
            count += 1
            digest.update(line)
            yield entry
        if self.summary is None:
            raise ManifestError(
                f"{name}: cut short after {count} entries, its last line is missing; scan again"
            )
        if (self.summary.entries, check) != (count, digest.hexdigest()):
            raise ManifestError(f"{name}: its lines are not the ones that were written; scan again")


def _opened(source: PathLike) -> BinaryIO:
    try:
        return open(plain(source), "rb")
    except OSError as exc:
        raise ManifestError(f"{display_path(plain(source))}: {describe(exc, 'open')}") from exc


def _check_header(data: Any, name: str) -> Entry:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ManifestError(f"{name}:1: not a manifest of backupchaos")
    if data.get("version") != VERSION:
        raise ManifestError(
            f"{name}:1: version {data.get('version')!r}, this program reads {VERSION}; scan again"
        )
    return from_dict(data["root"])


def read_summary(source: PathLike) -> ManifestSummary:
    """Return the summary at the end of a manifest file without reading all of it."""
    name = display_path(plain(source))
    try:
        with _opened(source) as file:
            file.seek(0, io.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        return ManifestSummary.from_dict(json.loads(last)["end"])
    except ManifestError:
        raise
    except (KeyError, TypeError, ValueError) as exc:
        raise ManifestError(f"{name}: cut short, its last line is missing; scan again") from exc
