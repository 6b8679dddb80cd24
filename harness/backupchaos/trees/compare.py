"""Merging two or three manifests path by path, with memory that does not grow with their length."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .display import display_path
from .entry import Entry, EntryType, ManifestError, TreeError, order_key
from .manifest import PathLike
from .reader import ManifestReader
from .result import ALL, CONTENT_ONLY, SEVERE, Aspect, Comparison, Difference
from .rules import Finding, HardlinkMatcher, describe_entry, findings, owed, presence

Source = PathLike | ManifestReader | Iterable[Entry]


class _Cursor:
    """One manifest, read entry by entry; counts what its scan could not read."""

    def __init__(self, source: Source) -> None:
        reader = ManifestReader(source) if isinstance(source, str | bytes | os.PathLike) else source
        self._reader = reader if isinstance(reader, ManifestReader) else None
        self._entries: Iterator[Entry] = iter(reader)
        self.entry: Entry | None = None
        self.key: bytes | None = None
        self.seen_errors = 0
        self.advance()

    def advance(self) -> None:
        """Go to the next entry; raise `ManifestError` if it does not come after the last one."""
        before = self.key
        self.entry = next(self._entries, None)
        if self.entry is None:
            self.key = None
            return
        self.key = order_key(self.entry.path)
        if before is not None and self.key <= before:
            raise ManifestError(f"out of order at {display_path(self.entry.path)}; scan again")
        if self.entry.error:
            self.seen_errors += 1

    def take(self, key: bytes) -> Entry | None:
        """Return the entry at ``key`` and go on, or None if this manifest has no such path."""
        if self.key != key:
            return None
        entry = self.entry
        self.advance()
        return entry

    @property
    def root(self) -> Entry | None:
        """The root's own metadata, where it is known."""
        return self._reader.root if self._reader else None

    @property
    def errors(self) -> int:
        """What could not be read, as far as it is known; final once the end is reached."""
        summary = self._reader.summary if self._reader else None
        return max(self.seen_errors, summary.errors if summary else 0)


@dataclass(slots=True)
class _Tally:
    aspects: frozenset[Aspect]
    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    per_aspect: Counter[str] = field(default_factory=Counter)
    severe: list[Difference] = field(default_factory=list)
    minor: list[Difference] = field(default_factory=list)

    def count(self, kind: str, entry: Entry) -> None:
        self.counts[kind] += 1
        if kind != "waived":
            self.counts[kind + "_bytes"] += entry.size

    def show(self, path: bytes, what: str, expected: str, observed: str) -> None:
        shelf = self.severe if what in SEVERE else self.minor
        if len(shelf) < self.limit:
            shelf.append(Difference(path, what, expected, observed, display_path(path)))

    def judge(self, entry: Entry, found: list[Finding]) -> None:
        self.count("different" if found else "identical", entry)
        self.note(entry.path, found)

    def note(self, path: bytes, found: list[Finding]) -> None:
        for aspect in {item.aspect for item in found}:
            self.per_aspect[aspect.value] += 1
        for item in found:
            self.show(path, item.what, item.expected, item.observed)

    def absent(self, entry: Entry, required: bool) -> None:
        if required:
            self.count("missing", entry)
            self.per_aspect[presence(entry).value] += 1
            self.show(entry.path, "missing", describe_entry(entry), "nothing")
        else:
            self.count("waived", entry)

    def surplus(self, entry: Entry) -> None:
        # An extra empty directory is as little an affair of these aspects as a missing one.
        if entry.type is EntryType.DIRECTORY and Aspect.EMPTY_DIRS not in self.aspects and not entry.error:
            return
        self.count("extra", entry)
        self.per_aspect[presence(entry).value] += 1
        self.show(entry.path, "extra", "nothing", describe_entry(entry))

    def result(self, granularity: int, expected_errors: int, actual_errors: int) -> Comparison:
        aspects = tuple(aspect for aspect in Aspect if aspect in self.aspects)
        return Comparison(
            aspects,
            granularity,
            expected_errors=expected_errors,
            actual_errors=actual_errors,
            per_aspect={aspect.value: self.per_aspect[aspect.value] for aspect in aspects},
            first=tuple((self.severe + self.minor)[: self.limit]),
            **self.counts,
        )


def _checked(aspects: Iterable[str], limit: int, granularity: int) -> frozenset[Aspect]:
    try:
        chosen = frozenset(Aspect(item) for item in ([aspects] if isinstance(aspects, str) else aspects))
    except ValueError as exc:
        raise TreeError(f"{exc}; known are {', '.join(Aspect)}") from None
    if not chosen:
        raise TreeError("no aspect to compare: choose at least one, such as content")
    if limit < 0 or granularity < 1:
        raise TreeError("limit must be 0 or more and mtime_granularity_ns 1 or more")
    return chosen


def compare(
    expected: Source,
    actual: Source,
    aspects: Iterable[str] = ALL,
    limit: int = 20,
    *,
    mtime_granularity_ns: int = 1,
) -> Comparison:
    """Compare a restored tree with the tree it must equal.

    Both are manifest files or entries in the order of `order_key`. Times count as equal when they
    are less than ``mtime_granularity_ns`` apart. Owners are compared by number. Raises `TreeError`
    for senseless arguments and `ManifestError` for manifests that cannot be trusted.
    """
    chosen = _checked(aspects, limit, mtime_granularity_ns)
    left, right = _Cursor(expected), _Cursor(actual)
    tally = _Tally(chosen, limit)
    matcher = HardlinkMatcher() if Aspect.HARDLINKS in chosen else None
    while (key := _lowest(left, right)) is not None:
        want, have = left.take(key), right.take(key)
        if want is None:
            if have is not None:
                tally.surplus(have)
            continue
        tally.count("expected", want)
        if have is None:
            tally.absent(want, owed(want, chosen) or bool(want.error))
        elif want.type is EntryType.SYMLINK and Aspect.LINKS not in chosen:
            tally.absent(want, required=False)
            if have.type is EntryType.DIRECTORY:
                _skip_below(right, key)  # the link was followed: what came of it is not asked for
        else:
            found = findings(want, have, chosen, mtime_granularity_ns)
            broken = matcher.check(want, have) if matcher and want.type is have.type else None
            tally.judge(want, [*found, broken] if broken else found)
    if Aspect.ROOT in chosen:
        _compare_roots(left, right, tally, mtime_granularity_ns)
    return tally.result(mtime_granularity_ns, left.errors, right.errors)


def _lowest(*cursors: _Cursor) -> bytes | None:
    return min((c.key for c in cursors if c.key is not None), default=None)


def _skip_below(cursor: _Cursor, key: bytes) -> None:
    while cursor.key is not None and cursor.key.startswith(key + b"\0"):
        cursor.advance()


def _compare_roots(left: _Cursor, right: _Cursor, tally: _Tally, granularity: int) -> None:
    if left.root is None or right.root is None:
        raise TreeError("the root can be compared between manifest files only; leave the aspect root out")
    found = findings(left.root, right.root, tally.aspects, granularity)
    if found:
        tally.note(b"", found)
        tally.per_aspect[Aspect.ROOT.value] += 1


def compare_either(
    old: Source,
    new: Source,
    actual: Source,
    aspects: Iterable[str] = CONTENT_ONLY,
    limit: int = 20,
    *,
    mtime_granularity_ns: int = 1,
) -> Comparison:
    """Compare a mirror, perhaps stopped half-way, with the trees before and after the change.

    Each path must equal its version in ``old`` or in ``new`` in every aspect at once; a path of
    only one of the two may be absent, and so may one whose type changes (it cannot be replaced at
    one stroke). What is neither is a partial file under a final name, or an extra path. Raises as
    `compare` does; hard links have no meaning half-way and are refused.
    """
    chosen = _checked(aspects, limit, mtime_granularity_ns)
    if chosen & {Aspect.HARDLINKS, Aspect.ROOT}:
        raise TreeError("hardlinks and root cannot be compared with either of two trees; leave them out")
    before, after, right = _Cursor(old), _Cursor(new), _Cursor(actual)
    tally = _Tally(chosen, limit)
    while (key := _lowest(before, after, right)) is not None:
        first, second, have = before.take(key), after.take(key), right.take(key)
        want = second or first
        if want is None:
            if have is not None:
                tally.surplus(have)
            continue
        tally.count("expected", want)
        if have is None:
            both = first is not None and second is not None and first.type is second.type
            tally.absent(want, both and owed(want, chosen))
        elif want.type is EntryType.SYMLINK and Aspect.LINKS not in chosen:
            tally.absent(want, required=False)
        else:
            tally.judge(want, _closest(first, second, have, chosen, mtime_granularity_ns))
    return tally.result(mtime_granularity_ns, before.errors + after.errors, right.errors)


def _closest(
    old: Entry | None, new: Entry | None, actual: Entry, aspects: frozenset[Aspect], granularity: int
) -> list[Finding]:
    """Return no finding if either version is met, else those against the closer one, newer first."""
    best: list[Finding] | None = None
    for label, version in (("new", new), ("old", old)):
        if version is None:
            continue
        found = findings(version, actual, aspects, granularity)
        if not found:
            return []
        if best is None or len(found) < len(best):
            best = [item._replace(expected=f"{item.expected} ({label})") for item in found]
    return best or []
