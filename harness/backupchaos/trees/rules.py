"""When two entries of the same path are the same, aspect by aspect."""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import UTC, datetime
from typing import NamedTuple

from .display import display_path
from .entry import Entry, EntryType
from .result import Aspect

_PRESENCE = {
    EntryType.DIRECTORY: Aspect.EMPTY_DIRS,
    EntryType.SYMLINK: Aspect.LINKS,
    EntryType.FIFO: Aspect.TYPE,
    EntryType.SOCKET: Aspect.TYPE,
    EntryType.DEVICE: Aspect.TYPE,
}
_SLACK = 64 * 1024  # bytes a restored sparse file may allocate beyond the source: block sizes differ
_MTIME_OF = {EntryType.DIRECTORY: Aspect.DIR_MTIME, EntryType.SYMLINK: Aspect.LINK_MTIME}


class Finding(NamedTuple):
    """One difference before it is counted."""

    aspect: Aspect
    what: str
    expected: str
    observed: str


class HardlinkMatcher:
    """Whether files that share an inode on one side do so on the other.

    Groups are paired when they are first met and must stay paired, so a group whose first path is
    missing is not reported again for all of its other paths.
    """

    def __init__(self) -> None:
        self._there: dict[bytes, bytes] = {}
        self._back: dict[bytes, bytes] = {}

    def check(self, expected: Entry, actual: Entry) -> Finding | None:
        """Return a finding if the pair contradicts an earlier pairing of groups."""
        if expected.hardlink is None and actual.hardlink is None:
            return None
        left = expected.hardlink or expected.path
        right = actual.hardlink or actual.path
        seen_right = self._there.setdefault(left, right)
        seen_left = self._back.setdefault(right, left)
        if seen_right == right and seen_left == left:
            return None
        return Finding(Aspect.HARDLINKS, "hardlink", _link_text(expected), _link_text(actual))


def _link_text(entry: Entry) -> str:
    if entry.hardlink is None or entry.hardlink == entry.path:
        return "a file of its own"
    return f"the same file as {display_path(entry.hardlink)}"


def presence(entry: Entry) -> Aspect:
    """Return the aspect that the presence of this path belongs to."""
    return _PRESENCE.get(entry.type, Aspect.CONTENT)


def owed(entry: Entry, aspects: Set[Aspect]) -> bool:
    """Whether the compared aspects ask for the presence of this path at all; files are always owed."""
    aspect = presence(entry)
    return aspect is Aspect.CONTENT or aspect in aspects


def describe_entry(entry: Entry) -> str:
    """Return what stands at a path in a few words."""
    if entry.type is EntryType.FILE:
        return f"file of {entry.size} bytes"
    if entry.type is EntryType.SYMLINK:
        return f"symlink to {display_path(entry.target or b'')}"
    return entry.type.value


def findings(expected: Entry, actual: Entry, aspects: Set[Aspect], granularity: int) -> list[Finding]:
    """Return every difference between two entries of one path, hard links apart.

    What could not be read is a difference whatever the aspects: nothing is known of it.
    """
    if expected.error or actual.error:
        return [
            Finding(
                presence(expected), "unreadable", expected.error or "readable", actual.error or "readable"
            )
        ]
    if expected.type is not actual.type:
        found = [_type_finding(expected, actual, aspects)]
    else:
        found = [*_data(expected, actual), *_metadata(expected, actual, granularity)]
    return [item for item in found if item.aspect in aspects]


def _type_finding(expected: Entry, actual: Entry, aspects: Set[Aspect]) -> Finding:
    # Another type is a loss of the content too, also where the type as such is not promised.
    aspect = Aspect.TYPE if Aspect.TYPE in aspects else presence(expected)
    return Finding(aspect, "type", describe_entry(expected), describe_entry(actual))


def _data(expected: Entry, actual: Entry) -> Iterator[Finding]:
    if expected.type is not EntryType.FILE:
        if expected.target != actual.target:
            yield Finding(presence(expected), "target", _target(expected), _target(actual))
        return
    if expected.size != actual.size:
        yield Finding(Aspect.CONTENT, "size", f"{expected.size} bytes", f"{actual.size} bytes")
    elif expected.sha256 != actual.sha256 or not expected.sha256:
        yield Finding(Aspect.CONTENT, "content", _digest(expected), _digest(actual))
    sparse = expected.allocated + _SLACK <= expected.size
    if sparse and actual.allocated > expected.allocated * 1.1 + _SLACK:
        texts = (f"{expected.allocated} bytes allocated", f"{actual.allocated} bytes allocated")
        yield Finding(Aspect.SPARSE, "sparse", *texts)


def _metadata(expected: Entry, actual: Entry, granularity: int) -> Iterator[Finding]:
    if expected.mode != actual.mode and expected.type is not EntryType.SYMLINK:
        yield Finding(Aspect.MODE, "mode", f"{expected.mode:04o}", f"{actual.mode:04o}")
    if (expected.uid, expected.gid) != (actual.uid, actual.gid):
        yield Finding(Aspect.OWNER, "owner", f"{expected.uid}:{expected.gid}", f"{actual.uid}:{actual.gid}")
    if abs(expected.mtime_ns - actual.mtime_ns) >= granularity:
        aspect = _MTIME_OF.get(expected.type, Aspect.MTIME)
        yield Finding(aspect, "mtime", time_text(expected.mtime_ns), time_text(actual.mtime_ns))
    if expected.xattrs != actual.xattrs:
        yield Finding(Aspect.XATTRS, "xattrs", *_xattr_texts(expected, actual))


def _digest(entry: Entry) -> str:
    return f"sha256 {entry.sha256[:16] or 'unknown'}"


def _target(entry: Entry) -> str:
    return "unknown" if entry.target is None else display_path(entry.target)


def _xattr_texts(expected: Entry, actual: Entry) -> tuple[str, str]:
    names = [
        n
        for n in sorted({*expected.xattrs, *actual.xattrs})
        if expected.xattrs.get(n) != actual.xattrs.get(n)
    ]

    def text(entry: Entry) -> str:
        parts = [f"{display_path(n)}={entry.xattrs.get(n, 'none')}" for n in names[:4]]
        return ", ".join(parts) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

    return text(expected), text(actual)


def time_text(mtime_ns: int) -> str:
    """Return a time in UTC with all nine digits; plain nanoseconds beyond the calendar's range."""
    seconds, rest = divmod(mtime_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (OverflowError, ValueError, OSError):
        return f"{mtime_ns} ns"
