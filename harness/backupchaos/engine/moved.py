"""What a restore may hold of source paths that changed while the job ran.

A backup of a living system is a picture of a moment, and nobody can say of which. What a claim of success
means for such a file, where the job did not say a word about it:

* ``either``: the version before the change or the one after it, whole. Absent is a version too, where the
  file was made or deleted.
* ``prefix``: either, or every length that the file went through between the two. Not less than the
  shorter one: that much was there at every moment.
* ``after``: it was there before the job started, so that the job owes it like everything else.
* ``any``: there and below it nothing is asked for.

In all of them metadata and content go together, with one exception: content of after under the modification time
of before is a picture taken with the metadata first, which is the careful order, for the next job sees another
time and looks again. The other way round the new time hides the old content from every job to come; that is a
loss. A mix of the contents is nobody's file. Times of the directories above are left out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from backupchaos.faults.base import Leniency
from backupchaos.trees import (
    Aspect,
    Comparison,
    Difference,
    Entry,
    EntryType,
    ManifestReader,
    compare,
    order_key,
)
from backupchaos.trees.compare import compare_either
from backupchaos.trees.display import display_path
from backupchaos.trees.entry import to_bytes
from backupchaos.trees.rules import describe_entry, findings, owed, time_text

Begins = Callable[[str, bool, int], str]
"""(path, whether of the version after, length) -> SHA-256 of so many bytes from its beginning."""
Wrong = tuple[str, str, str]
"""(what, expected, observed), as in ``trees.Difference``."""
_DATA = frozenset({Aspect.CONTENT, Aspect.TYPE, Aspect.LINKS})
_NOT_ALONE = frozenset({Aspect.HARDLINKS, Aspect.ROOT, Aspect.SPARSE})
"""Aspects that make no sense for one path whose version is not known."""


@dataclass(frozen=True)
class Moved:
    """The paths (relative, as text), where the manifests before and after can be read, and their contents."""

    leniency: Mapping[str, Leniency]
    before: str
    after: str
    begins: Begins

    def compare(
        self,
        actual: str,
        aspects: frozenset[Aspect],
        limit: int,
        *,
        granularity: int,
        old: str | None = None,
        excused: frozenset[bytes] = frozenset(),
    ) -> Comparison:
        """Compare a restored tree, read from the manifest ``actual``, with the source of before.

        With ``old`` each path may also be in that manifest's version (a mirror that stopped half-way).
        ``excused`` paths are left out on both sides.
        """
        chosen = {to_bytes(path): how for path, how in self.leniency.items()}
        alone = {path for path, how in chosen.items() if how in ("either", "prefix")} - excused
        anything = {path for path, how in chosen.items() if how == "any"}
        new = {path for path, how in chosen.items() if how == "after"}
        parents = {path.rpartition(b"/")[0] for path in chosen}
        left_out = excused | alone
        have = _some(actual, alone | parents)
        times = {path: entry.mtime_ns for path, entry in have.items() if path in parents}

        def skipped(path: bytes) -> bool:
            return path in left_out or path in anything or _below(path, anything)

        added = {path: entry for path, entry in _some(self.after, new).items() if not skipped(path)}
        want = View(self.before, lambda path: skipped(path) or path in new, times, added)
        got = View(actual, skipped, {}, {})
        if old is None:
            found = compare(want, got, aspects, limit, mtime_granularity_ns=granularity)
        else:
            past = View(old, lambda path: skipped(path) or path in new, times, {})
            aspects = aspects - {Aspect.HARDLINKS, Aspect.ROOT}
            found = compare_either(past, want, got, aspects, limit, mtime_granularity_ns=granularity)
        versions = [_some(source, alone) if source else {} for source in (self.before, self.after, old)]
        for path in sorted(alone, key=order_key):
            before, after, past_entry = (entries.get(path) for entries in versions)
            one = Judge(before, after, aspects - _NOT_ALONE, granularity, self._longer(path, before, after))
            prefix = chosen[path] == "prefix"
            if path in have:
                wrong = one.judge(have[path], prefix, past_entry)
            else:
                wrong = None if old is not None and past_entry is None else one.absent()
            found = _add(found, path, wrong, have, limit)
        return found

    def _longer(self, path: bytes, before: Entry | None, after: Entry | None) -> Callable[[int], str]:
        of_after = before is not None and after is not None and after.size > before.size
        return lambda length: self.begins(path.decode("utf-8", "surrogateescape"), of_after, length)


class View(ManifestReader):
    """A manifest without some paths, with others put in, and with other times of some directories."""

    def __init__(
        self,
        source: str,
        skipped: Callable[[bytes], bool],
        times: Mapping[bytes, int],
        added: Mapping[bytes, Entry],
    ) -> None:
        super().__init__(source)
        self._skipped, self._times, self._added = skipped, times, added

    @classmethod
    def without(cls, source: str, paths: Iterable[str]) -> View:
        """All but these paths (relative, as text)."""
        left_out = frozenset(map(to_bytes, paths))
        return cls(source, left_out.__contains__, {}, {})

    def __iter__(self) -> Iterator[Entry]:
        mine = (entry for entry in super().__iter__() if not self._skipped(entry.path))
        merged = heapq.merge(
            mine,
            sorted(self._added.values(), key=lambda entry: order_key(entry.path)),
            key=lambda entry: order_key(entry.path),
        )
        yield from map(self._timed, merged)
        if self.root is not None:
            self.root = self._timed(self.root)

    def _timed(self, entry: Entry) -> Entry:
        if entry.path not in self._times or (entry.path and entry.type is not EntryType.DIRECTORY):
            return entry
        return entry._replace(mtime_ns=self._times[entry.path])


@dataclass(frozen=True)
class Judge:
    """One path, whose two versions are known; None where there was none."""

    before: Entry | None
    after: Entry | None
    aspects: frozenset[Aspect]
    granularity: int
    longer: Callable[[int], str]
    """SHA-256 of the beginning of the longer version."""

    def judge(self, actual: Entry, prefix: bool, older: Entry | None) -> Wrong | None:
        """None if it is fair; ``older`` is fair as well."""
        if any(
            version is not None and self._same(version, actual)
            for version in (self.before, self.after, older)
        ):
            return None
        if self.before is None or self.after is None:
            return self._neither(actual)
        if self._same(self.after._replace(mtime_ns=self.before.mtime_ns), actual):
            return None
        if prefix and self._between(actual):
            if self._same(self.before._replace(size=actual.size, sha256=actual.sha256), actual):
                return None
            return self._metadata(actual)
        if self._same_data(self.before, actual) or self._same_data(self.after, actual):
            return self._metadata(actual)
        return self._neither(actual)

    def _same(self, version: Entry, actual: Entry) -> bool:
        return not findings(version, actual, self.aspects, self.granularity)

    def _same_data(self, version: Entry, actual: Entry) -> bool:
        return not findings(version, actual, self.aspects & _DATA, self.granularity)

    def absent(self) -> Wrong | None:
        """The same where nothing came back."""
        versions = [entry for entry in (self.before, self.after) if entry is not None]
        if len(versions) < 2 or not any(owed(entry, self.aspects) for entry in versions):
            return None
        return "missing", self._both(), "nothing"

    def _between(self, actual: Entry) -> bool:
        assert self.before is not None and self.after is not None
        if {self.before.type, self.after.type, actual.type} != {EntryType.FILE}:
            return False
        low, high = sorted((self.before.size, self.after.size))
        return low <= actual.size <= high and self.longer(actual.size) == actual.sha256

    def _metadata(self, actual: Entry) -> Wrong:
        """The content is fair, and what is said of it is not."""
        assert self.before is not None and self.after is not None
        if not findings(self.after, actual, self.aspects - _DATA, self.granularity):
            observed = (
                f"the content of before under the time of after ({time_text(actual.mtime_ns)}): "
                "the next job will take it for stored"
            )
            return "mtime", "content and time of one version", observed
        first = findings(self.before, actual, self.aspects - _DATA, self.granularity)[0]
        return first.what, first.expected, first.observed

    def _neither(self, actual: Entry) -> Wrong:
        return (
            "torn",
            self._both(),
            f"{describe_entry(actual)} that is neither of them: a mix, or another content",
        )

    def _both(self) -> str:
        names = [
            f"the {describe_entry(entry)} {when} the change"
            for entry, when in ((self.before, "before"), (self.after, "after"))
            if entry is not None
        ]
        return " or ".join(names) if len(names) > 1 else f"{names[0]}, or nothing"


def _add(
    found: Comparison,
    path: bytes,
    wrong: Wrong | None,
    have: Mapping[bytes, Entry],
    limit: int,
) -> Comparison:
    """The comparison with the verdict on one more path."""
    kind = "identical" if path in have else "waived"
    if wrong is not None:
        kind = "missing" if wrong[0] == "missing" else "different"
    more = {"expected": found.expected + 1, kind: getattr(found, kind) + 1}
    if wrong is None:
        return replace(found, **more)
    counts = {**found.per_aspect, Aspect.CONTENT.value: found.per_aspect.get(Aspect.CONTENT.value, 0) + 1}
    first = (Difference(path, *wrong, display_path(path)), *found.first)[:limit]
    return replace(found, **more, per_aspect=counts, first=first)


def _some(source: str, wanted: set[bytes]) -> dict[bytes, Entry]:
    """The entries of these paths; the empty path is the root."""
    reader = ManifestReader(source)
    found = {entry.path: entry for entry in reader if entry.path in wanted}
    if b"" in wanted and reader.root is not None:
        found[b""] = reader.root
    return found


def _below(path: bytes, tops: set[bytes]) -> bool:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        if path in tops:
            return True
    return False
